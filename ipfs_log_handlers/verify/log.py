"""Verify every log of a home: its chain must be complete, signed and in order, and its records must match.

The tree over the manifests' CIDs decides: `prev`, `jump`, `edge`, `index` and `log` must agree with it, and every
checkpoint must sign it. `meta` and `stats` are counted again from the records: the common part always; the part of the
subsystem by the rules that the manifest names, if these are registered here or are in `settings.json` of the subsystem.
A payload that retention has deleted is `absent`, which is not damage. Hostile bytes raise no exception: every fault
becomes a `Problem`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, cast

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of, subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.pruned import Pruned
from ipfs_log_handlers.home import key_changes, log_list
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.home.policy import rules_in
from ipfs_log_handlers.home.pruned import pruned_of
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.subsystems.rules import Rules
from ipfs_log_handlers.verify.batch import BatchCheck, Chain
from ipfs_log_handlers.verify.order import RecordOrder
from ipfs_log_handlers.verify.problems import Problem, Problems
from ipfs_log_handlers.verify.report import Report, SignedChain, Trust
from ipfs_log_handlers.verify.selection import Selection
from ipfs_log_handlers.verify.signers import Signers
from ipfs_log_handlers.verify.stores import StoreView, list_pins, other_manifests

__all__ = ["Problem", "Progress", "Report", "listed_subsystems", "verify"]

Progress = Callable[[str, int, int], None]
"""A function that is called with the subsystem, the number of batches that are checked, and that of all its batches."""
_MAX_TRIES: Final = 3
"""Largest number of checks of a subsystem; a check is repeated if its log ended and moved during the check."""


@dataclass(frozen=True, slots=True)
class _How:
    """How the logs of a home are checked."""

    signers: Signers
    """The keys that may have signed."""
    trust: Trust
    """Where the keys come from."""
    selection: Selection
    """The batches whose payloads are checked."""
    progress: Progress | None
    """Called after every batch."""
    keyring: Keyring
    """Opens encrypted batches."""
    manifests: dict[str, list[Cid | None]]
    """Gets the CIDs of the manifests of each log."""


def verify(
    home: HomeDir,
    subsystems: Sequence[str] | None = None,
    *,
    trusted: Sequence[VerifierKey] = (),
    progress: Progress | None = None,
    stores: StoreView | None = None,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    keyring: Keyring = NO_KEYS,
) -> Iterator[Report]:
    """Check every log of a home, the former logs of each subsystem first.

    Args:
        home: the home.
        subsystems: names of the subsystems to check; `None`: all.
        trusted: the keys that may have signed; empty: the home's own key. The logs of earlier keys are accepted up to
            the ends that these keys vouch for (`home/key_changes.py`).
        progress: called after every batch.
        stores: stores that are asked for manifests which the home does not have; `None`: none is asked.
        selection: the batches whose payloads are checked; every manifest is.
        keyring: opens encrypted batches. Of those that it does not open, the payload is hashed.
    """
    signers = Signers.of(home, trusted)
    manifests: dict[str, list[Cid | None]] = {}
    how = _How(signers, "given" if trusted else "home", selection, progress, keyring, manifests)
    if stores is None:
        yield from _verify_home(home, subsystems, how)
        return
    pins = list_pins(stores)
    reports = list(_verify_home(home, subsystems, how))
    problems = other_manifests(stores, pins, manifests)
    for report in reports:  # if two directories have one log, its first report has the problems
        yield replace(report, problems=(*report.problems, *problems.pop(report.log, ())))


def _verify_home(home: HomeDir, subsystems: Sequence[str] | None, how: _How) -> Iterator[Report]:
    """Check every log of a home, and note the CIDs of the manifests of each."""
    listed = log_list.load(home)  # before the directories: a log is listed after its first batch is sealed
    listed_in = {name: [log for log in listed.names if subsystem_of(log) == name] for name in listed_subsystems(home)}
    problems = [Problem(None, home.log_list.name, *words) for words in listed.problems(how.signers.known)]
    if problems:
        yield Report(subsystem="", log="", problems=tuple(problems))
    present = [subsystem_dir.name for subsystem_dir in home.subsystem_dirs()]
    for name in sorted({*present, *listed_in}):
        if subsystems is None or name in subsystems:
            subsystem_dir = home.subsystem_dir(name)
            yield from _verify_subsystem(subsystem_dir, listed_in.get(name, ()), how)


def listed_subsystems(home: HomeDir) -> list[str]:
    """Name the subsystems of which this home has signed logs, also if their directories were deleted."""
    return list(dict.fromkeys(map(subsystem_of, log_list.load(home).names)))


def _verify_subsystem(subsystem_dir: SubsystemDir, listed: Sequence[str], how: _How) -> list[Report]:
    reports: list[Report] = []
    for _ in range(_MAX_TRIES):
        log_dirs = LogDir.all_of(subsystem_dir)
        checks = _check_logs(subsystem_dir, log_dirs, how)
        reports = [*(check.report for check in checks), *_missing_logs(subsystem_dir, checks, listed)]
        how.manifests.update({check.name: check.cids for check in checks if check.name})
        if log_dirs == LogDir.all_of(subsystem_dir):  # otherwise the current log ended and moved during the check
            break
    return reports


def _check_logs(subsystem_dir: SubsystemDir, log_dirs: Sequence[LogDir], how: _How) -> list[_LogCheck]:
    checks: list[_LogCheck] = []
    order = RecordOrder()
    for log_dir in log_dirs:
        check = _LogCheck(subsystem_dir, log_dir, how)
        if check.exists:
            check.run(order, checks[-1] if checks else None)
            check.compare(checks)
            checks.append(check)
    return checks


def _missing_logs(subsystem_dir: SubsystemDir, checks: Sequence[_LogCheck], listed: Sequence[str]) -> Iterator[Report]:
    """Report the signed logs that have no file in the home any more.

    Args:
        subsystem_dir: the subsystem.
        checks: the checks of its logs that are in the home.
        listed: names of all logs that this home has begun for it.
    """
    present = {check.name for check in checks}
    nameless = {check.suffix for check in checks if not check.name}
    wanted: dict[str, str] = {}
    for check in checks:
        if check.follows is not None:
            batches = f"{check.follows.size} batches of {check.follows.origin}"
            wanted[check.follows.origin] = f"{batches}, which the first manifest of {check.name} names"
    for log in listed:
        wanted.setdefault(log, f"the batches of {log}, which this home has signed")
    for log, expected in wanted.items():
        if log not in present and log[-8:] not in nameless:
            problem = Problem(None, "log", expected, "no file of it")
            yield Report(subsystem=subsystem_dir.name, log=log, problems=(problem,))


def _rules(subsystem_dir: SubsystemDir) -> dict[str, Rules]:
    """Return the known rules of a subsystem, by their ids."""
    own = subsystems.get(subsystem_dir.name).rules if subsystem_dir.name in subsystems.names() else Rules()
    stored: dict[str, Rules] = {}
    with suppress(OSError):
        stored = rules_in(subsystem_dir.settings)
    return {**stored, own.id: own}


def _name_from_batches(log_dir: LogDir) -> str:
    with suppress(OSError):
        newest = log_dir.newest_batch()
        return "" if newest is None else newest.manifest.log
    return ""


class _LogCheck:
    """Check one log."""

    def __init__(self, subsystem_dir: SubsystemDir, log_dir: LogDir, how: _How) -> None:
        self._batches = log_dir.sealed_batches
        self._ended = log_dir.ended() if log_dir.is_former else None
        self._current = not log_dir.is_former
        self._log_dir = log_dir
        self.suffix = log_dir.path.name[-8:]
        """The end of the name of its directory; the directory of a former log ends like the log."""
        self._how = how
        self._rules = _rules(subsystem_dir)
        self._problems = Problems()
        # List the batches before the head is read, so that a batch that is sealed in between is not above the head.
        self._indexes = self._listed()
        self.sealed, self.head_damaged = self._load_head(log_dir)
        name = self.sealed.log if self.sealed is not None else _name_from_batches(log_dir)
        self._states = list(log_dir.delivery_states(name or None).values())
        self.exists = bool(self._indexes or self.sealed or self.head_damaged or self._states)
        name = name or next((state.log for state in self._states), "")
        self._subsystem = subsystem_dir.name
        self._name = name
        self._subsystem_dir = subsystem_dir
        self._records = self._absent = self._pruned = self._quarantined = 0
        self._gaps = self._set_back = self._unchecked = self._encrypted = self._erased = 0
        self._trusted: VerifierKey | None = None
        self._tree_root: bytes | None = None
        self.cids: list[Cid | None] = []
        """CIDs of the manifests, after `run`; `None` for one that cannot be read."""
        self.follows: Checkpoint | None = None
        """The checkpoint of another log that the first manifest contains as evidence."""

    def _listed(self) -> list[int]:
        with suppress(OSError):
            return self._batches.credible_indexes()
        return []

    def _load_head(self, log_dir: LogDir) -> tuple[HeadState | None, bool]:
        try:
            return log_dir.load_head(), False
        except (FormatError, OSError) as error:
            self._problems.add_error(None, "head", error)
            return None, True

    @property
    def name(self) -> str:
        """Name of the log; empty when no file says it."""
        return self._name

    @property
    def newest(self) -> int:
        """Number of the newest batch."""
        return self.sealed.index if self.sealed is not None else max(self._indexes, default=-1)

    def run(self, order: RecordOrder, before: _LogCheck | None) -> None:
        """Check everything.

        Args:
            order: the numbers of the records in the logs before; updated.
            before: the check of the log before this one.
        """
        self._trusted = self._key()
        gaps, set_back, progress = order.gaps, order.set_back, self._how.progress
        chosen = self._how.selection.of(0, self.newest)
        chain = Chain(self._name, self._trusted, order, self._problems, self._rules, chosen, self._how.keyring)
        if before is not None:
            chain.former = before.checkpoint
        of_acts = Problems()  # the chain, too, finds a wrong act, and says in which batch
        pruned = Pruned()
        with of_acts.catch(None, "acts"):
            pruned = pruned_of(self._subsystem_dir)
        for index in range(self.newest + 1):
            confirmed = any(state.has(index) for state in self._states)
            check = BatchCheck(chain, index, confirmed=confirmed, pruned=pruned.has(self._name, index))
            check.run(self._batches)
            self._absent += check.absent
            self._pruned += check.pruned
            if progress is not None:
                progress(self._subsystem, index + 1, self.newest + 1)
        self._records = chain.records
        self._unchecked, self._encrypted, self._erased = chain.unchecked, chain.encrypted, chain.erased
        self._gaps, self._set_back = order.gaps - gaps, order.set_back - set_back
        self._tree_root = chain.root
        self.cids = chain.cids
        self.follows = chain.follows
        self._quarantined = self._count_quarantined(before)
        self._check_head(chain, before)
        self._check_around()
        self._check_key_changes()
        if not self._problems.noted:
            self._problems.noted.extend(of_acts.noted)

    def _check_key_changes(self) -> None:
        """Check the changes beside a log that has ended, and that a log of an earlier key ends where it may."""
        with self._problems.catch(None, self._log_dir.key_changes.name):
            if self._log_dir.is_former:
                key_changes.load(self._log_dir)
        key, signers = self._trusted, self._how.signers
        if key is not None and self._tree_root is not None and not signers.covers(key, self.checkpoint):
            expected = f"an end of the log that {' or '.join(signers.trusted)} has signed"
            self._problems.add(None, "key", expected, f"another end, signed only by {key.name}, an earlier key")

    def compare(self, before: Sequence[_LogCheck]) -> None:
        """Compare with the logs before this one: their order, and numbers that have two manifests."""
        names = {check.name for check in before}
        former = before[-1].checkpoint if before else None
        if self.follows is not None and former is not None and self.follows.origin in names - {former.origin}:
            self._problems.add(0, "evidence", f"the checkpoint of {former.origin}", f"that of {self.follows.origin}")
        for check in before:
            if self._name and self._name == check.name:
                self._compare_manifests(check)

    def _compare_manifests(self, other: _LogCheck) -> None:
        for index, (own, others) in enumerate(zip(self.cids, other.cids, strict=False)):
            if own is not None and others is not None and own != others:
                self._problems.add(
                    index, "manifest", f"one manifest, {others.text}", f"another one, {own.text}", kind="forked"
                )

    @property
    def report(self) -> Report:
        """The outcome of the check."""
        return Report(
            subsystem=self._subsystem,
            log=self._name,
            batches=self.newest + 1,
            records=self._records,
            tree_root=self._tree_root,
            absent=self._absent,
            pruned=self._pruned,
            quarantined=self._quarantined,
            gaps=self._gaps,
            set_back=self._set_back,
            unchecked=self._unchecked,
            encrypted=self._encrypted,
            erased=self._erased,
            trust=self._how.trust if self._trusted is not None else "none",
            ended=self._ended,
            problems=tuple(self._problems.noted),
            chain=self._chain,
            follows=self.follows,
        )

    @property
    def _chain(self) -> SignedChain | None:
        """The chain, if every manifest is known and the head signs them."""
        if self.sealed is None or self._tree_root is None or None in self.cids:
            return None
        if Checkpoint.parse(self.sealed.head.checkpoint).root != self._tree_root:
            return None
        return SignedChain(
            note=self.sealed.head.checkpoint,
            key=self._trusted,
            start=0,
            manifest=self._batches.manifest,
            cid=lambda index: cast("Cid", self.cids[index]),
        )

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint that the log after this one must contain as evidence; `None` if it is not known."""
        if self._tree_root is None or not self._name or self.newest < 0:
            return None
        return Checkpoint(self._name, self.newest + 1, self._tree_root)

    def _key(self) -> VerifierKey | None:
        try:
            wanted = key_name_of(self._name)
        except FormatError as error:
            self._problems.add_error(None, "log", error)
            return None
        key = self._how.signers.known.get(wanted)
        if key is None:
            self._problems.add(None, "key", wanted, self._how.signers.instead_of(wanted))
        return key

    def _count_quarantined(self, before: _LogCheck | None) -> int:
        """Count the spans quarantined after the head before this one, if no count began from zero in between."""
        if self.sealed is None or (before is not None and before.sealed is None):
            return 0
        base = before.sealed.quarantined if before is not None and before.sealed is not None else 0
        return max(0, self.sealed.quarantined - base)

    def _check_head(self, chain: Chain, before: _LogCheck | None) -> None:
        """Check that the head file is that of the newest batch, and its sums are those of all batches."""
        sealed = self.sealed
        if sealed is None:
            if self._current and self._indexes and not self.head_damaged:
                self._problems.add(None, "head", "a head file beside the batches", "none")
            return
        if chain.newest_head != sealed.block:
            self._problems.add(sealed.index, "head", sealed.cid.text, chain.newest_head_cid or "no such head block")
        if chain.root is not None and Checkpoint.parse(sealed.head.checkpoint).root != chain.root:
            claim = Checkpoint.parse(sealed.head.checkpoint).root
            self._problems.add(None, "tree_root", chain.root.hex(), claim.hex())
        base = before.sealed if before is not None else None
        if self.follows is not None and (before is None or self.follows.origin != before.name):
            return  # the log before it is missing; that is reported as another problem
        if before is not None and base is None:  # then it is not known whether this head includes the earlier sums
            return
        records = chain.records + (base.records if base else 0)
        dropped = Counter(base.dropped if base else {}) + chain.dropped
        if chain.complete and sealed.records != records:
            self._problems.add(None, "records", records, sealed.records)
        if chain.complete and dict(sealed.dropped) != dict(dropped):
            self._problems.add(None, "dropped", dict(dropped), dict(sealed.dropped))

    def _check_around(self) -> None:
        """Check for signs of a head that was set back: a batch far above it, or a store that has more batches."""
        above = [index for index in self._indexes if index > self.newest + 1]
        if above:  # a crash between batch and head leaves one batch above the head
            self._problems.add(above[-1], "head", f"a head at {above[-1] - 1} or above", self.newest)
        for state in self._states:
            reached = max((state.confirmed_through, *state.confirmed_after))
            if reached > self.newest:
                self._problems.add(reached, "shipped", f"at most batch {self.newest} at a store", reached)
