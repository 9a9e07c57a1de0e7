"""Answer `/api/proof` and `/api/bundle`: how far a record has come, and what its proof says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from ipfs_log_handlers.errors import LogStoreError, RecordError, VerificationError
from ipfs_log_handlers.server.answers import json_answer
from ipfs_log_handlers.server.items import RecordId
from ipfs_log_handlers.server.parameters import known_only, required
from ipfs_log_handlers.server.records import find
from ipfs_log_handlers.server.work import Reading, Work

if TYPE_CHECKING:
    from ipfs_log_handlers.api import LogState, Match, ProvenRecord, Step

__all__ = ["routes"]


def routes(work: Work) -> list[web.RouteDef]:
    """Return the routes."""

    async def proof(request: web.Request) -> web.Response:
        known_only(request, "id")
        wanted = RecordId.parse(required(request, "id"))
        return json_answer(await work.run(lambda reading: _proof(reading, wanted)))

    async def bundle(request: web.Request) -> web.Response:
        known_only(request, "id")
        wanted = RecordId.parse(required(request, "id"))
        body = await work.run(lambda reading: reading.dataset.prove(find(reading, wanted)))
        headers = {"Content-Disposition": 'attachment; filename="record.bundle"'}
        return web.Response(body=body, content_type="application/octet-stream", headers=headers)

    return [web.get("/api/proof", proof), web.get("/api/bundle", bundle)]


def _proof(reading: Reading, wanted: RecordId) -> dict[str, Any]:
    steps = reading.sources.steps()
    match = find(reading, wanted)
    step, state = steps.of(match), steps.log(match.log)
    answer: dict[str, Any] = {
        "id": str(wanted),
        "state": step,
        "steps": _steps(match, step, state),
        "verified": None,
        "key": None,
        "trust": "none",
        "checkpoint": None,
        "batch": None,
        "problem": None,
    }
    if step == "spool":
        answer["problem"] = "the record is in no batch yet: nothing is signed"
        return answer
    keys = reading.sources.trusted_keys()
    try:
        proven = _proven(reading, match, keys)
    except RecordError as error:
        answer["problem"] = str(error)
    except VerificationError as error:
        answer |= {"verified": False, "problem": str(error)}
    except LogStoreError as error:
        answer["problem"] = str(error)
    else:
        if proven is None:
            answer["problem"] = "no key is trusted: start the server with --key, and the line of `ipfs-logs keys show`"
            return answer
        answer |= {
            "verified": True,
            "key": next((key for key in keys if key.startswith(f"{proven.key}+")), proven.key),
            "trust": "given" if reading.sources.keys else "own",
            "checkpoint": {"origin": proven.log, "size": proven.tree_size, "root": proven.tree_root},
            "batch": {
                "log": proven.log, "index": proven.index, "number": proven.number, "records": proven.records,
                "cid": proven.cid, "sealed": proven.sealed,
            },
        }  # fmt: skip
    return answer


def _proven(reading: Reading, match: Match, keys: tuple[str, ...]) -> ProvenRecord | None:
    """Make the bundle of a record and check it as its receiver would; `None` if no key is trusted."""
    from ipfs_log_handlers.api import check

    bundle = reading.dataset.prove(match)
    return check(bundle, keys) if keys else None


def _steps(match: Match, step: Step, state: LogState | None) -> list[dict[str, Any]]:
    """Say of each step whether the record has come to it."""
    order = ("spool", "sealed", "shipped", "published")
    reached = order.index(step)
    waits = "waits for its batch" if step == "spool" else "was here before it was sealed"
    holders = [] if state is None or not reached else list(state.holders(match.batch))
    replicas = 0 if state is None else state.replicas
    details = (
        f"durable: it {waits}",
        f"batch {match.batch} of {match.log}" if reached else "not in a batch yet",
        f"{len(holders)} of {replicas} stores: {', '.join(holders) or 'none'}" if state else "not known here",
        ("the published home head leads to it" if step == "published" else "not published")
        if state
        else "not known here",
    )
    has_copies = bool(state and reached and len(holders) >= replicas > 0)
    done = (True, reached >= 1, step == "shipped" or has_copies, step == "published")
    return [
        {"step": name, "done": is_done, "detail": detail}
        for name, is_done, detail in zip(order, done, details, strict=True)
    ]
