"""Check one batch: every claim of its manifest and head block, against its blocks and the chain before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

from ipfs_log_handlers.errors import ErasedError, NoIdentityError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.encryption import Envelope, Revealed, is_encrypted
from ipfs_log_handlers.format.key_change import KeyChange, check_order, is_key_change
from ipfs_log_handlers.format.manifest import Manifest, jump_index
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.reader.archive_content import check_content
from ipfs_log_handlers.reader.batch import BatchFile, checked_lines, in_steps, open_batch
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.subsystems.rules import Rules
from ipfs_log_handlers.verify.acts import ActOrder
from ipfs_log_handlers.verify.order import RecordOrder
from ipfs_log_handlers.verify.problems import Problems
from ipfs_log_handlers.verify.recount import Recount
from ipfs_log_handlers.verify.selection import Chosen

__all__ = ["BatchCheck", "Chain"]


class Chain:
    """The state of the check of a log, up to the current batch.

    Args:
        log: name of the log.
        key: the key that must have signed; `None` if it is not known.
        order: the numbers of the records so far, including the logs before.
        problems: the list that problems are added to.
        rules: the rules by which batches may have been counted, by their ids.
        chosen: the batches whose payloads are checked.
        keyring: opens encrypted batches.
    """

    def __init__(
        self,
        log: str,
        key: VerifierKey | None,
        order: RecordOrder,
        problems: Problems,
        rules: Mapping[str, Rules],
        chosen: Chosen,
        keyring: Keyring = NO_KEYS,
    ) -> None:
        self.log = log
        self.key = key
        self.order = order
        self.problems = problems
        self.rules = rules
        self.chosen = chosen
        self.keyring = keyring
        self.unchecked = self.encrypted = self.erased = 0
        self.former: Checkpoint | None = None
        """The end of the log before this one; `None`: it is not known."""
        self.follows: Checkpoint | None = None
        """The end of another log, from the evidence of the first manifest."""
        self.cids: list[Cid | None] = []
        self.records = 0
        self.dropped: Counter[str] = Counter()
        self.complete = True
        self.newest_head: bytes | None = None
        self.newest_head_cid = ""
        self.acts = ActOrder()
        self._edge: merkle.Edge | None = ()

    @property
    def root(self) -> bytes | None:
        """Root of the tree over all manifests so far; `None` if it is not known."""
        return None if self._edge is None else merkle.edge_root(self._edge)

    def edge_before(self, manifest: Manifest) -> merkle.Edge:
        """Return the edge that a manifest must have; after a lost manifest, return the edge in the manifest itself."""
        index = len(self.cids)
        if index and self.cids[-1] is None and self._edge is None and manifest.prev is not None:
            self.cids[-1] = manifest.prev
            self._edge = manifest.edge_hashes
        return self._edge if self._edge is not None else manifest.edge_hashes

    def append(self, cid: Cid) -> None:
        """Add the next manifest to the tree."""
        if self._edge is not None:
            self._edge = merkle.edge_append(self._edge, len(self.cids), merkle.leaf_hash(cid))
        self.cids.append(cid)

    def append_unknown(self) -> None:
        """Count the next manifest as lost."""
        self.complete = False
        self._edge = None
        self.cids.append(None)


class BatchCheck:
    """Check one batch, and advance the chain.

    Args:
        chain: the chain before the batch.
        index: number of the batch.
        confirmed: whether a store has confirmed the batch, so that its payload may have left the home.
        pruned: whether an act has given up its payload.
    """

    def __init__(self, chain: Chain, index: int, *, confirmed: bool, pruned: bool = False) -> None:
        self._chain = chain
        self._index = index
        self._confirmed = confirmed
        self._pruned = pruned
        self.absent = self.pruned = False

    def run(self, batches: Batches) -> None:
        """Check the batch."""
        appended = len(self._chain.cids) + 1
        try:
            with open_batch(batches, self._index) as batch:
                self._check(batch)
        except FileNotFoundError:
            self._problem("file", batches.file(self._index).name, "no such file")
        except Exception as error:  # noqa: BLE001 - see Problems.catch
            self._chain.problems.add_error(self._index, "file", error)
        if len(self._chain.cids) < appended:
            self._chain.append_unknown()
            self._chain.newest_head, self._chain.newest_head_cid = None, ""

    def _problem(self, field: str, expected: object, found: object) -> None:
        self._chain.problems.add(self._index, field, expected, found)

    def _equal(self, field: str, expected: object, found: object) -> None:
        if expected != found:
            self._problem(field, expected, found)

    def _catch(self, field: str) -> AbstractContextManager[None]:
        return self._chain.problems.catch(self._index, field)

    def _check(self, batch: BatchFile) -> None:
        chain = self._chain
        manifest = None
        with self._catch("manifest"):
            manifest = batch.manifest()
        chosen = manifest is None or chain.chosen.has(self._index, manifest)
        with self._catch("blocks"):
            for section in batch.blocks.sections if chosen else ():
                batch.blocks.at(section)
        if manifest is None:
            return
        self._check_place(manifest)
        chain.append(batch.cid)
        chain.records += manifest.records
        chain.dropped.update(manifest.dropped)
        with self._catch("act"):
            chain.acts.take(self._index, manifest, chain.problems, complete=chain.complete)
        with self._catch("checkpoint"):
            self._check_head(batch)
        with self._catch("evidence"):
            self._check_evidence(batch, manifest)
        with self._catch("sources"):
            chain.order.take(self._index, manifest, chain.problems)
        with self._catch("encryption"):
            if is_encrypted(manifest):
                Envelope.of(manifest)
        if not chosen:
            chain.unchecked += 1
            return
        with self._catch("payload"):
            self._check_payload(batch, manifest)

    def _check_place(self, manifest: Manifest) -> None:
        """Check that the manifest is at the place in the chain that it states."""
        chain, index = self._chain, self._index
        self._equal("log", chain.log, manifest.log)
        self._equal("index", index, manifest.index)
        if manifest.index != index:
            return
        edge = chain.edge_before(manifest)
        if index:
            self._equal_cid("prev", chain.cids[index - 1], manifest.prev)
            jump = jump_index(index)
            self._equal_cid("jump", chain.cids[jump] if jump is not None else None, manifest.jump)
        self._equal("edge", b"".join(edge).hex(), manifest.edge.hex())

    def _equal_cid(self, field: str, expected: Cid | None, found: Cid | None) -> None:
        if expected is not None:  # `None`: the previous manifest is lost; that is reported as another problem
            self._equal(field, expected.text, found and found.text)

    def _check_head(self, batch: BatchFile) -> None:
        """Check that the head block signs the tree that ends with this manifest."""
        chain = self._chain
        chain.newest_head = batch.block(batch.head_cid)
        chain.newest_head_cid = batch.head_cid.text
        head = batch.head()
        self._equal("head.manifest", batch.cid.text, head.manifest.text)
        self._equal("head.log", chain.log, head.log)
        self._equal("head.index", self._index, head.index)
        claim = Checkpoint.parse(head.checkpoint) if chain.key is None else Checkpoint.open(head.checkpoint, chain.key)
        self._equal("checkpoint.origin", chain.log, claim.origin)
        self._equal("checkpoint.size", self._index + 1, claim.size)
        if chain.root is not None:
            self._equal("checkpoint.root", chain.root.hex(), claim.root.hex())

    def _check_evidence(self, batch: BatchFile, manifest: Manifest) -> None:
        """Check that the first manifest of a log carries the checkpoint of the log before it."""
        chain = self._chain
        notes = [batch.block(cid) for cid in manifest.evidence]
        if self._index:
            return
        if not notes:
            if chain.former is not None:
                self._problem("evidence", f"the checkpoint of {chain.former.origin}", "none")
            return
        claim = Checkpoint.parse(notes[0])
        if is_key_change(claim):
            changes = [KeyChange.decode(note) for note in notes]
            check_order(changes)
            self._equal("evidence.key", key_name_of(chain.log), changes[-1].new.name)
        if chain.key is not None and claim.origin.startswith(f"{chain.key.name}/"):
            claim = Checkpoint.open(notes[0], chain.key)
        chain.follows = claim
        if chain.former is not None and chain.former.origin == claim.origin:
            self._equal("evidence", _checkpoint_text(chain.former), _checkpoint_text(claim))

    # -- the payload

    def _check_payload(self, batch: BatchFile, manifest: Manifest) -> None:
        expected = {batch.cid, batch.head_cid, *manifest.evidence}
        others = {section.cid for section in batch.blocks.sections} - expected
        if manifest.payload not in batch and not others:
            if self._pruned:
                self.pruned = True
            elif self._confirmed:
                self.absent = True
            else:
                self._problem("payload", f"{manifest.payload} here, or confirmed by a store", "neither")
            return
        encoding = manifest.payload_encoding
        opened = self._opened(manifest)
        if encoding.has_records and opened is not None:
            self._check_records(opened, batch.payload(manifest))
        else:
            self._equal("size", manifest.size, encoding.stored_bytes(manifest.payload, batch.block, manifest.size))
            if isinstance(opened, Revealed):
                check_content(opened, batch.payload(manifest))
        for cid in others - batch.below(manifest.payload):
            self._problem("blocks", "no other block", cid.text)

    def _opened(self, manifest: Manifest) -> Manifest | None:
        """Return the manifest with its true claims; `None` if no identity of the reader opens it, which is counted."""
        try:
            return self._chain.keyring.open(manifest)
        except NoIdentityError as error:
            if isinstance(error, ErasedError):
                self._chain.erased += 1
            else:
                self._chain.encrypted += 1
        return None

    def _check_records(self, manifest: Manifest, chunks: Iterator[bytes]) -> None:
        """Check that records, counts, root, order, times and zone map are those of the manifest."""
        recount = Recount(manifest, self._chain.rules)
        for lines in in_steps(checked_lines(manifest, chunks)):
            recount.take(lines)
        for name, counted, claim in recount.differences():
            self._problem(name, counted, claim)


def _checkpoint_text(claim: Checkpoint) -> str:
    return f"{claim.origin} size {claim.size} root {claim.root.hex()}"
