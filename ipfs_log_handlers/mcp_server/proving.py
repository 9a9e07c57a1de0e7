"""Answer `get_record` and `verify`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.api import check
from ipfs_log_handlers.errors import FormatError, LogStoreError, RecordError
from ipfs_log_handlers.mcp_server.answers import Room, cut, error_text, left_out
from ipfs_log_handlers.mcp_server.reading import Reading, Refused

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Match

__all__ = ["get_record", "verify"]

_MAX_BUNDLE_BYTES: Final = 24_000
"""Bytes of a bundle that an answer holds; in base64 it is a third longer."""
_MAX_SAME_SEQ: Final = 5
"""Records with one sequence number that an answer shows."""


def get_record(
    reading: Reading,
    *,
    cid: str | None,
    number: int | None,
    name: str | None,
    seq: int | None,
    pid: int | None,
    proof: bool,
    keys: Sequence[str],
) -> dict[str, Any]:
    """Return one record, and the bundle that proves it.

    Args:
        reading: the reading of this call.
        cid: CID of the batch; then `number` says which record of it.
        number: number of the record in the batch, from 0.
        name: name of the dataset; then `seq` says which record of it.
        seq: its sequence number in its process.
        pid: its process; `None`: any.
        proof: whether the bundle is made.
        keys: verifier keys with which the bundle is checked; empty: it is not checked.

    Raises:
        Refused: there is no such record, or the arguments do not say which one.
        LogStoreError: a source cannot be read.
    """
    stored = [
        match
        for match in _found(reading.stored, cid, number, name, seq, pid)
        if cid is not None or _has(reading.shown.hidden_match(match), seq, pid)
    ]
    shown = [reading.shown.hidden_match(match) for match in stored]
    if not shown:
        raise Refused("there is no such record")
    if len(shown) > 1:
        found = [cut(match.record) for match in shown[:_MAX_SAME_SEQ]]
        return {"several_processes_have_this_number": found, "say_which": "Call again with `pid`."}
    answer = {
        "record": cut(shown[0].record),
        "log": shown[0].log,
        "batch": shown[0].batch,
        "number": shown[0].number,
        **reading.gaps.as_json(),
    }
    if not proof:
        return answer
    if stored[0].line != shown[0].line:
        return {**answer, "proof": None, "no_proof_because": "the record has hidden values, which a proof would reveal"}
    return {**answer, **_proof_of(reading.stored, stored[0], keys)}


def _found(
    dataset: Dataset, cid: str | None, number: int | None, name: str | None, seq: int | None, pid: int | None
) -> Sequence[Match]:
    if cid is not None and number is not None:
        try:
            match = dataset.record_at(cid, number)
        except FormatError:
            raise Refused("not a CID") from None
        return () if match is None else (match,)
    if name is not None and seq is not None:
        return dataset.records_with_seq(name, seq, pid=pid)
    raise Refused("say which record: `cid` and `number`, or `dataset` and `seq`")


def _has(match: Match, seq: int | None, pid: int | None) -> bool:
    """Say whether a record has these numbers also where values are hidden: no question finds out a hidden one."""
    record = match.record
    return bool(record.get("seq") == seq and pid in (None, record.get("pid")))


def _proof_of(dataset: Dataset, match: Match, keys: Sequence[str]) -> dict[str, Any]:
    try:
        bundle = dataset.prove(match)
    except RecordError as error:
        return {"proof": None, "no_proof_because": error_text(str(error))}
    proof: dict[str, Any] = {"bytes": len(bundle), "check_it_with": "ipfs-logs check FILE --key VERIFIER_KEY"}
    try:
        proof["verified"] = (
            check(bundle, keys).as_json() if keys else "not checked: the server was given no key to trust"
        )
    except LogStoreError as error:
        proof["verified"] = f"FAILED: {error_text(str(error))}"
    if isinstance(proof["verified"], dict):
        del proof["verified"]["record"]
    if len(bundle) > _MAX_BUNDLE_BYTES:
        return {"proof": proof, "bundle_left_out_because": "it is too large; `ipfs-logs prove` writes it to a file"}
    return {"proof": {**proof, "bundle_base64": base64.b64encode(bundle).decode()}}


def verify(
    reading: Reading, name: str | None, *, depth: str, since: str | None, sample: int | None, verified: dict[str, str]
) -> dict[str, Any]:
    """Verify the logs, and say what was checked.

    Args:
        reading: the reading of this call.
        name: name of a dataset; `None`: all.
        depth: `records`: the records are counted again; `blocks`: their blocks are hashed.
        since: only the payloads of batches with a record of this time or later.
        sample: only the payloads of so many batches of each log.
        verified: gets the outcome for each log.

    Raises:
        ConfigurationError: there is no such dataset.
        LogStoreError: a source cannot be read.
    """
    dataset = reading.stored.filter(subsystem=name)
    dataset.logs()  # says which datasets there are, if this is none of them
    reports = dataset.verify(
        deep=depth == "records", since=since, sample=sample, progress=lambda *_: reading.end.check()
    )
    for report in reports:
        verified[report.log] = f"{report.result}: {report.batches} batches"
    shown = [reading.shown.hidden(report.as_json()) for report in reports]
    kept, others = Room().fitting(shown)
    return {
        "all_ok": bool(reports) and all(report.ok for report in reports),
        "checked": _checked(depth, since, sample),
        "logs": kept,
        **left_out(others),
        **({} if reports else {"nothing_to_check": "no log has a batch"}),
    }


def _checked(depth: str, since: str | None, sample: int | None) -> str:
    payloads = "of every batch" if since is None and sample is None else "of the chosen batches"
    return (
        f"of each log the signature, every manifest and their order; {payloads} the "
        f"{'records, counted again' if depth == 'records' else 'blocks'}. "
        "Records that are in no batch yet are not signed."
    )
