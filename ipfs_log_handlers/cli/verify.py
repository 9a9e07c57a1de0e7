"""`ipfs-logs verify`: check the whole chain of each log, in the home or at any source."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from ipfs_log_handlers.api import Report, known_logs, read_policy, store_addresses, verify_sources
from ipfs_log_handlers.cli.bar import Bar
from ipfs_log_handlers.cli.common import Place, Reader, identity_options, subsystems_argument, verb
from ipfs_log_handlers.cli.output import put_json, put_line, remark, several

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The options that the command line gives."""

    subsystems: tuple[str, ...]
    keys: tuple[str, ...]
    sources: tuple[str, ...]
    kubo: tuple[str, ...]
    gateway: str | None
    token: str | None
    fetch: bool
    deep: bool
    since: str | None
    sample: int | None
    reader: Reader


@click.command("verify")
@subsystems_argument
@click.option("--source", "sources", multiple=True, metavar="SOURCE", help="Verify this home, CAR, CID or name.")
@click.option("--key", "keys", multiple=True, metavar="VKEY", help="Trust this verifier key instead of the home's own.")
@click.option("--policy", metavar="FILE", help="Trust the keys in a policy (C2SP tlog-policy).")
@click.option("--kubo", multiple=True, metavar="URL", help="Ask this daemon: for the blocks of a CID, or for others.")
@click.option("--gateway", metavar="URL", help="Ask this HTTP gateway for the blocks of a CID.")
@click.option("--token", metavar="TOKEN", help="Credential: bearer:…, basic:…, env:NAME or file:PATH.")
@click.option("--fetch", is_flag=True, help="Also ask daemons whose address comes only from the home.")
@click.option("--deep", is_flag=True, help="Also verify the records of a --source; those of a home always are.")
@click.option("-S", "--since", metavar="TIME", help="Only payloads with records of TIME or later.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Only N random payloads of a log, and the newest.")
@click.option("--memory", metavar="DIR", help="The heads that you remember; default: IPFS_LOGS_KNOWN_LOGS.")
@click.option("--no-memory", is_flag=True, help="Neither compare with remembered heads, nor remember.")
@click.option("--evidence", metavar="FILE", help="Only check this evidence of a fork, with --key.")
@identity_options
@verb
def command(
    place: Place,
    policy: str | None,
    memory: str | None,
    no_memory: bool,  # noqa: FBT001
    evidence: str | None,
    **given: object,
) -> int:
    """Check the whole chain of each log: signatures, hashes, order, counts.

    A --source is another home, CAR files or a directory of them, or the CID of a head or a name /ipns/NAME, whose
    blocks the daemon or gateway gives. Its blocks are hashed and its chain is verified; --deep verifies the records,
    too. The daemons of --kubo or IPFS_LOGS_KUBO are asked for other manifests of a home. It is a problem if a batch
    number was signed twice, or if a daemon has batches after the end of a log.

    The logs of other homes that were imported or mirrored are checked, too, with the keys that were given for them.

    The newest head of each log is remembered, and the next one must continue it: an older head, another history, or a
    log that is gone is found. The first head that you see of a log is taken as it is, as ssh does.

    Exit code 0 if every log is as it was signed, 3 if a log is not (`result`: tampered, forked, stale, vanished), 1 if
    there is no log, 4 if a source could not be reached, or a daemon of --kubo or --fetch could not be asked, 5 if a
    part of a log is missing, or no identity opens the records of encrypted batches; all else of these is verified.
    Bytes that were damaged on disk before sealing are counted as `quarantined`; they do not fail the check.
    """
    asked = _Asked(**given)  # type: ignore[arg-type]
    if policy is not None:
        asked = _Asked(**{**given, "keys": (*asked.keys, *read_policy(policy))})  # type: ignore[arg-type]
    if memory is not None and no_memory:
        raise click.UsageError("--memory and --no-memory exclude each other")
    if evidence is not None:
        return _check_evidence(place, evidence, asked.keys)
    if asked.sources and place.given is not None:
        raise click.UsageError("--source and --home both choose the logs: leave one of them out")
    if asked.gateway is not None and not asked.sources:
        raise click.UsageError("--gateway gives the blocks of a CID or name: name it with --source")
    unasked: list[str] = []
    reports: list[Report] = []
    with Bar("verifying") as shown:

        def progress(subsystem: str, checked: int, total: int) -> None:
            shown.update(checked, total, label=subsystem)

        for report in _reports(place, asked, _memory(memory, wanted=not no_memory), progress, unasked):
            reports.append(report)
            with shown.paused():
                if place.json:
                    put_json(report.as_json())
                else:
                    _print(report)
    for reason in unasked:
        remark(reason)
    encrypted = sum(report.encrypted for report in reports)
    if encrypted:
        remark(
            f"the records of {several(encrypted, 'encrypted batch')} were not counted: no identity opens them "
            "(--identity FILE or IPFS_LOGS_IDENTITY)"
        )
    if not reports:
        where = "in this source" if asked.sources else f"in {place.home.path} yet"
        remark(f"no batch {where}: nothing to verify")
    return _code(reports, unasked=bool(unasked and (asked.kubo or asked.fetch)))


def _memory(given: str | None, *, wanted: bool) -> Path | bool:
    """Return the directory of the remembered heads; false where none is wanted, or the default one cannot be used."""
    if not wanted:
        return False
    from ipfs_log_handlers.errors import LogStoreError

    try:
        return known_logs(given)
    except (OSError, LogStoreError) as error:
        if given is not None:
            raise
        remark(f"the heads are neither compared nor remembered: {error}")
        return False


def _reports(
    place: Place,
    asked: _Asked,
    memory: Path | bool,  # noqa: FBT001
    progress: Callable[[str, int, int], None],
    unasked: list[str],
) -> Iterable[Report]:
    def not_asked(address: str, reason: str) -> None:
        unasked.append(f"the store {address} could not be checked completely: {reason}")

    if asked.sources:
        if len(asked.kubo) > 1:
            raise click.UsageError("one --kubo gives the blocks of a --source: leave out the others")
        return verify_sources(
            asked.sources,
            asked.subsystems or None,
            keys=asked.keys,
            kubo=asked.kubo[0] if asked.kubo else None,
            gateway=asked.gateway,
            token=asked.token,
            deep=asked.deep,
            since=asked.since,
            sample=asked.sample,
            memory=memory,
            progress=progress,
            **asked.reader._asdict(),
        )
    return place.home.verify(
        asked.subsystems or None,
        keys=asked.keys,
        progress=progress,
        stores=store_addresses(asked.kubo, "--kubo"),
        token=asked.token,
        fetch=asked.fetch,
        on_store_problem=not_asked,
        since=asked.since,
        sample=asked.sample,
        memory=memory,
        **asked.reader._asdict(),
    )


def _code(reports: Iterable[Report], *, unasked: bool) -> int:
    results = {report.result for report in reports}
    if results - {"ok", "unreachable", "incomplete"}:
        return 3
    if "unreachable" in results:
        return 4
    if "incomplete" in results or any(report.encrypted for report in reports):
        return 5
    return 1 if not results else 4 if unasked else 0


def _check_evidence(place: Place, path: str, keys: tuple[str, ...]) -> int:
    from ipfs_log_handlers.api import check_fork

    if len(keys) != 1:
        raise click.UsageError("--evidence needs one --key: the verifier key of the log, from a source that you trust")
    fork = check_fork(Path(path).read_bytes(), keys[0])
    if place.json:
        put_json(fork.as_json())
    else:
        put_line(
            f"{fork.log}: FORKED: the key has signed {several(fork.older.size, 'batch')} and "
            f"{several(fork.newer.size, 'batch')} of two histories"
        )
    return 3


def _print(report: Report) -> None:
    verdict = "ok" if report.ok else "NOT OK" if report.result == "tampered" else f"NOT OK ({report.result})"
    absent = f", {several(report.absent, 'payload')} absent" if report.absent else ""
    absent += f", {several(report.pruned, 'payload')} pruned" if report.pruned else ""
    counts = f"{several(report.batches, 'batch')}, {several(report.records, 'record')}{absent}{_left_out(report)}"
    if report.log or report.subsystem:
        ended = f"; ended: {report.ended}" if report.ended else ""
        other = "" if report.origin is None else " (of another home)"
        put_line(f"{report.subsystem}: {verdict}: {counts}: {report.log}{other}{ended}")
    else:
        put_line(f"{report.source or 'home'}: {verdict}")
    for problem in report.problems:
        where = "log" if problem.batch is None else f"batch {problem.batch}"
        put_line(f"  {where}: {problem.field}: expected {problem.expected}, found {problem.found}")
    for note in _notes(report):
        put_line(f"  {note}")


def _notes(report: Report) -> Iterable[str]:
    """Yield what the verdict does not say: what was not checked, and what this check rests on."""
    if report.unchecked:
        yield f"not looked at: {several(report.unchecked, 'payload')}; all manifests were"
    if report.encrypted:
        yield f"encrypted, and verified without their records: {several(report.encrypted, 'batch')}"
    if report.erased:
        yield f"erased by policy, and verified without their records: {several(report.erased, 'batch')}"
    if report.gaps:
        yield f"{several(report.gaps, 'record number')} missing: dropped before sealing"
    if report.set_back:
        yield f"the clock was set back before {several(report.set_back, 'batch')}"
    if report.trust == "none" and report.ok and report.log:
        yield "no signature was checked: no verifier key of this log was given (--key) or is known"
    if report.trust == "pinned":
        yield "signed with the key that was pinned before"
    if report.first_seen and report.source is not None:  # of a home, the key is that in the home
        pinned = "" if report.trust == "none" else ", and its key pinned"
        yield f"seen for the first time: its head was remembered{pinned}"


def _left_out(report: Report) -> str:
    if not report.quarantined:
        return ""
    were = "was" if report.quarantined == 1 else "were"
    return f"; {several(report.quarantined, 'damaged piece')} {were} left out before sealing (quarantine/)"
