"""Answer `/api/records`, `/api/record` and `/api/related`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ipfs_log_handlers.server.answers import Refusal, as_text, json_answer
from ipfs_log_handlers.server.items import RecordId, item, item_text
from ipfs_log_handlers.server.parameters import FILTER, Chosen, chosen_of, known_only, number_of, one_of, required
from ipfs_log_handlers.server.work import Reading, Work

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Match

__all__ = ["MAX_RECORDS", "find", "routes"]

MAX_RECORDS: Final = 500
"""Records of one page, and of one answer with related records."""
_USUAL_RECORDS: Final = 100
"""Records of a page without `limit`."""
_MAX_OF_ONE_MOMENT: Final = 1000
"""Records by which a page may be longer, so that those of one microsecond stay together."""
_USUAL_NEIGHBOURS: Final = 10
_MAX_NEIGHBOURS: Final = 100
"""Records of the same process before and after a record: without `limit`, and at most."""
_OF_BATCH: Final = ("cid", "index", "payload", "records", "first", "last", "sealed", "encoding")
"""What is answered about the batch of a record."""
_TOGETHER: Final = ("request_id", "trace_id", "operation_id", "session_id", "correlation_id")
"""Fields whose value several records of one piece of work share."""
_CURSOR: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)(?:~(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The end of a page."""

    time: str
    """Time of its last record."""
    shown: int = 0
    """Records of exactly this time that were shown, if there are more of them; 0: all of them were."""

    def __str__(self) -> str:
        return f"{self.time}~{self.shown}" if self.shown else self.time

    @classmethod
    def parse(cls, text: str) -> _Cursor:
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise Refusal(400, "not a cursor", where="cursor", expected="`next` of the page before", found=text)
        return cls(found[1], int(found[2] or 0))


def routes(work: Work) -> list[web.RouteDef]:
    """Return the routes."""

    async def records(request: web.Request) -> web.Response:
        known_only(request, *FILTER, "limit", "cursor")
        chosen = chosen_of(request)
        limit = number_of(request, "limit", default=_USUAL_RECORDS, least=1, most=MAX_RECORDS)
        text = one_of(request, "cursor")
        cursor = None if text is None else _Cursor.parse(text)
        return _listing(await work.run(lambda reading: _page(reading, chosen, limit, cursor)))

    async def record(request: web.Request) -> web.Response:
        known_only(request, "id")
        wanted = RecordId.parse(required(request, "id"))
        return json_answer(await work.run(lambda reading: _detail(reading, wanted)))

    async def related(request: web.Request) -> web.Response:
        known_only(request, "id", "by", "limit")
        wanted, by = RecordId.parse(required(request, "id")), required(request, "by")
        usual, most = (_USUAL_NEIGHBOURS, _MAX_NEIGHBOURS) if by == "process" else (_USUAL_RECORDS, MAX_RECORDS)
        limit = number_of(request, "limit", default=usual, least=1, most=most)
        return _listing(await work.run(lambda reading: _related(reading, wanted, by, limit)))

    return [web.get("/api/records", records), web.get("/api/record", record), web.get("/api/related", related)]


def _listing(answer: tuple[Sequence[str], dict[str, Any]]) -> web.Response:
    """Return an answer whose records are JSON texts already."""
    items, rest = answer
    text = as_text(rest)
    return web.Response(text=f'{{"records":[{",".join(items)}],{text[1:]}', content_type="application/json")


def _page(reading: Reading, chosen: Chosen, limit: int, cursor: _Cursor | None) -> tuple[Sequence[str], dict[str, Any]]:
    steps = reading.sources.steps()
    dataset = chosen.of(reading.dataset).reverse()
    skipped = 0
    if cursor is not None:
        skipped = cursor.shown
        dataset = dataset.filter(until=_next_moment(cursor.time) if skipped else cursor.time)
    matches = islice(dataset.matches(), skipped, None)
    taken = list(islice(matches, limit))
    following: _Cursor | None = None
    if len(taken) == limit:
        last = taken[-1].time
        for match in matches:
            if match.time != last:
                following = _Cursor(last.decode("ascii", "replace"))
                break
            if len(taken) == limit + _MAX_OF_ONE_MOMENT:
                shown = sum(each.time == last for each in taken)
                before = skipped if cursor is not None and cursor.time.encode() == last else 0
                following = _Cursor(last.decode("ascii", "replace"), shown + before)
                break
            taken.append(match)
    items = [item_text(match, steps.of(match)) for match in taken]
    next_cursor = None if following is None else str(following)
    return items, {"next": next_cursor, "gaps": reading.gaps(), "seconds": reading.seconds}


def find(reading: Reading, wanted: RecordId) -> Match:
    """Find a record by its id.

    Raises:
        Refusal: no source has it.
    """
    if wanted.subsystem in {name for source in reading.dataset.sources for name in source.subsystems()}:
        at_that_time = reading.dataset.filter(
            subsystem=wanted.subsystem, since=wanted.time, until=_next_moment(wanted.time)
        )
        for match in at_that_time.matches():
            if RecordId.of(match.record) == wanted:
                return match
    raise Refusal(
        404, "no source has this record", where="id", found=str(wanted),
        hint="It was pruned, or its batch cannot be read: `ipfs-logs doctor` says which.",
    )  # fmt: skip


def _detail(reading: Reading, wanted: RecordId) -> dict[str, Any]:
    steps = reading.sources.steps()
    match = find(reading, wanted)
    step = steps.of(match)
    batch = None if step == "spool" else reading.dataset.batch_of(match)
    shared = [name for name in _TOGETHER if _is_value(match.record.get(name))]
    related = [{"by": "process", "value": str(wanted.pid)}]
    related += [{"by": name, "value": str(match.record[name])} for name in shared]
    return {
        **item(match, step),
        "record": match.record,
        "shortened": False,
        "json": match.line.decode("utf-8", "replace"),
        "manifest": None if batch is None else {key: getattr(batch, key) for key in _OF_BATCH},
        "related": related,
        "gaps": reading.gaps(),
    }


def _is_value(value: object) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""


def _related(reading: Reading, wanted: RecordId, by: str, limit: int) -> tuple[Sequence[str], dict[str, Any]]:
    steps = reading.sources.steps()
    match = find(reading, wanted)
    if by == "process":
        found, more = _neighbours(reading.dataset, wanted, limit), False
    elif by in _TOGETHER and _is_value(match.record.get(by)):
        same = reading.dataset.filter(where={by: match.record[by]})
        found = list(same.limit(limit + 1).matches())
        found, more = found[:limit], len(found) > limit
    else:
        expected = ", ".join(("process", *(name for name in _TOGETHER if _is_value(match.record.get(name)))))
        raise Refusal(400, "the record shares no such value", where="by", expected=expected, found=by)
    items = [item_text(each, steps.of(each)) for each in found]
    return items, {"more": more, "gaps": reading.gaps(), "seconds": reading.seconds}


def _neighbours(dataset: Dataset, wanted: RecordId, limit: int) -> list[Match]:
    """Return the record, and those of the same process before and after it, oldest first."""
    same = dataset.filter(where={"pid": wanted.pid})
    after_it = _next_moment(wanted.time)
    before = list(same.filter(until=wanted.time).last(limit).matches())
    here = list(same.filter(since=wanted.time, until=after_it).limit(_MAX_OF_ONE_MOMENT).matches())
    after = list(same.filter(since=after_it).limit(limit).matches())
    return _around([*before, *here, *after], wanted, limit)


def _around(matches: Iterable[Match], wanted: RecordId, limit: int) -> list[Match]:
    ordered = list(matches)
    at = next((number for number, match in enumerate(ordered) if RecordId.of(match.record) == wanted), 0)
    return ordered[max(0, at - limit) : at + limit + 1]


def _next_moment(time: str) -> str:
    """Return the time one microsecond later."""
    try:
        moment = datetime.fromisoformat(time.replace("Z", "+00:00")) + timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise Refusal(400, "not a time", found=time) from error
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
