"""Verify the logs of a source outside the home: a chain up to its signed checkpoint, and the batches of it.

The chain, the order of records and all blocks are verified. `deep` also reads the records of each batch: it computes
the tree over them, and counts them again for `meta` and `stats`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import ErasedError, LogStoreError, NoIdentityError, StoreUnavailable
from ipfs_log_handlers.format import merkle, unixfs
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of, subsystem_of
from ipfs_log_handlers.format.encryption import Envelope, Revealed, is_encrypted
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.reader.acts_of_parts import mark_acts
from ipfs_log_handlers.reader.archive_content import check_content
from ipfs_log_handlers.reader.batch import in_steps
from ipfs_log_handlers.reader.chain_check import differences
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.chosen_parts import is_given_up
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.verify.acts import ActOrder
from ipfs_log_handlers.verify.forks import ForkEvidence
from ipfs_log_handlers.verify.log import Progress
from ipfs_log_handlers.verify.order import RecordOrder
from ipfs_log_handlers.verify.problems import Problems
from ipfs_log_handlers.verify.recount import Recount
from ipfs_log_handlers.verify.report import Report, SignedChain
from ipfs_log_handlers.verify.selection import Selection

__all__ = ["Elsewhere", "verify_elsewhere"]

_AHEAD: Final = 8
"""Payloads that are asked for before they are due."""


class Elsewhere(Protocol):
    """A source outside the home."""

    def chains(self) -> dict[str, tuple[Head | None, Sequence[ChainPart]]]:
        """Return the newest head and all batches of each log, by its name."""

    def heads(self, log: str) -> Sequence[Head]:
        """List the heads of a log that are here, oldest first."""

    def is_whole(self, log: str) -> bool:
        """Return whether every batch of a log from the first one on must be here."""


def verify_elsewhere(
    source: Elsewhere,
    *,
    keys: Sequence[VerifierKey] = (),
    gaps: Sequence[Gap] = (),
    deep: bool = True,
    selection: Selection = Selection(),  # noqa: B008 - a frozen value
    subsystems: Sequence[str] | None = None,
    logs: Collection[str] | None = None,
    among: Sequence[ChainPart] = (),
    progress: Progress | None = None,
) -> Iterator[Report]:
    """Verify each log of a source; yield one report for each log, with all problems.

    Args:
        source: the source. CAR files may begin anywhere in a log; from there on, every batch must be there.
        keys: the keys that the source has checked the heads with; empty: no signature was checked.
        gaps: the list to which the source adds what it cannot read; each becomes a problem.
        deep: also read the records, and count them again.
        selection: the batches whose payloads are checked; every manifest is.
        subsystems: names of the subsystems to check; `None`: all.
        logs: names of the logs to check; `None`: all.
        among: batches of other sources, whose acts count: they may have given up payloads, or destroyed keys, of these.
        progress: called after every batch.

    Raises:
        StoreError: no store gives the first block of a chain.
        VerificationError: the block does not have the hash in its CID, or no trusted key has signed it.
        FormatError: the block is neither a head block nor a manifest.
    """
    chains = source.chains()
    if among:
        mark_acts([part for _, parts in chains.values() for part in parts], among)
    for log, (head, parts) in sorted(chains.items()):
        if (subsystems is None or parts[-1].subsystem in subsystems) and (logs is None or log in logs):
            of_log = [gap for gap in gaps if gap.log == log]
            check = _LogCheck(log, head, parts, of_log, source.heads(log), whole=source.is_whole(log))
            check.check_chain()
            check.check_batches(selection.of(parts[0].index, parts[-1].index).has, progress, deep=deep)
            yield check.report(next((key for key in keys if key.name == key_name_of(log)), None))
    for log in sorted({gap.log for gap in gaps} - chains.keys()):
        problems = Problems()
        for gap in gaps:
            if gap.log == log:
                _add_gap(gap, problems)
        name = subsystem_of(log) if log else ""
        if (not log or subsystems is None or name in subsystems) and (logs is None or log in logs):
            yield Report(subsystem=name, log=log, problems=tuple(problems.noted))


def _add_gap(gap: Gap, problems: Problems) -> None:
    where = gap.segment or "a batch that can be read"
    problems.add(gap.index, "file", where, gap.reason, kind="incomplete" if gap.kind == "absent" else "tampered")


class _LogCheck:
    """Check one log."""

    def __init__(
        self,
        log: str,
        head: Head | None,
        parts: Sequence[ChainPart],
        gaps: Sequence[Gap],
        heads: Sequence[Head],
        *,
        whole: bool,
    ) -> None:
        self._log = log
        self._heads = heads
        self._head = head
        self._all = parts
        self._parts = list({part.index: part for part in parts}.values())
        self._gaps = gaps
        self._whole = whole
        self._problems = Problems()
        self._order = RecordOrder()
        self._unchecked = self._pruned = self._encrypted = self._erased = 0
        self._follows: Checkpoint | None = None
        self._chain_holds = False

    def check_chain(self) -> None:
        """Check the manifests against one another and the head, and the order of records."""
        problems = self._problems
        kept = {part.index: part.cid for part in self._parts}
        for part in self._all:
            if kept[part.index] != part.cid:
                one = f"one manifest, {kept[part.index].text}"
                problems.add(part.index, "manifest", one, f"another one, {part.cid.text}", kind="forked")
        damaged = any(gap.kind == "damaged" for gap in self._gaps)
        with problems.catch(None, "chain"):
            for difference in differences(self._parts, self._head, whole=self._whole):
                missing = difference.field == "manifest" and not damaged
                problems.add(*difference, kind="incomplete" if missing else "tampered")
        for gap in self._gaps:
            if not any(problem.batch == gap.index and problem.field == "manifest" for problem in problems.noted):
                _add_gap(gap, problems)
        self._chain_holds = self._head is not None and not problems.noted
        self._read_evidence()
        acts, complete = ActOrder(), self._parts[0].index == 0 and not self._gaps
        for place, part in enumerate(self._parts):
            complete = complete and part.index == place
            with problems.catch(part.index, "sources"):
                self._order.take(part.index, part.manifest(), problems)
            with problems.catch(part.index, "encryption"):
                if is_encrypted(part.manifest()):
                    Envelope.of(part.manifest())
            with problems.catch(part.index, "act"):
                acts.take(part.index, part.manifest(), problems, complete=complete)

    def _read_evidence(self) -> None:
        """Read which log this one follows; a note that cannot be read is a problem of the first batch."""
        first = self._parts[0].manifest()
        if first.index == 0 and first.evidence:
            with suppress(LogStoreError), self._parts[0].blocks() as source:
                self._follows = Checkpoint.parse(source.block(first.evidence[0]))

    def check_batches(self, chosen: Callable[[int, Manifest], bool], progress: Progress | None, *, deep: bool) -> None:
        """Check the blocks of the batches, and with `deep` their records."""
        wanted = [part for part in self._parts if chosen(part.index, part.manifest())]
        self._unchecked = len(self._parts) - len(wanted)
        for part in wanted[:_AHEAD]:
            part.prefetch()
        for place, part in enumerate(wanted):
            for later in wanted[place + _AHEAD : place + _AHEAD + 1]:
                later.prefetch()
            try:
                self._check_batch(part, deep=deep)
            except LogStoreError as error:
                self._problems.add_error(part.index, "payload", error)
            except Exception as error:  # noqa: BLE001 - unexpected bytes are damage, too
                self._problems.add_error(part.index, "payload", error)
            if progress is not None:
                progress(part.subsystem, place + 1, len(wanted))

    def _check_batch(self, part: ChainPart, *, deep: bool) -> None:
        manifest = part.manifest()
        with part.blocks() as source:
            for cid in manifest.evidence:
                source.block(cid)
            if is_given_up(part):
                self._pruned += 1
                return
            if manifest.payload not in source:
                raise StoreUnavailable("the payload is not here", found=manifest.payload.text)
            opened = self._opened(part) if deep else None
            if opened is None or not part.has_records:
                stored = manifest.payload_encoding.stored_bytes(manifest.payload, source.block, manifest.size)
                if stored != manifest.size:
                    self._problems.add(part.index, "size", manifest.size, stored)
                if isinstance(opened, Revealed):
                    chunks = unixfs.read(manifest.payload, source.block, max_bytes=manifest.size, hashed=False)
                    check_content(opened, chunks)
                return
        own = subsystems.get(part.subsystem).rules if part.subsystem in subsystems.names() else None
        recount = Recount(opened, {} if own is None else {own.id: own})
        for lines in in_steps(part.verified_lines()):
            recount.take(lines)
        for name, counted, claim in recount.differences():
            self._problems.add(part.index, name, counted, claim)

    def _opened(self, part: ChainPart) -> Manifest | None:
        """Return the manifest with its true claims; `None` if no identity of the reader opens it, which is counted."""
        try:
            return part.opened()
        except ErasedError:
            self._erased += 1
        except NoIdentityError:
            self._encrypted += 1
        return None

    def report(self, key: VerifierKey | None) -> Report:
        """Return the outcome.

        Args:
            key: the key that has checked the signature of the head.
        """
        newest = self._parts[-1]
        edge = merkle.edge_append(newest.manifest().edge_hashes, newest.index, merkle.leaf_hash(newest.cid))
        signed = self._head is not None and key is not None
        return Report(
            subsystem=newest.subsystem,
            log=self._log,
            batches=len(self._parts),
            records=sum(part.records for part in self._parts),
            tree_root=merkle.edge_root(edge),
            gaps=self._order.gaps,
            set_back=self._order.set_back,
            pruned=self._pruned,
            unchecked=self._unchecked,
            encrypted=self._encrypted,
            erased=self._erased,
            trust="given" if signed else "none",
            problems=tuple(self._problems.noted),
            chain=self._chain(key),
            fork=self._fork(),
            follows=self._follows,
        )

    def _fork(self) -> ForkEvidence | None:
        """Find two heads of one size with two roots."""
        roots: dict[int, bytes] = {}
        notes: dict[int, bytes] = {}
        for head in self._heads:
            claim = Checkpoint.parse(head.checkpoint)
            if roots.setdefault(claim.size, claim.root) != claim.root:
                return ForkEvidence(older=notes[claim.size], newer=head.checkpoint, prefix=claim.root, proof=())
            notes.setdefault(claim.size, head.checkpoint)
        return None

    def _chain(self, key: VerifierKey | None) -> SignedChain | None:
        if not self._chain_holds or self._head is None:
            return None
        known = {part.index: part for part in self._parts}
        return SignedChain(
            note=self._head.checkpoint,
            key=key,
            start=self._parts[0].index,
            manifest=lambda index: known[index].manifest(),
            cid=lambda index: known[index].cid,
        )
