"""Read the parameters of a request, as https://grafana.com/docs/loki/latest/reference/loki-http-api/ names them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ipfs_log_handlers.loki.limits import Limits
from ipfs_log_handlers.loki.matrix import Moments
from ipfs_log_handlers.loki.refusal import Refusal
from ipfs_log_handlers.loki.units import moment_of, query_duration_of

__all__ = ["Parameters", "Span"]

_NS: Final = 1_000_000_000
"""Nanoseconds of a second."""
_HOUR_NS: Final = 3_600 * _NS
"""Nanoseconds of an hour: how far a query goes back that does not say it."""
_DEFAULT_LIMIT: Final = 100
"""Lines of an answer, if the request does not say it."""
_DEFAULT_POINTS: Final = 250
"""Moments of a query over a range, if the request does not say the step."""
_MAX_NS: Final = 1 << 62
"""Largest moment, ns since 1970."""
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time, ns since 1970."""

    start_ns: int
    end_ns: int

    @property
    def since_us(self) -> int:
        """The first µs in it."""
        return -(-self.start_ns // 1000)

    @property
    def until_us(self) -> int:
        """The first µs after it: the end of a span for lines is left out."""
        return -(-self.end_ns // 1000)


class Parameters:
    """The parameters of one request.

    Args:
        values: all values of each one.
        now_ns: the moment of the request, ns since 1970.
        limits: bounds.
    """

    def __init__(self, values: Mapping[str, Sequence[str]], now_ns: int, limits: Limits) -> None:
        self._values = values
        self._now_ns = now_ns
        self.limits = limits
        """What the request may cost."""

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter."""
        values = self._values.get(name)
        return values[0] if values else default

    def all_of(self, *names: str) -> list[str]:
        """Return the values of a parameter that may be given more than once, by any of its names."""
        return [value for name in names for value in self._values.get(name, ())]

    def query(self, name: str = "query") -> str:
        """Return the query.

        Raises:
            Refusal: there is none, or it is too long.
        """
        text = self.text(name)
        if not text.strip():
            raise Refusal(f"the parameter {name!r} is missing; give a query in LogQL")
        return self.checked(text)

    def checked(self, query: str) -> str:
        """Return a query that is not too long.

        Raises:
            Refusal: it is.
        """
        if len(query) > self.limits.max_query_chars:
            raise Refusal(f"the query is longer than {self.limits.max_query_chars} characters")
        return query

    def moment(self, name: str, default_ns: int) -> int:
        """Return a moment, ns since 1970.

        Raises:
            Refusal: it is none.
        """
        text = self.text(name)
        if not text:
            return default_ns
        moment = moment_of(text)
        if moment is None or abs(moment) > _MAX_NS:
            raise Refusal(
                f"{name}={text[:80]!r} is not a time; give ns since 1970, seconds with a decimal point, or RFC 3339"
            )
        return moment

    @property
    def time_ns(self) -> int:
        """The moment of a query at one moment."""
        return self.moment("time", self._now_ns)

    @property
    def span(self) -> Span:
        """The span of time: an hour until now, if nothing is said.

        Raises:
            Refusal: the end is before the begin.
        """
        end_ns = self.moment("end", self._now_ns)
        since_ns = self.duration("since") or _HOUR_NS
        start_ns = self.moment("start", min(end_ns, self._now_ns) - since_ns)
        if end_ns < start_ns:
            raise Refusal("the end timestamp must not be before the start timestamp")
        return Span(start_ns, end_ns)

    def duration(self, name: str) -> int | None:
        """Return a duration, ns: text such as `5m`, or seconds; `None` if it is missing.

        Raises:
            Refusal: it is none.
        """
        text = self.text(name)
        if not text:
            return None
        duration = _duration_of(text)
        if duration is None:
            raise Refusal(f"{name}={text[:80]!r} is not a duration; give seconds, or text such as 30s, 5m or 1h")
        return duration

    @property
    def moments(self) -> Moments:
        """The moments of a query over a range.

        They are multiples of the step since 1970, as in Loki: the start is moved back to one, the end forward.

        Raises:
            Refusal: there are too many, or the step is not greater than zero.
        """
        span = self.span
        step_ns = self.duration("step")
        if step_ns is None:
            step_ns = max(1, (span.end_ns - span.start_ns) // _NS // _DEFAULT_POINTS) * _NS
        step_ns -= step_ns % 1_000_000  # Loki counts in ms
        if step_ns <= 0:
            raise Refusal(
                "zero or negative query resolution step widths are not accepted; "
                "try a positive number, such as step=15s"
            )
        first_ns = span.start_ns - span.start_ns % step_ns
        last_ns = -(-span.end_ns // step_ns) * step_ns
        count = (last_ns - first_ns) // step_ns + 1
        if (span.end_ns - span.start_ns) // step_ns > self.limits.max_points:
            raise Refusal(
                f"exceeded maximum resolution of {self.limits.max_points} points per time series. Try increasing the "
                "value of the step parameter"
            )
        return Moments(first_ns=first_ns, step_ns=step_ns, count=count)

    def count(self, name: str, default: int, largest: int) -> int:
        """Return a number of things, at least 1.

        Raises:
            Refusal: it is none, or too large.
        """
        text = self.text(name)
        if not text:
            return min(default, largest)
        if not (text.isascii() and text.isdecimal() and len(text) < 10) or int(text) == 0:
            raise Refusal(f"{name}={text[:80]!r} is not a whole number of at least 1")
        if int(text) > largest:
            raise Refusal(f"max entries limit per query exceeded, {name} > {largest} ({text} > {largest})")
        return int(text)

    @property
    def limit(self) -> int:
        """Largest number of lines in the answer."""
        return self.count("limit", _DEFAULT_LIMIT, self.limits.max_lines)

    @property
    def direction(self) -> Literal["forward", "backward"]:
        """The order of the lines.

        Raises:
            Refusal: it is neither.
        """
        text = self.text("direction", "backward").lower()
        if text == "forward":
            return "forward"
        if text == "backward":
            return "backward"
        raise Refusal(f"direction={text[:80]!r} is neither forward nor backward")


def _duration_of(text: str) -> int | None:
    if _SECONDS.fullmatch(text):
        whole, _, rest = text.partition(".")
        return int(whole) * _NS + int(rest.ljust(9, "0")) if rest else int(whole) * _NS
    return query_duration_of(text)
