"""List the parts of logs in CAR files, or from one CID on at a daemon or gateway.

No source is trusted: every block is hashed again. From a head block or a manifest the chain leads back by `prev` and
`jump`, so that many manifests can be requested at a time; each must have the place that its follower states. A snapshot
lists manifests; its head must have signed this list.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from queue import Queue
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.errors import FormatError, LogStoreError, StoreError, VerificationError
from ipfs_log_handlers.format.checkpoint import VerifierKey, subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.snapshot import Snapshot, check_signed, read_manifests
from ipfs_log_handlers.reader.acts_of_parts import mark_acts
from ipfs_log_handlers.reader.batch import OpenBatch
from ipfs_log_handlers.reader.blocks_ahead import BlocksAhead, wait_for_block
from ipfs_log_handlers.reader.chain_check import refuse_differences
from ipfs_log_handlers.reader.chain_part import ChainPart, decoded_manifest
from ipfs_log_handlers.reader.chain_places import leads_to, place_in
from ipfs_log_handlers.reader.chosen_parts import chosen_parts
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.next_key import check_head_or_tell
from ipfs_log_handlers.reader.parts import OpenText, Part, Reads, Verify
from ipfs_log_handlers.reader.sealed import open_text_elsewhere, verified_lines
from ipfs_log_handlers.reader.sealed_log import OpenedBatch, SealedLog, among, by_jumps
from ipfs_log_handlers.reader.source import BlockSource

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["ChainSource"]

_AHEAD: Final = 64
"""Blocks of a snapshot that are asked for before they are used."""


class ChainSource:
    """The records of one log, from the CID of a head block, manifest or snapshot on back to its first batch.

    Args:
        start: CID of the head block, manifest or snapshot.
        get: returns a hashed block; raises `StoreError` and `VerificationError`.
        ask: begins to get a block, many at a time.
        close_connection: closes the connections of `get`.
        on_gap: called with each batch that cannot be read.
        keys: the keys, one of which must have signed the head; empty: no signature is checked.
        verify: as for `verified_lines`; blocks are always hashed.
        known: batches of an older head of the same log: their manifests are not asked for again.
        keyring: opens encrypted batches.
    """

    def __init__(
        self,
        start: Cid,
        get: Callable[[Cid], bytes],
        close_connection: Callable[[], None],
        on_gap: Callable[[Gap], None],
        *,
        ask: Callable[[Cid], Future[bytes]],
        keys: Sequence[VerifierKey] = (),
        verify: Verify = "batch",
        known: Sequence[ChainPart] = (),
        keyring: Keyring = NO_KEYS,
    ) -> None:
        self._start = start
        self._keyring = keyring
        self._known = known
        self._blocks = BlocksAhead(get, ask)
        self._close_connection = close_connection
        self._on_gap = on_gap
        self._keys = keys
        self._verify = verify
        self._parts: list[ChainPart] | None = None
        self._head: Head | None = None

    def subsystems(self) -> Sequence[str]:
        """Name the subsystem of the log."""
        return sorted({part.subsystem for part in self._loaded()})

    def parts(self, subsystem: str, reads: Reads | None = None) -> Sequence[Part]:
        """List the batches, oldest first. What a CID names does not change, so that they are asked for once.

        Args:
            subsystem: its name.
            reads: counts the manifests.

        Raises:
            StoreError: the first block cannot be got.
            VerificationError: it is not what the CID names, or no key that is trusted has signed it.
            FormatError: it is none of these blocks.
        """
        return chosen_parts(self._loaded(), subsystem, reads)

    def all_parts(self) -> Sequence[ChainPart]:
        """List all batches, also those without records, oldest first; raises as `parts`."""
        return self._loaded()

    def chains(self) -> dict[str, tuple[Head | None, Sequence[ChainPart]]]:
        """Return the newest head and all batches of the log, by its name; raises as `parts`."""
        parts = self._loaded()
        return {parts[-1].log: (self._head, parts)}

    def signed_head(self) -> Head | None:
        """Return the checked head block, without reading manifests before the newest one; raises as `parts`."""
        if self._head is None:
            self._newest()
        return self._head

    def parts_after(self, index: int) -> Sequence[ChainPart]:
        """List the batches after an earlier one, oldest first, without asking for those before; raises as `parts`."""
        newest, block, listed = self._newest()
        if listed is None:
            return self._walk(newest, block, index + 1)
        return self._all_of(listed, block, index + 1)

    def place_of(self, cid: Cid) -> tuple[str, int] | None:
        """Find the log and the number of the batch that a head block or a manifest names.

        Raises:
            StoreError: the block cannot be got.
            VerificationError: it is a head of the same log that does not lead to here: the log has another history.
        """
        return place_in(self._loaded(), cid, self._blocks.block)

    def named(self, cid: Cid) -> tuple[str, int]:
        """Return log and number of the batch with this manifest; only this block is got, and nothing else checked.

        Raises:
            StoreError, VerificationError: the block cannot be got, or is damaged.
            FormatError: it is no manifest.
        """
        manifest = Manifest.decode(self._blocks.block(cid))
        return manifest.log, manifest.index

    def sealed_log(self, name: str) -> SealedLog:
        """Return what records of the log are proved from, up to the head that this began with; raises as `parts`."""
        listed: Sequence[Cid] | None = None
        if self._parts is not None:
            manifest = among(self._parts)
        else:  # a proof needs few manifests, and no walk to the first
            _, block, listed = self._newest()
            newest = Manifest.decode(block)
            manifest = by_jumps(newest, self._blocks.block) if listed is None else self._by_list(newest.log, listed)

        @contextmanager
        def open_batch(index: int) -> Iterator[OpenedBatch]:
            yield OpenedBatch(self._keyring.open(manifest(index)), self._batch(), self._blocks.block, None)

        return SealedLog(name, self._head, manifest, open_batch, lambda low, high: listed and listed[low:high])

    def _by_list(self, log: str, cids: Sequence[Cid]) -> Callable[[int], Manifest]:
        """Return a function that gives a manifest by its number, from the list of a snapshot."""

        def manifest(index: int) -> Manifest:
            if not 0 <= index < len(cids):
                raise VerificationError("no manifest of this number", expected=f"below {len(cids)}", found=index)
            return _expected(self._blocks.block(cids[index]), log, index)

        return manifest

    def close(self) -> None:
        """Close connections."""
        self._blocks.close()
        self._close_connection()

    def _loaded(self) -> list[ChainPart]:
        if self._parts is None:
            newest, block, listed = self._newest()
            parts = self._walk(newest, block) if listed is None else self._all_of(listed, block)
            if self._verify == "chain":
                refuse_differences(parts[-1].log, parts, self._head, whole=True)
            mark_acts(parts)
            self._parts = parts
        return self._parts

    def _newest(self) -> tuple[Cid, bytes, Sequence[Cid] | None]:
        """Return the newest manifest, its block, and all manifests if a snapshot lists them."""
        block = self._blocks.block(self._start)
        snapshot = head = None
        with suppress(FormatError):
            snapshot = Snapshot.decode(block)
        with suppress(FormatError):
            head = Head.decode(block if snapshot is None else self._blocks.block(snapshot.head))
        if head is None:
            if self._keys:
                raise VerificationError(
                    "only the signature of a head block can be checked",
                    found=self._start.text,
                    hint="Give the CID of the head block.",
                )
            return self._start, block, None
        check_head_or_tell(head, self._keys, self._blocks.block)
        self._head = head
        manifests = None
        if snapshot is not None:
            manifests = read_manifests(snapshot, lambda cids: (wait_for_block(*asked) for asked in self._asked(cids)))
            check_signed(snapshot, head, manifests)
        return head.manifest, self._blocks.block(head.manifest), manifests

    def _asked(self, cids: Sequence[Cid]) -> Iterator[tuple[Cid, Future[bytes]]]:
        """Ask for some blocks in their order, and for the next ones while one is used."""
        ahead = deque((cid, self._blocks.ask(cid)) for cid in cids[:_AHEAD])
        for cid in cids[_AHEAD:]:
            yield ahead.popleft()
            ahead.append((cid, self._blocks.ask(cid)))
        yield from ahead

    def _all_of(self, manifests: Sequence[Cid], block: bytes, first: int = 0) -> list[ChainPart]:
        """Get the manifests from a number on that a snapshot lists, whose order is signed; `block` is the newest."""
        newest = Manifest.decode(block)
        parts: dict[int, ChainPart] = {}
        failures: dict[int, Exception] = {}
        for index, (cid, coming) in enumerate(self._asked(manifests[first:]), first):
            try:
                block = wait_for_block(cid, coming)
                _expected(block, newest.log, index)
            except LogStoreError as error:
                failures[index] = error
            else:
                parts[index] = self.part(cid, block)
        self._report_missing(newest, parts, failures, first)
        return [parts[index] for index in sorted(parts)]

    def _walk(self, newest: Cid, block: bytes, first: int = 0) -> list[ChainPart]:
        """Get the manifests from a number on, many at a time: each names the one before it and one far before it."""
        manifest = Manifest.decode(block)
        parts = {manifest.index: self.part(newest, block)}
        failures: dict[int, Exception] = {}
        asked: dict[Future[bytes], tuple[Cid, int]] = {}
        answered: Queue[Future[bytes]] = Queue()
        known = {part.index: part for part in self._known if part.log == manifest.log}
        due = {to: cid for to, cid in leads_to(manifest, first) if not self._adopted(to, cid, known, parts)}
        while due or asked:
            for index, cid in due.items():
                coming = self._blocks.ask(cid)
                asked[coming] = (cid, index)
                coming.add_done_callback(answered.put)
            future = answered.get()
            cid, index = asked.pop(future)
            due = {}
            try:
                block = wait_for_block(cid, future)
                before = _expected(block, manifest.log, index)
            except LogStoreError as error:
                failures[index] = error
                continue
            parts[index] = self.part(cid, block)
            on_the_way = {index for _, index in asked.values()}
            due = {
                to: cid
                for to, cid in leads_to(before, first)
                if to not in parts and to not in on_the_way and not self._adopted(to, cid, known, parts)
            }
        self._report_missing(manifest, parts, failures, first)
        return [parts[index] for index in sorted(parts)]

    def _adopted(self, index: int, cid: Cid, known: Mapping[int, ChainPart], parts: dict[int, ChainPart]) -> bool:
        """Take the known batches up to one that the chain names: by its hash, that one names all before it."""
        part = known.get(index)
        if part is None or part.cid != cid or any(before not in known for before in range(index)):
            return False
        for before in range(index + 1):
            if before not in parts:
                parts[before] = known[before].bound_to(
                    self._lines, self._open_text, self._blocks.prefetch, self._open_blocks
                )
        return True

    def part(self, cid: Cid, block: bytes) -> ChainPart:
        """Return a batch of the log whose manifest is known; its other blocks are got when they are read.

        Args:
            cid: CID of its manifest.
            block: the manifest, hashed.
        """
        return ChainPart(
            cid, block, self._lines, self._open_text, self._on_gap, self._blocks.prefetch,
            verify=self._verify, blocks=self._open_blocks, keyring=self._keyring,
        )  # fmt: skip

    def _open_blocks(self) -> AbstractContextManager[BlockSource]:
        return nullcontext(self._blocks)

    def _lines(self, manifest: Manifest, verify: Verify) -> Iterator[bytes]:
        return verified_lines(self._batch(), manifest, self._blocks.block, verify=verify)

    def _open_text(self, manifest: Manifest) -> OpenText | None:
        return open_text_elsewhere(manifest, self._blocks.future, verify=self._verify)

    def _batch(self) -> OpenBatch:
        source: BlockSource = self._blocks
        return OpenBatch(source, self._start, self._start)

    def _report_missing(
        self, newest: Manifest, parts: Mapping[int, ChainPart], failures: Mapping[int, Exception], begin: int
    ) -> None:
        missing = [index for index in range(begin, newest.index) if index not in parts]
        for first in [index for index in missing if index - 1 in parts or index == begin]:
            last = next(index for index in range(first, newest.index + 1) if index in parts) - 1
            error = next((failures[index] for index in range(last, first - 1, -1) if index in failures), None)
            kind: Any = "absent" if isinstance(error, StoreError) or error is None else "damaged"
            reason = f"no manifest of batches {first} to {last}: {error or 'no manifest names them'}"
            self._on_gap(Gap(kind=kind, subsystem=subsystem_of(newest.log), log=newest.log, index=first, reason=reason))


def _expected(block: bytes, log: str, index: int) -> Manifest:
    manifest = decoded_manifest(block)
    if (manifest.log, manifest.index) != (log, index):
        raise VerificationError(
            "a manifest is not the one that the chain names",
            expected=f"{log} batch {index}",
            found=f"{manifest.log} batch {manifest.index}",
        )
    return manifest
