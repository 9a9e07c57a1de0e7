"""Read the parameters of a request: the filter, and numbers within bounds. Whatever is wrong is a 400 that says it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.server.answers import Refusal

if TYPE_CHECKING:
    from aiohttp import web

    from ipfs_log_handlers.api import Dataset

__all__ = ["FILTER", "Chosen", "choice_of", "chosen_of", "known_only", "number_of", "one_of", "required"]

FILTER: Final = ("since", "until", "level", "subsystem", "logger", "event", "where", "contains")
"""The parameters of a filter."""
_ONE: Final = ("since", "until", "level")
"""Those that stand at most once."""
_MAX_VALUES: Final = 50
"""Values of one parameter."""
_MAX_TEXT: Final = 2000
"""Characters of a value."""
_EXPRESSION: Final = re.compile(r"[^=<>!~]+?\s*(?:!~|~)", re.DOTALL)
"""The beginning of a condition that compares with a regular expression."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The filter of a request."""

    values: Mapping[str, Any]
    """The conditions, as `Dataset.filter` takes them."""
    since: int | None
    """The earliest time, µs since 1970."""
    until: int | None
    """The time after all records, µs since 1970."""

    @property
    def has_conditions(self) -> bool:
        """Whether records must be looked at: a condition beside those on time and subsystem is there."""
        return any(name not in ("since", "until", "subsystem") for name in self.values)

    def is_on(self, name: str) -> bool:
        """Return whether all conditions beside those on time and subsystem are on this one of `level` and `logger`."""
        return all(other in ("since", "until", "subsystem", name) for other in self.values)

    def of(self, dataset: Dataset) -> Dataset:
        """Return the records that pass."""
        return dataset.filter(**self.values)


def known_only(request: web.Request, *names: str) -> None:
    """Refuse a parameter that a route does not have."""
    unknown = [name for name in request.query if name not in names]
    if unknown:
        raise Refusal(
            400, "no such parameter", where=unknown[0], expected=", ".join(names) or "none",
            hint="docs/serve.md lists the parameters of each route.",
        )  # fmt: skip


def chosen_of(request: web.Request, *without: str) -> Chosen:
    """Read the filter.

    Args:
        request: the request.
        without: parameters of the filter that this route does not have.
    """
    from ipfs_log_handlers.api import moment_of

    values: dict[str, Any] = {}
    for name in FILTER:
        given = _texts(request, name)
        if not given or name in without:
            continue
        if name in _ONE:
            if len(given) > 1:
                raise Refusal(400, "given more than once", where=name)
            values[name] = given[0]
        else:
            values[name] = given
    for condition in values.get("where", ()):
        if _EXPRESSION.match(condition):
            raise Refusal(
                400, "regular expressions are not taken here: one of them can keep the server busy without end",
                where="where", found=condition, hint="Use `contains`, or `ipfs-logs query`.",
            )  # fmt: skip
    now = time.time()
    bounds = {name: moment_of(values[name], now=now) if name in values else None for name in ("since", "until")}
    return Chosen(values, bounds["since"], bounds["until"])


def _texts(request: web.Request, name: str) -> list[str]:
    given = request.query.getall(name, [])
    if len(given) > _MAX_VALUES:
        raise Refusal(400, "too many values", where=name, expected=f"at most {_MAX_VALUES}", found=len(given))
    for text in given:
        if len(text) > _MAX_TEXT:
            raise Refusal(400, "too long", where=name, expected=f"at most {_MAX_TEXT} characters", found=len(text))
    return [text for text in given if text]


def number_of(request: web.Request, name: str, *, default: int, least: int, most: int) -> int:
    """Read a whole number within bounds."""
    text = one_of(request, name)
    if text is None:
        return default
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not least <= int(text) <= most:
        raise Refusal(400, "not a number in bounds", where=name, expected=f"{least} to {most}", found=text)
    return int(text)


def one_of(request: web.Request, name: str) -> str | None:
    """Read a parameter that stands at most once; `None` without it."""
    given = _texts(request, name)
    if len(given) > 1:
        raise Refusal(400, "given more than once", where=name)
    return given[0] if given else None


def required(request: web.Request, name: str) -> str:
    """Read a parameter that must be there."""
    text = one_of(request, name)
    if text is None:
        raise Refusal(400, "this parameter is missing", where=name)
    return text


def choice_of(request: web.Request, name: str, choices: Sequence[str], default: str) -> str:
    """Read one of some words."""
    text = one_of(request, name)
    if text is None:
        return default
    if text not in choices:
        raise Refusal(400, "no such choice", where=name, expected=_listed(choices), found=text)
    return text


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)
