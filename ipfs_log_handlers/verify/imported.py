"""Verify the logs of other homes in a home: those of imported files, and mirrored ones.

Each log is verified as at any source: a key that is trusted must have signed its head. All files that have batches of a
log are read together. A mirrored log begins with its first batch, so none may be missing before its head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from ipfs_log_handlers.errors import LogStoreError, VerificationError
from ipfs_log_handlers.format.checkpoint import VerifierKey, key_name_of, subsystem_of
from ipfs_log_handlers.home.imported_logs import MirroredDir, imported_files, mirrored_logs, trusted_keys
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.reader.acts_of_parts import mark_acts
from ipfs_log_handlers.reader.car_parts import CarSource
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.imported_parts import mirrored_files
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.verify.chain import verify_elsewhere
from ipfs_log_handlers.verify.log import Progress
from ipfs_log_handlers.verify.problems import Problem
from ipfs_log_handlers.verify.report import Report, Trust
from ipfs_log_handlers.verify.selection import Selection

__all__ = ["verify_imported"]


def verify_imported(
    home: HomeDir,
    subsystems: Sequence[str] | None = None,
    *,
    trusted: Sequence[VerifierKey] = (),
    progress: Progress | None = None,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    keyring: Keyring = NO_KEYS,
) -> Iterator[Report]:
    """Check every log of another home in a home; each report has the name of the log as its `origin`.

    Args:
        home: the home.
        subsystems: names of the subsystems to check; `None`: all.
        trusted: the keys that may have signed; empty: those that the home trusts for logs which come in.
        progress: called after every batch.
        selection: the batches whose payloads are checked; every manifest is.
        keyring: opens encrypted batches. Of those that it does not open, the payload is hashed.

    Raises:
        OSError: the home cannot be read.
        FormatError: the file of trusted keys is damaged.
    """
    mirrored = {target.log: target for target in mirrored_logs(home)}
    files = imported_files(home)
    if not mirrored and not files:
        return
    keys = trusted or trusted_keys(home)
    gaps: list[Gap] = []
    imported = CarSource(files, gaps.append, keys=keys, keyring=keyring)
    in_files = {*imported.chains(), *(gap.log for gap in gaps if gap.log)}
    logs = sorted((subsystem_of(log), log) for log in {*mirrored, *in_files})
    for name, members in groupby(logs, key=lambda member: member[0]):
        if subsystems is not None and name not in subsystems:
            continue
        sources: dict[str, tuple[CarSource, list[Gap]]] = {}
        for _, log in members:
            try:
                _check_key(log, keys)
                target = mirrored.get(log)
                head = None if target is None else target.head()
                if target is not None and head is not None:
                    sources[log] = _mirrored(target, head.head.index, files if log in in_files else (), keys, keyring)
                elif log in in_files:
                    sources[log] = imported, gaps
            except (LogStoreError, OSError) as error:
                field = "key" if isinstance(error, VerificationError) else "head"
                problem = Problem(None, field, "a head that a trusted key has signed", explain_any(error))
                yield Report(subsystem=name, log=log, origin=log, problems=(problem,))
        mark_acts([part for source, _ in sources.values() for part in _parts_of(source)])
        for log, (source, found) in sources.items():
            wanted = [gap for gap in found if gap.log or gap.segment not in {str(file) for file in files}]
            for report in verify_elsewhere(
                source, keys=keys, gaps=wanted, selection=selection, logs=[log, ""], progress=progress
            ):
                trust: Trust = "home" if report.trust == "given" and not trusted else report.trust
                yield replace(report, origin=log, trust=trust)
    for gap in gaps if subsystems is None else ():
        if not gap.log:
            problem = Problem(None, "file", gap.segment or "", gap.reason)
            yield Report(subsystem="", log="", problems=(problem,))


def _check_key(log: str, keys: Sequence[VerifierKey]) -> None:
    if all(key.name != key_name_of(log) for key in keys):
        raise VerificationError("no trusted key has signed it", hint="Give the verifier key of the other home.")


def _mirrored(
    target: MirroredDir, newest: int, imported: Sequence[Path], keys: Sequence[VerifierKey], keyring: Keyring
) -> tuple[CarSource, list[Gap]]:
    """Open a mirrored log, whose first batch must be there, and the imported files that have it, too."""
    gaps: list[Gap] = []
    source = CarSource([*mirrored_files(target, newest), *imported], gaps.append, keys=keys, keyring=keyring)
    source.whole_logs.add(target.log)
    return source, gaps


def _parts_of(source: CarSource) -> Iterator[ChainPart]:
    for _, parts in source.chains().values():
        yield from parts
