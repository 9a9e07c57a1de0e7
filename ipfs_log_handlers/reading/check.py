"""The check of one batch: every claim of its manifest and head block, against its blocks and the chain before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.errors import LogStoreError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.directory import bytes_in
from ipfs_log_handlers.format.manifest import UNIXFS, Manifest, jump_index
from ipfs_log_handlers.reading.batch import OpenBatch, checked_lines, open_batch
from ipfs_log_handlers.reading.tally import Tally
from ipfs_log_handlers.subsystems.rules import Rules

__all__ = ["BatchCheck", "Chain", "Problem", "Problems"]

_MOST: Final = 1000
_SLICE: Final = 256


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    batch: int | None
    """In which batch; `None`: with the log as a whole."""
    field: str
    """Which claim does not hold, or which part is damaged."""
    expected: str
    """What should be there."""
    found: str
    """What is there instead."""

    def as_json(self) -> dict[str, Any]:
        """With the keys of `ipfs-logs verify`."""
        return {name: getattr(self, name) for name in self.__slots__}


class Problems:
    """What is wrong with a log, up to a number beyond which more of it tells nothing."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, batch: int | None, field: str, expected: object, found: object) -> None:
        """Note a problem."""
        if len(self.found) < _MOST:
            self.found.append(Problem(batch, field, _shown(expected), _shown(found)))

    def add_error(self, batch: int | None, field: str, error: Exception) -> None:
        """Note an error as a problem."""
        if isinstance(error, LogStoreError):
            told = "" if error.found is None else f": {error.found}"
            self.add(batch, field, "whole" if error.expected is None else error.expected, f"{error.message}{told}")
        else:
            self.add(batch, field, "readable", f"{type(error).__name__}: {error}")

    @contextmanager
    def catch(self, batch: int | None, field: str) -> Iterator[None]:
        """Turn what goes wrong inside into a problem, whatever the bytes made our own code do."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - bytes that nobody foresaw are damage, too
            self.add_error(batch, field, error)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= 500 else f"{text[:497]}..."


class Chain:
    """What is known of a log up to the batch at hand.

    Args:
        log: its name.
        key: who must have signed; `None` when that is not known.
        seen: by writer, its last sequence number so far, in the logs before too.
        problems: where problems go.
        rules: by their ids, the rules by which batches may have been counted.
    """

    def __init__(
        self,
        log: str,
        key: VerifierKey | None,
        seen: dict[str, int],
        problems: Problems,
        rules: Mapping[str, Rules],
    ) -> None:
        self.log = log
        self.key = key
        self.seen = seen
        self.problems = problems
        self.rules = rules
        self.former: Checkpoint | None = None
        self.cids: list[Cid | None] = []
        self.records = 0
        self.dropped: Counter[str] = Counter()
        self.complete = True
        self.newest_head: bytes | None = None
        self.newest_head_cid = ""
        self._edge: merkle.Edge | None = ()

    @property
    def root(self) -> bytes | None:
        """Root of the tree over all manifests so far; `None` when it cannot be known."""
        return None if self._edge is None else merkle.edge_root(self._edge)

    def edge_before(self, manifest: Manifest) -> merkle.Edge:
        """The edge that a manifest must have; where one before it is lost, its own word is taken for that one."""
        index = len(self.cids)
        if index and self.cids[-1] is None and self._edge is None and manifest.prev is not None:
            self.cids[-1] = manifest.prev
            self._edge = manifest.edge_hashes
        return self._edge if self._edge is not None else manifest.edge_hashes

    def append(self, cid: Cid) -> None:
        """Take the next manifest into the tree."""
        if self._edge is not None:
            self._edge = merkle.edge_append(self._edge, len(self.cids), merkle.leaf_hash(cid))
        self.cids.append(cid)

    def append_unknown(self) -> None:
        """The next manifest is lost."""
        self.complete = False
        self._edge = None
        self.cids.append(None)


class BatchCheck:
    """The check of one batch, which moves the chain on.

    Args:
        chain: the chain before it.
        index: its number.
        confirmed: a store has confirmed it, so its payload may have left the home.
    """

    def __init__(self, chain: Chain, index: int, *, confirmed: bool) -> None:
        self._chain = chain
        self._index = index
        self._confirmed = confirmed
        self.absent = False

    def run(self, files: Sequence[Path]) -> None:
        """Check the files of the batch."""
        appended = len(self._chain.cids) + 1
        try:
            with open_batch(files) as batch:
                self._check(batch)
        except FileNotFoundError:
            self._problem("file", files[0].name, "no such file")
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

    def _check(self, batch: OpenBatch) -> None:
        chain = self._chain
        with self._catch("blocks"):
            for section in batch.sections:
                batch.at(section)
        manifest = None
        with self._catch("manifest"):
            manifest = batch.manifest()
        if manifest is None:
            return
        self._check_place(manifest)
        chain.append(batch.cid)
        chain.records += manifest.records
        chain.dropped.update(manifest.dropped)
        with self._catch("checkpoint"):
            self._check_head(batch)
        with self._catch("evidence"):
            self._check_evidence(batch, manifest)
        with self._catch("sources"):
            self._check_sources(manifest)
        with self._catch("payload"):
            self._check_payload(batch, manifest)

    def _check_place(self, manifest: Manifest) -> None:
        """The manifest says where it stands in the chain, and stands there."""
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
        if expected is not None:  # else that manifest is lost, which is a problem of its own
            self._equal(field, expected.text, found and found.text)

    def _check_head(self, batch: OpenBatch) -> None:
        """The head block signs the tree that ends with this manifest."""
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

    def _check_evidence(self, batch: OpenBatch, manifest: Manifest) -> None:
        """The first manifest of a log carries the checkpoint of the one that it follows."""
        chain = self._chain
        notes = [batch.block(cid) for cid in manifest.evidence]
        if self._index or chain.former is None:
            return
        if not notes:
            self._problem("evidence", f"the checkpoint of {chain.former.origin}", "none")
            return
        claim = Checkpoint.parse(notes[0])
        if chain.key is not None and claim.origin.startswith(f"{chain.key.name}/"):
            claim = Checkpoint.open(notes[0], chain.key)
        self._equal("evidence", _told(chain.former), _told(claim))

    def _check_sources(self, manifest: Manifest) -> None:
        """No sequence number of a writer comes twice or falls."""
        seen = self._chain.seen
        total = 0
        for writer, _, first, last in manifest.sources:
            if first <= seen.get(writer, 0):
                self._problem("sources", f"{writer} from {seen[writer] + 1} on", first)
            seen[writer] = max(last, seen.get(writer, 0))
            total += last - first + 1
        self._equal("sources", f"{manifest.records} records", f"{total} records")
        if "record_count" in manifest.meta:
            self._equal("meta.record_count", manifest.records, manifest.meta["record_count"])

    # -- the payload

    def _check_payload(self, batch: OpenBatch, manifest: Manifest) -> None:
        expected = {batch.cid, batch.head_cid, *manifest.evidence}
        others = {section.cid for section in batch.sections} - expected
        if manifest.payload not in batch and not others:
            if self._confirmed:
                self.absent = True
            else:
                self._problem("payload", f"{manifest.payload} here, or confirmed by a store", "neither")
            return
        if manifest.encoding == UNIXFS:
            self._equal("size", manifest.size, bytes_in(manifest.payload, batch.block, max_bytes=manifest.size))
        else:
            self._check_records(manifest, batch.payload(manifest))
        for cid in others - batch.below(manifest.payload):
            self._problem("blocks", "no other block", cid.text)

    def _check_records(self, manifest: Manifest, chunks: Iterator[bytes]) -> None:
        """Records, counts, root, order, times and zone map are those of the manifest."""
        tally = Tally(manifest, self._chain.rules)
        lines = checked_lines(manifest, chunks)
        while held := list(islice(lines, _SLICE)):
            tally.take(held)
        for name, expected, found in tally.differences():
            self._problem(name, expected, found)


def _told(claim: Checkpoint) -> str:
    return f"{claim.origin} size {claim.size} root {claim.root.hex()}"
