"""Answer `/api/logs`, `/api/batches`, `/api/health` and `/metrics`: the logs of the sources, and the state of homes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from heapq import nlargest
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ipfs_log_handlers.server.answers import Refusal, json_answer
from ipfs_log_handlers.server.parameters import choice_of, known_only, number_of, one_of
from ipfs_log_handlers.server.sources import Sources
from ipfs_log_handlers.server.work import Reading, Work

if TYPE_CHECKING:
    from typing import TypeAlias

    from ipfs_log_handlers.api import BatchInfo, Home, PlannedBatch

    _Listed: TypeAlias = BatchInfo | PlannedBatch

__all__ = ["routes"]

_MAX_BATCHES: Final = 1000
"""Batches of one answer."""
_VERIFYING_S: Final = 120.0
"""Seconds that the check of all chains, or of a home and its stores, may take."""
_KEPT_S: Final = 5.0
"""Seconds for which such an answer is given again."""
_MAX_PROBLEMS: Final = 20
"""Problems of one log, or of the list of batches, that are answered."""


def routes(work: Work, verifying: Work, checking: Work) -> list[web.RouteDef]:
    """Return the routes.

    Args:
        work: reads what takes little time.
        verifying: verifies the logs, with one thread.
        checking: checks the homes, with one thread.
    """
    verified, checked = _Kept(verifying), _Kept(checking)

    async def logs(request: web.Request) -> web.Response:
        known_only(request, "verify")
        if choice_of(request, "verify", ("true", "false"), "true") == "true":
            return json_answer(await verified.answer(lambda reading: _logs(reading, verify=True)))
        return json_answer(await work.run(lambda reading: _logs(reading, verify=False)))

    async def batches(request: web.Request) -> web.Response:
        known_only(request, "subsystem", "log", "limit", "before")
        subsystem, log = one_of(request, "subsystem"), one_of(request, "log")
        limit = number_of(request, "limit", default=100, least=1, most=_MAX_BATCHES)
        before = number_of(request, "before", default=-1, least=0, most=999_999_999)
        if before >= 0 and log is None:
            raise Refusal(400, "`before` is a number in one log: say which", where="log")
        return json_answer(await work.run(lambda reading: _batches(reading, subsystem, log, limit, before)))

    async def health(request: web.Request) -> web.Response:
        known_only(request, "checks")
        _check_homes(work.sources)
        if choice_of(request, "checks", ("true", "false"), "true") == "true":
            return json_answer(await checked.answer(lambda reading: _health(reading, checks=True)))
        return json_answer(await work.run(lambda reading: _health(reading, checks=False)))

    async def metrics(request: web.Request) -> web.Response:
        from ipfs_log_handlers.api import OPENMETRICS_CONTENT_TYPE

        known_only(request)
        _check_homes(work.sources)
        if len(work.sources.homes) > 1:
            raise Refusal(409, "metrics are those of one home, and this server shows several", hint="Serve each alone.")
        text = await work.run(lambda reading: reading.sources.homes[0].openmetrics())
        return web.Response(body=text.encode(), headers={"Content-Type": OPENMETRICS_CONTENT_TYPE})

    return [
        web.get("/api/logs", logs),
        web.get("/api/batches", batches),
        web.get("/api/health", health),
        web.get("/metrics", metrics),
    ]


class _Kept:
    """One answer that is dear: made once at a time, and kept for some seconds.

    Args:
        work: makes it, in its only thread; so a request waits until the answer before it is made, also if the client
            of that one has gone.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._made: tuple[float, dict[str, Any]] | None = None

    async def answer(self, make: Callable[[Reading], dict[str, Any]]) -> dict[str, Any]:
        """Return the kept answer, if it is young; else make it."""
        kept = self._young()
        if kept is not None:
            return kept
        return await self._work.run(lambda reading: self._in_thread(make, reading), seconds=_VERIFYING_S)

    def _young(self) -> dict[str, Any] | None:
        made = self._made
        return None if made is None or time.monotonic() - made[0] > _KEPT_S else made[1]

    def _in_thread(self, make: Callable[[Reading], dict[str, Any]], reading: Reading) -> dict[str, Any]:
        """Return the answer that was made while this request waited; else make it."""
        kept = self._young()
        if kept is None:
            self._made = None
            kept = make(reading)
            self._made = time.monotonic(), kept
        return kept


def _check_homes(sources: Sources) -> None:
    if not sources.homes:
        raise Refusal(404, "no source is a home", hint="Start the server with --home.")


# -- logs


def _logs(reading: Reading, *, verify: bool) -> dict[str, Any]:
    found = {state.log: _log(state.subsystem, state.log) | state.as_json() for state in reading.sources.log_states()}
    for batch in _of_plan(reading, None):
        _add(found.setdefault(batch.log, _log(batch.subsystem, batch.log)), batch)
    if verify:
        _verify(reading, found)
    ordered = sorted(found.values(), key=lambda log: (log["subsystem"], log["first"] or "", log["log"]))
    return {"logs": ordered, "gaps": reading.gaps(), "seconds": reading.seconds}


def _log(subsystem: str, name: str) -> dict[str, Any]:
    """Return what is known of a log before its batches are looked at."""
    return {
        "subsystem": subsystem, "log": name, "batches": 0, "records": 0, "first": None, "last": None, "bytes": 0,
        "head": None, "newest": None, "stores": [], "replicas": None, "published_through": -1, "ended": None,
        "is_former": False, "problem": None, "result": None, "trust": None, "seen": None, "problems": [],
    }  # fmt: skip


def _add(log: dict[str, Any], batch: PlannedBatch) -> None:
    """Count a batch; `Dataset.logs` also counts the lines that wait for one, and does not say the newest number."""
    log["batches"] += 1
    log["records"] += batch.records
    log["bytes"] += batch.bytes
    log["newest"] = max(-1 if log["newest"] is None else log["newest"], _index(batch))
    log["first"] = min(filter(None, (log["first"], batch.first)), default=None)
    log["last"] = max(filter(None, (log["last"], batch.last)), default=None)


def _verify(reading: Reading, found: dict[str, dict[str, Any]]) -> None:
    """Verify each chain, hash two payloads of each log, and compare with the heads that were seen before."""
    reports = reading.dataset.verify(deep=False, sample=1, memory=True, progress=reading.check)
    for report in reports:
        members = report.as_json()
        log = found.setdefault(report.log, _log(report.subsystem, report.log))
        remembered = members.get("remembered")
        log |= {
            "result": members["result"],
            "trust": members["trust"],
            "seen": None
            if remembered is None
            else {"size": remembered, "consistent": members["result"] not in ("forked", "vanished")},
            "problems": members["problems"][:_MAX_PROBLEMS],
        }


# -- batches


class _Problems:
    """What kept batches from being listed: the first errors, and the number of all."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._count = 0

    def add(self, error: Exception) -> None:
        """Note an error."""
        self._count += 1
        if self._count <= _MAX_PROBLEMS:
            self._texts.append(str(error))

    def texts(self) -> list[str]:
        """Return the first errors, and how many more there are."""
        more = self._count - len(self._texts)
        return [*self._texts, f"and {more} more"] if more else list(self._texts)


def _batches(reading: Reading, subsystem: str | None, log: str | None, limit: int, before: int) -> dict[str, Any]:
    def is_wanted(batch: _Listed) -> bool:
        return (log is None or batch.log == log) and (before < 0 or _index(batch) < before)

    problems = _Problems()
    listed = _of_homes(reading, subsystem, problems) if reading.sources.homes else _of_plan(reading, subsystem)
    wanted = filter(is_wanted, listed)
    newest = nlargest(limit + 1, wanted, key=lambda batch: (batch.last or "", batch.log, _index(batch)))
    return {
        "batches": [_as_json(batch) for batch in newest[:limit]],
        "more": len(newest) > limit,
        "problems": problems.texts(),
        "gaps": reading.gaps(),
        "seconds": reading.seconds,
    }


def _index(batch: _Listed) -> int:
    return -1 if batch.index is None else batch.index


def _of_homes(reading: Reading, subsystem: str | None, problems: _Problems) -> Iterator[_Listed]:
    """Yield the batches of the homes, then those of other sources."""
    seen: set[tuple[str, int]] = set()
    batches = chain.from_iterable(_batches_of(home, subsystem, problems) for home in reading.sources.homes)
    for number, batch in enumerate(batches):
        if number % 1000 == 0:
            reading.check()
        seen.add((batch.log, batch.index))
        yield batch
    if len(reading.sources.listed) > len(reading.sources.homes):
        yield from (batch for batch in _of_plan(reading, subsystem) if (batch.log, batch.index) not in seen)


def _batches_of(home: Home, subsystem: str | None, problems: _Problems) -> Iterator[BatchInfo]:
    if subsystem is None:
        return home.batches(on_damage=problems.add)
    known = {*home.subsystems, *home.imported_subsystems}
    return home.batches([subsystem], on_damage=problems.add) if subsystem in known else iter(())


def _of_plan(reading: Reading, subsystem: str | None) -> Iterator[PlannedBatch]:
    dataset = reading.dataset if subsystem is None else reading.dataset.filter(subsystem=subsystem)
    return (batch for batch in dataset.explain().batches if batch.index is not None)


def _as_json(batch: _Listed) -> dict[str, Any]:
    from ipfs_log_handlers.api import PlannedBatch

    if not isinstance(batch, PlannedBatch):
        return batch.as_json()
    return {
        "subsystem": batch.subsystem, "log": batch.log, "index": batch.index, "cid": None, "payload": None,
        "records": batch.records, "first": batch.first, "last": batch.last, "raw": None, "size": batch.bytes,
        "encoding": None, "sealed": None, "state": "sealed", "meta": {},
    }  # fmt: skip


# -- health


def _health(reading: Reading, *, checks: bool) -> dict[str, Any]:
    """Return the state of the homes; what several homes have is listed one after another, with their directories."""
    subsystems: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    several = len(reading.sources.homes) > 1
    for home in reading.sources.homes:
        label = {"home": str(home.path)} if several else {}
        subsystems += [status.as_json() | label for status in home.status()]
        for check in home.health(progress=reading.check) if checks else ():
            reading.check()
            found.append(check.as_json() | label)
    return {
        "subsystems": subsystems,
        "keeper": next((status["keeper"] for status in subsystems if status["keeper"]), None),
        "name": next((status["name"] for status in subsystems if status["name"]), None),
        "checks": found if checks else None,
        "seconds": reading.seconds,
    }
