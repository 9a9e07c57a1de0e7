"""Compare verified logs with the heads that were remembered of them, and remember their new heads.

The first head of a log is taken as it is, and its key is pinned. Each later head must continue the remembered one, as a
consistency proof of RFC 6962 shows, which is made from the edges in the manifests. An older head is `stale`; another
history is `forked`, and the proof of it is written; a log that a source had and does not offer any more is `vanished`.
Only the head of a log without any problem is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ipfs_log_handlers.errors import LogStoreError, VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, subsystem_of
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.verify.forks import ForkEvidence
from ipfs_log_handlers.verify.known_logs import KnownLog, KnownLogs, known_logs_directory
from ipfs_log_handlers.verify.problems import Problem, ProblemKind
from ipfs_log_handlers.verify.report import Report, SignedChain

__all__ = ["consistency", "remember", "with_memory"]


def with_memory(
    reports: Iterable[Report],
    memory: bool | str | Path,  # noqa: FBT001 - a value that the caller was given
    source: str | None,
    subsystems: Sequence[str] | None,
) -> Iterator[Report]:
    """Compare with the heads in a directory, as `remember`, if the caller wants it.

    Args:
        reports: the reports of all logs at a source.
        memory: the directory; `True`: the default one; `False`: none.
        source: as for `remember`.
        subsystems: as for `remember`.
    """
    if memory is not False:
        given = None if memory is True else memory
        reports = remember(reports, KnownLogs(known_logs_directory(given)), source, subsystems)
    for report in reports:
        yield replace(report, chain=None, fork=None, follows=None)


def remember(
    reports: Iterable[Report], memory: KnownLogs, source: str | None, subsystems: Sequence[str] | None
) -> Iterator[Report]:
    """Yield the reports, each compared with the remembered head of its log; then one for each log that vanished.

    Args:
        reports: the reports of all logs at a source.
        memory: the remembered heads.
        source: the source, by the name that the user gave it; `None`: what it holds is fixed by its CID.
        subsystems: the subsystems that were checked; `None`: all.

    Raises:
        OSError: the memory cannot be read or written.
    """
    problem: Problem | None = None
    known: tuple[str, ...] = ()
    try:
        known = memory.logs_of(source) if source is not None else ()
    except VerificationError as error:
        problem = _problem("memory", "the logs of this source", str(error))
    offered: set[str] = set()
    followed: dict[str, Checkpoint] = {}
    unreachable = False
    accepted: list[str] = []
    for report in reports:
        compared = _compared(report, memory)
        yield compared
        offered.add(report.log)
        unreachable |= compared.result == "unreachable"
        if compared.ok and report.log:
            accepted.append(report.log)
            if report.follows is not None:
                followed[report.follows.origin] = report.follows
    if problem is not None:
        yield Report(subsystem="", log="", problems=(problem,))
        return
    for log in known:
        wanted = subsystems is None or subsystem_of(log) in subsystems
        if wanted and log not in offered and not unreachable:
            yield from _vanished(log, memory, followed.get(log), source or "")
    if source is not None and accepted:
        with memory.lock():
            memory.add_logs(source, accepted)


def _compared(report: Report, memory: KnownLogs) -> Report:
    """Compare one log with the remembered head of it, and remember its head if all is as it should be."""
    if report.fork is not None:
        path = memory.keep_evidence(report.log, "source", report.fork.encode())
        report = replace(report, evidence=str(path))
    chain = report.chain
    if chain is None:
        return report
    try:
        before = memory.load(report.log)
    except VerificationError as error:
        return _with(report, _problem("memory", "a remembered head", str(error)))
    pinned = None if before is None else before.key
    report = replace(report, remembered=None if before is None else before.checkpoint.size)
    try:
        new = KnownLog.of(chain.note, chain.key or pinned)
    except LogStoreError as error:
        return _with(report, _problem("key", "a head that the pinned key has signed", str(error)))
    if before is not None:
        if pinned is not None and chain.key is None:
            report = replace(report, trust="pinned")
        report = _judged(report, chain, before, new, memory)
    return _kept(report, chain, before, new, memory) if report.ok else report


def _judged(report: Report, chain: SignedChain, before: KnownLog, new: KnownLog, memory: KnownLogs) -> Report:
    """Add what is wrong with a head after the remembered one."""
    file = memory.file(report.log)
    if before.key is not None and new.key != before.key:
        found = "none" if new.key is None else new.key.text
        return _with(report, _problem("key", f"{before.key.text}, pinned in {file}", found))
    old, size = before.checkpoint, new.checkpoint.size
    if old.size > size:
        found = f"{size} batches: an older head; delete {file} to accept it"
        return _with(report, _problem("remembered", f"at least {old.size} batches", found, "stale"))
    try:
        prefix, proof = consistency(chain, old.size, size)
        merkle.verify_consistency(old.size, prefix, size, new.checkpoint.root, proof)
    except LookupError as error:
        return _with(report, _problem("remembered", f"the batches from {old.size} on", str(error), "incomplete"))
    except (LogStoreError, OSError) as error:
        return _with(report, _problem("remembered", "a consistent tree", explain_any(error)))
    if prefix == old.root:
        return report
    evidence = ForkEvidence(older=before.note, newer=new.note, prefix=prefix, proof=proof)
    path = memory.keep_evidence(report.log, f"{old.size}-{size}", evidence.encode())
    found = f"{prefix.hex()}, another history; both heads are in {path}"
    problem = _problem("remembered", f"the root {old.root.hex()} of the first {old.size} batches", found, "forked")
    return replace(_with(report, problem), evidence=str(path))


def consistency(chain: SignedChain, old: int, size: int) -> tuple[bytes, tuple[bytes, ...]]:
    """Return the root over the first `old` batches of a log, and the proof that the log continues it.

    Args:
        chain: the log.
        old: number of batches, at least 1.
        size: number of all batches.

    Raises:
        LookupError: a manifest that the proof needs is not here.
        LogStoreError, OSError: a manifest cannot be read.
    """

    def edge_at(index: int) -> merkle.Edge:
        if index < chain.start:
            raise LookupError(f"the first manifest here is that of batch {chain.start}")
        manifest = chain.manifest(index)
        if manifest.cid != chain.cid(index):
            raise VerificationError(
                "a manifest has changed during the check", expected=chain.cid(index).text, found=manifest.cid.text
            )
        return manifest.edge_hashes

    def read(index: int) -> tuple[merkle.Edge, bytes]:
        return edge_at(index), merkle.leaf_hash(chain.cid(index))

    if old < size:
        edge = edge_at(old)
    else:
        before, leaf = read(size - 1)
        edge = merkle.edge_append(before, size - 1, leaf)
    return merkle.edge_root(edge), merkle.consistency_from_edges(old, size, read, edge=edge)


def _kept(report: Report, chain: SignedChain, before: KnownLog | None, new: KnownLog, memory: KnownLogs) -> Report:
    """Remember a head, unless another verification has remembered a later one meanwhile."""
    with memory.lock():
        now = memory.load(report.log)
        if now is not None and now != before:
            if now.checkpoint.size > new.checkpoint.size:
                return report
            report = _judged(report, chain, now, new, memory)
            if not report.ok:
                return report
        memory.keep(new)
    return replace(report, first_seen=now is None)


def _vanished(log: str, memory: KnownLogs, end: Checkpoint | None, source: str) -> Iterator[Report]:
    """Report a log that its source does not offer any more, unless a later log has taken it up to its end."""
    try:
        before = memory.load(log)
    except VerificationError as error:
        yield Report(subsystem=subsystem_of(log), log=log, problems=(_problem("memory", "a head", str(error)),))
        return
    size = 0 if before is None else before.checkpoint.size
    is_same = before is not None and end is not None and (end.size, end.root) == (size, before.checkpoint.root)
    if end is not None and (end.size > size or is_same):  # a change of the key ends a log with one more line
        return
    found = f"nothing of it at {source}; delete {memory.source_file(source)} to accept that"
    problem = _problem("log", f"the log, of which {size} batches were verified before", found, "vanished")
    yield Report(subsystem=subsystem_of(log), log=log, remembered=size or None, problems=(problem,))


def _with(report: Report, problem: Problem) -> Report:
    return replace(report, problems=(*report.problems, problem))


def _problem(field: str, expected: str, found: str, kind: ProblemKind = "tampered") -> Problem:
    return Problem(None, field, expected, found, kind)
