"""Mirror logs of other homes: copy them into this home, verified, and keep up with the names that lead to them.

Nothing of a source is believed. A trusted key must have signed the head of a log, and the head must continue the one
that was accepted last: these are remembered in the home itself (`imported-logs/known-logs`). A head that is older, or
that has another history, changes nothing here; of another history both signed heads are kept as evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import ConfigurationError, LogStoreError, StoreError
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of, subsystem_of
from ipfs_log_handlers.format.home_head import HomeHead
from ipfs_log_handlers.home.absent_payloads import AbsentPayloads
from ipfs_log_handlers.home.imported_logs import MirroredDir, imported_files, importing, remember_keys, trusted_keys
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import logs_of
from ipfs_log_handlers.keeper.run import Stop
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.imported_parts import ImportedSource
from ipfs_log_handlers.sharing.imported_index import ImportedIndex
from ipfs_log_handlers.sharing.mirror_sources import MirrorSource
from ipfs_log_handlers.sharing.mirrored_log import Copied, OnBatch, copy_log, note_pruned
from ipfs_log_handlers.sharing.offered_logs import OfferedLog, Opened
from ipfs_log_handlers.verify.known_logs import KnownLogs
from ipfs_log_handlers.verify.problems import Problem, ProblemKind
from ipfs_log_handlers.verify.remembering import remember
from ipfs_log_handlers.verify.report import Report, Result, SignedChain

__all__ = ["MirroredLog", "Pinner", "mirror"]

_POLL_S: Final = 0.1
"""Seconds between two checks whether a source is due, or the mirror must stop."""
_INTERVAL_S: Final = 1.0
"""Seconds between two looks at a source."""
_MAX_INTERVAL_S: Final = 30.0
"""Seconds between two looks at a source that does not answer."""
_IMPORT_S: Final = 60.0
"""Seconds to wait for an import into the same home."""


_MAX_RUNS_IN_WORDS: Final = 8
"""Number of runs of batches without a payload that a problem names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirroredLog:
    """What came of one log of a source."""

    source: str
    """The source, as it was given."""
    subsystem: str
    """Name of the subsystem; empty if the source could not be read at all."""
    log: str
    """Name of the log, its origin; empty as `subsystem`."""
    result: Result
    """`ok`: the copy is whole up to the newest head, but for payloads that were given up. `stale`: the source shows an
    older head; `forked`: another history; `vanished`: it does not offer the log any more; `tampered`: a signature, hash
    or claim is wrong; nothing of these changes the copy. `incomplete`: a block could not be got, and the others are
    here; `unreachable`: nothing could."""
    batches: int
    """Batches of the log that are here."""
    new_batches: int
    """Batches that were copied just now."""
    problem: str | None = None
    """What is wrong; `None` if the result is `ok`."""
    evidence: str | None = None
    """File with both signed heads of a fork."""
    directory: str | None = None
    """Directory of the copy; `None` if there is none."""
    pruned: int = 0
    """Batches that are here without their payload, which was given up, as a signed act says."""
    absent: int = 0
    """Batches that are here without their payload, which no source had; the next look asks for it again."""

    def as_json(self) -> dict[str, Any]:
        """Return a dict with the keys of `ipfs-logs mirror -o json`."""
        return {name: getattr(self, name) for name in self.__slots__}


class Pinner(Protocol):
    """Pins what was copied on stores."""

    def pin(self, target: MirroredDir) -> None:
        """Pin the batches of a log that are not pinned yet; raises `StoreError`."""

    def pin_home_head(self, home: HomeDir, head: HomeHead) -> None:
        """Pin a home head, all of whose logs are pinned; raises `StoreError`."""

    def close(self) -> None:
        """Close the connections."""


def mirror(
    home: HomeDir,
    sources: Sequence[Callable[[Sequence[VerifierKey]], MirrorSource]],
    *,
    given: Sequence[VerifierKey],
    stop: Stop | None = None,
    on_batch: OnBatch | None = None,
    pinner: Pinner | None = None,
) -> Iterator[MirroredLog]:
    """Copy the logs of some sources; yield what came of each log.

    Args:
        home: the home; a missing one is made.
        sources: functions that open the sources, given the keys to trust.
        given: keys to trust from now on, beside the key of the home and those that were given before.
        stop: look again and again until this is requested; then only what has changed is yielded. `None`: once.
        on_batch: called after each batch that was copied.
        pinner: pins what was copied.

    Raises:
        ConfigurationError: no key is known, or a log is one of this home.
        HomeError: the home cannot be used, or another process mirrors the same log.
        OSError: the disk refuses.
    """
    if not given and not trusted_keys(home):
        raise ConfigurationError(
            "no key is known: nobody can say who has signed the logs",
            hint="Give the verifier key of the other home with --key (keys=): `ipfs-logs keys show` prints it there.",
        )
    with importing(home, wait_s=_IMPORT_S):
        trusted = list(dict.fromkeys((*given, *trusted_keys(home))))
    opened = [source(trusted) for source in sources]

    def progress(subsystem: str, done: int, total: int) -> None:
        if stop is not None and stop.requested:
            raise _StoppedError
        if on_batch is not None:
            on_batch(subsystem, done, total)

    follows = stop is not None
    rounds = [
        _Rounds(home, source, trusted, given, on_batch=progress, pinner=pinner, follows=follows) for source in opened
    ]
    try:
        for each in rounds:
            yield from each.look()
        while stop is not None and not stop.requested and any(each.goes_on for each in rounds):
            clock.pause(_POLL_S)
            for each in rounds:
                if each.is_due and not stop.requested:
                    yield from each.look(again=True)
    except _StoppedError:
        return
    finally:
        for source in opened:
            source.close()
        if pinner is not None:
            pinner.close()


class _StoppedError(Exception):
    """The mirror was stopped in the middle of a log; its whole pieces are here."""


class _Rounds:
    """Look at one source, once or again and again."""

    def __init__(
        self,
        home: HomeDir,
        source: MirrorSource,
        trusted: Sequence[VerifierKey],
        given: Sequence[VerifierKey],
        *,
        on_batch: OnBatch,
        pinner: Pinner | None,
        follows: bool,
    ) -> None:
        self._home = home
        self._source = source
        self._trusted = trusted
        self._given = given
        self._on_batch = on_batch
        self._pinner = pinner
        self._index = ImportedIndex(home)
        self._follows = follows
        self._memory = KnownLogs(home.imported / "known-logs")
        self._offered: dict[str, OfferedLog] = {}
        self._said: dict[str, MirroredLog] = {}
        self._ends: dict[str, Checkpoint | None] = {}
        """The end of the log before each log."""
        self._pause = _INTERVAL_S
        self._due = 0.0
        self._failed = False

    @property
    def goes_on(self) -> bool:
        """Whether something new may come."""
        return self._source.changes or self._failed

    @property
    def is_due(self) -> bool:
        """Whether to look again now."""
        return self.goes_on and clock.monotonic() >= self._due

    def look(self, *, again: bool = False) -> Iterator[MirroredLog]:
        """Copy what is new, and yield what came of each log.

        Args:
            again: yield only what has changed since the last look.
        """
        failed = False
        for found in self._look():
            told = replace(found, new_batches=0)
            failed |= found.result in ("unreachable", "incomplete")
            if not again or found.new_batches or self._said.get(found.log) != told:
                yield found
            self._said[found.log] = told
        self._failed = failed
        self._pause = min(2 * self._pause, _MAX_INTERVAL_S) if failed else _INTERVAL_S
        self._due = clock.monotonic() + self._pause

    def _look(self) -> Iterator[MirroredLog]:
        try:
            opened = self._source.offers(again=self._failed)
        except ConfigurationError:
            raise
        except LogStoreError as error:
            yield self._without(_unread(error))
            return
        if opened is None:
            return
        is_whole = True
        held: list[tuple[Report, Copied]] = []
        for report in remember(self._reports(opened), self._memory, self._source.name, None):
            copied, problems = self._copied(report)
            report = replace(report, problems=problems)  # noqa: PLW2901 - with what copying has shown
            found = self._told(report, copied)
            if found.absent:
                held.append((report, copied))
            else:
                is_whole &= found.result == "ok"
                yield found
            if report.follows is not None:
                yield from self._unfinished(report.follows)
        for report, copied in held:
            settled = self._settled(report, copied)
            is_whole &= settled.result == "ok"
            yield settled
        if self._pinner is not None and is_whole:
            try:
                head = self._source.home_head
                if head is not None:
                    self._pinner.pin_home_head(self._home, head)
            except LogStoreError as error:
                yield self._without(_unread(error, kind="incomplete"))

    def _unfinished(self, end: Checkpoint) -> Iterator[MirroredLog]:
        """Say that a log which is mirrored has ended, and that its last batches are not here."""
        here = _here(MirroredDir.of(self._home, end.origin))
        if 0 < here < end.size:
            hint = "its last batches are not here: mirror the CID of its last head, or its home"
            problem = Problem(None, "log", f"{end.size} batches", f"{here} of {end.size} batches; {hint}", "incomplete")
            yield self._without(Report(subsystem=subsystem_of(end.origin), log=end.origin, problems=(problem,)))

    def _reports(self, opened: Iterator[Opened]) -> Iterator[Report]:
        """Ask for the head of each log, and yield a report that `remember` compares with the accepted head."""
        while True:
            try:
                found = next(opened, None)
            except LogStoreError as error:
                yield _unread(error)
                return
            if found is None:
                return
            log, ask = found
            self._refuse_own(log)
            try:
                offered = ask()
            except LogStoreError as error:
                yield _unread(error, log)
                continue
            log = offered.head.log
            self._refuse_own(log)
            self._offered[log] = offered
            yield self._report_of(log, offered)

    def _report_of(self, log: str, offered: OfferedLog) -> Report:
        if log not in self._ends:
            self._ends[log] = offered.follows()
        return Report(
            subsystem=subsystem_of(log),
            log=log,
            batches=offered.head.index + 1,
            trust="given",
            chain=SignedChain(
                note=offered.head.checkpoint,
                key=next(key for key in self._trusted if key.name == key_name_of(log)),
                start=0,
                manifest=offered.manifest,
                cid=lambda index: offered.manifest(index).cid,
            ),
            follows=self._ends[log],
        )

    def _refuse_own(self, log: str) -> None:
        for subsystem_dir in self._home.subsystem_dirs() if log else ():
            if any(own.name == log for own in logs_of(subsystem_dir)):
                raise ConfigurationError("this home has written this log itself", where=log)

    def _copied(self, report: Report) -> tuple[Copied, tuple[Problem, ...]]:
        """Copy a log whose head was accepted; return also what is wrong."""
        offered = self._offered.pop(report.log, None)
        if not report.ok or offered is None:
            return Copied(batches=0), report.problems
        target = MirroredDir.of(self._home, report.log)
        copied, problems = Copied(batches=0), report.problems
        others = partial(self._batches_of, report.subsystem)
        with target.locked():
            before = _here(target)
            try:
                copied = copy_log(offered, target, imported_files(self._home), self._on_batch, others)
                self._write_index(target, copied)
                if self._pinner is not None:
                    self._pinner.pin(target)
            except LogStoreError as error:
                if isinstance(error, (ConfigurationError, OSError)) and not isinstance(error, StoreError):
                    raise
                problems = _unread(error, report.log, "incomplete").problems
                copied = replace(copied, batches=_here(target) - before)
            is_here = _here(target) > 0
        new_keys = [key for key in self._given if key not in trusted_keys(self._home)]
        if is_here and any(key.name == key_name_of(report.log) for key in new_keys):
            with importing(self._home, wait_s=_IMPORT_S):
                remember_keys(self._home, self._given)
        return copied, problems

    def _write_index(self, target: MirroredDir, copied: Copied) -> None:
        """Write index pages; a disk that refuses them costs the speed of queries only."""
        if copied.batches or copied.added:
            with suppress(OSError):
                self._index.of_mirror(target, _here(target) - 1, copied.added, at_end=not self._follows)

    def _told(self, report: Report, copied: Copied) -> MirroredLog:
        """Say what came of a log, and which payloads of it are not here."""
        if not report.log:
            return self._without(report)
        absent = AbsentPayloads.load(MirroredDir.of(self._home, report.log))
        if absent.missing and report.ok:
            report = replace(report, problems=(_absent_problem(absent, copied.reason),))
        return replace(
            self._without(report),
            new_batches=copied.batches,
            pruned=absent.pruned_count,
            absent=absent.missing_count,
        )

    def _batches_of(self, subsystem: str) -> Sequence[ChainPart]:
        """List the batches of a subsystem that were mirrored or imported, with what the acts in them say."""
        return ImportedSource(self._home, _ignore_gap, keys=self._trusted).all_parts(subsystem)

    def _settled(self, report: Report, copied: Copied) -> MirroredLog:
        """Look again whether a payload was given up: the act may be in a log that was copied after this one."""
        target = MirroredDir.of(self._home, report.log)
        with target.locked():
            note_pruned(target, self._batches_of(report.subsystem))
        return self._told(report, copied)

    def _without(self, report: Report) -> MirroredLog:
        """Say what came of a log of which nothing was copied."""
        target = MirroredDir.of(self._home, report.log) if report.log else None
        here = 0 if target is None else _here(target)
        problem = report.problems[0] if report.problems else None
        text = None if problem is None else problem.found
        if problem is not None and problem.field not in ("source", "log"):
            text = f"{problem.field}: expected {problem.expected}, found {problem.found}"
        return MirroredLog(
            source=self._source.given,
            subsystem=report.subsystem,
            log=report.log,
            result=report.result,
            batches=here,
            new_batches=0,
            problem=text,
            evidence=report.evidence,
            directory=None if target is None or not here else str(target.path),
        )


def _here(target: MirroredDir) -> int:
    """Return the number of batches of a log that are here and proven."""
    with suppress(LogStoreError):
        head = target.head()
        return 0 if head is None else head.through + 1
    return 0


def _absent_problem(absent: AbsentPayloads, reason: str | None) -> Problem:
    """Return the problem of payloads that no source had."""
    runs = [str(first) if first == last else f"{first}-{last}" for first, last in absent.missing[:_MAX_RUNS_IN_WORDS]]
    more = ", …" if len(absent.missing) > _MAX_RUNS_IN_WORDS else ""
    found = f"no payload of batches {', '.join(runs)}{more}: {reason or 'the source does not have it'}"
    return Problem(absent.missing[0][0], "source", "a payload", found, "incomplete")


def _ignore_gap(gap: Gap) -> None:
    """Ignore damage of what is here: readers report it."""


def _unread(error: LogStoreError, log: str = "", kind: ProblemKind = "unreachable") -> Report:
    """Return the report of what could not be read, or is not as it should be."""
    found: ProblemKind = kind if isinstance(error, StoreError) else "tampered"
    problem = Problem(None, "source", "a log", str(error), found)
    return Report(subsystem=subsystem_of(log) if log else "", log=log, problems=(problem,))
