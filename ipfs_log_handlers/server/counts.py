"""Answer `/api/histogram` and `/api/facets`: from the counts in manifests where they are enough, else from records."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ipfs_log_handlers.server.answers import Refusal, as_text, json_answer
from ipfs_log_handlers.server.parameters import FILTER, Chosen, chosen_of, known_only, number_of, one_of
from ipfs_log_handlers.server.work import Reading, TooLongError, Work

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Bucket

__all__ = ["MAX_BUCKETS", "routes"]

MAX_BUCKETS: Final = 500
"""Buckets that a request may ask for."""
_MAX_SPANNED: Final = 2000
"""Buckets of a span that the request chooses."""
_USUAL_BUCKETS: Final = 60
"""Buckets without `buckets`."""
_SPANS_S: Final = (
    0.001, 0.01, 0.1, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 604800
)  # fmt: skip
"""Spans of a bucket, in seconds, that people read easily."""
_SPAN: Final = re.compile(r"\d{1,9}(?:\.\d{1,6})?", re.ASCII)
_FIELDS: Final = ("level", "logger", "subsystem", "origin", "event")
"""The facets without `field`."""
_MAX_FIELDS: Final = 10
"""Fields of one request."""
_MAX_NAME: Final = 200
"""Characters of the name of a field."""
_MAX_COUNTED: Final = 50_000
"""Newest records in which a field is counted that no manifest counts."""
_CHECKED_EVERY: Final = 1000
"""Records after which the time is looked at."""
_MAX_KEPT: Final = 10_000
"""Different values of one field that are counted."""
_MAX_VALUE: Final = 1000
"""Characters of a value."""
_SLICES: Final = 8
"""Parts of the time that are counted one after another, if records must be read."""
_FIRST: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def routes(work: Work) -> list[web.RouteDef]:
    """Return the routes."""

    async def histogram(request: web.Request) -> web.Response:
        known_only(request, *FILTER, "buckets", "span")
        chosen = chosen_of(request)
        buckets = number_of(request, "buckets", default=_USUAL_BUCKETS, least=1, most=MAX_BUCKETS)
        text = one_of(request, "span")
        if text is not None and (not _SPAN.fullmatch(text) or float(text) < _SPANS_S[0]):
            raise Refusal(400, "not a span", where="span", expected="seconds, 0.001 or more", found=text)
        span = None if text is None else float(text)
        return json_answer(await work.run(lambda reading: _histogram(reading, chosen, buckets, span)))

    async def facets(request: web.Request) -> web.Response:
        known_only(request, *FILTER, "field", "n")
        chosen = chosen_of(request)
        fields = request.query.getall("field", list(_FIELDS))
        if len(fields) > _MAX_FIELDS or not all(0 < len(name) <= _MAX_NAME for name in fields):
            raise Refusal(400, "not a list of fields", where="field", expected=f"at most {_MAX_FIELDS} names")
        n = number_of(request, "n", default=20, least=1, most=100)
        return json_answer(await work.run(lambda reading: _facets(reading, chosen, tuple(dict.fromkeys(fields)), n)))

    return [web.get("/api/histogram", histogram), web.get("/api/facets", facets)]


# -- over time


def _histogram(reading: Reading, chosen: Chosen, buckets: int, span: float | None) -> dict[str, Any]:
    covered = _covered(reading, chosen)
    if covered is None:
        return {
            "span": span or _SPANS_S[-1], "since": None, "until": None, "total": 0, "buckets": [], "complete": True,
            "gaps": reading.gaps(), "seconds": reading.seconds,
        }  # fmt: skip
    since, until = covered
    seconds = (until - since) / 1e6
    if span is None:
        span = _fitting(seconds, buckets)
    elif seconds / span > _MAX_SPANNED:
        raise Refusal(
            400, "too many buckets", where="span", expected=f"at most {_MAX_SPANNED}", found=int(seconds / span),
            hint="Choose a longer span, or a shorter time.",
        )  # fmt: skip
    counted, complete = _counted(reading, chosen, span, since, until)
    return {
        "span": span,
        "since": _text(since),
        "until": _text(until),
        "total": sum(bucket.count for bucket in counted),
        "buckets": [bucket.as_json() for bucket in counted],
        "complete": complete,
        "gaps": reading.gaps(),
        "seconds": reading.seconds,
    }


def _counted(reading: Reading, chosen: Chosen, span: float, since: int, until: int) -> tuple[Sequence[Bucket], bool]:
    """Count the buckets; if records must be read, the newest ones first, as far as the time goes.

    Returns:
        The buckets, oldest first, and whether all records are counted.
    """
    dataset = chosen.of(reading.dataset)
    if not chosen.has_conditions:
        return dataset.histogram(span, by="level"), True
    step = int(span * 1e6)
    first, last = since // step, -(-until // step)
    size = max(1, -(-(last - first) // _SLICES))
    counted: list[Bucket] = []
    for end in range(last, first, -size):
        slice_since, slice_until = max(since, (end - size) * step), min(until, end * step)
        bounds = {"since": _text(slice_since), "until": _text(slice_until)}
        try:
            counted = [*dataset.filter(**bounds).histogram(span, by="level"), *counted]  # type: ignore[arg-type]
        except TooLongError:
            if not counted:
                raise
            return counted, False
    return counted, True


def _covered(reading: Reading, chosen: Chosen) -> tuple[int, int] | None:
    """Return the times between which records are counted, µs since 1970; `None` without records."""
    since, until = chosen.since, chosen.until
    if since is None or until is None:
        times = chosen.of(reading.dataset).explain().times
        if times is None:
            return None
        first, last = (_micros(time) for time in times)
        since = first if since is None else since
        until = last + 1 if until is None else until
    return (since, until) if since < until else None


def _fitting(seconds: float, buckets: int) -> float:
    """Return the shortest usual span that gives so many buckets at most."""
    fitting = next((span for span in _SPANS_S if seconds / span <= buckets), None)
    if fitting is not None:
        return fitting
    week = _SPANS_S[-1]
    return week * -(-int(seconds) // int(week * buckets))


def _micros(time: str) -> int:
    return (datetime.fromisoformat(time.replace("Z", "+00:00")) - _FIRST) // timedelta(microseconds=1)


def _text(micros: int) -> str | None:
    """Return a moment as RFC 3339; `None` for one that has no year of four digits."""
    try:
        return (_FIRST + timedelta(microseconds=micros)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except OverflowError:
        return None


# -- by value


def _facets(reading: Reading, chosen: Chosen, fields: Sequence[str], n: int) -> dict[str, Any]:
    stated: dict[str, Counter[Any]] = {}
    if chosen.is_on("level") or chosen.is_on("logger"):
        stated = {name: counts for name in fields if (counts := _stated(reading, chosen, name)) is not None}
    others = [name for name in fields if name not in stated]
    looked, is_all, counted = _count(reading, chosen, others) if others else (0, True, {})
    facets = []
    for name in fields:
        counts = stated.get(name)
        complete, total = (True, sum(counts.values())) if counts is not None else (is_all, looked)
        counts = counted[name] if counts is None else counts
        values = sorted(counts.items(), key=lambda pair: (-pair[1], str(pair[0])))[:n]
        facets.append({
            "field": name,
            "values": [{"value": value, "count": count} for value, count in values],
            "counted": total,
            "complete": complete,
            "more": len(counts) > n,
        })  # fmt: skip
    return {"facets": facets, "gaps": reading.gaps(), "seconds": reading.seconds}


def _stated(reading: Reading, chosen: Chosen, name: str) -> Counter[Any] | None:
    """Count the values of a field that manifests count; `None` for another field."""
    dataset = chosen.of(reading.dataset)
    if name == "subsystem" or (name in ("level", "logger") and chosen.is_on(name)):
        return Counter(dict(dataset.top(name, _MAX_KEPT)))
    if name == "origin" and all("origin" in record for record in dataset.last(1)):
        return Counter(dict(dataset.top(name, _MAX_KEPT)))
    return None


def _count(reading: Reading, chosen: Chosen, fields: Sequence[str]) -> tuple[int, bool, Mapping[str, Counter[Any]]]:
    """Count the values of fields in the newest records.

    Returns:
        The number of records that were looked at, whether these were all, and the counts by field.
    """
    counts: dict[str, Counter[Any]] = {name: Counter() for name in fields}
    matches = chosen.of(reading.dataset).reverse().matches()
    looked = 0
    for match in islice(matches, _MAX_COUNTED):
        looked += 1
        if looked % _CHECKED_EVERY == 0:
            reading.check()
        record = match.record
        for name in fields:
            value = _value_at(record, name)
            if value is not None and (value in counts[name] or len(counts[name]) < _MAX_KEPT):
                counts[name][value] += 1
    return looked, next(matches, None) is None, counts


def _value_at(record: Mapping[str, Any], path: str) -> str | int | float | None:
    """Return the value of a field as text or number; `None` if the record has none, or it is null."""
    value: Any = record.get(path)
    if value is None and "." in path:
        value = record
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        value = as_text(value)
    if isinstance(value, str):
        return value if len(value) <= _MAX_VALUE else value[:_MAX_VALUE] + "…"
    return value if isinstance(value, (int, float)) else None
