"""Pin mirrored logs on stores: so a daemon of this machine gives them to others when the first home is lost.

Each batch is pinned as its writer pins it: its manifest, from which all of its blocks can be reached, and beside it the
newest head block. When all logs of a home are here, its home head is pinned, too, so that its name still leads to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import StoreError
from ipfs_log_handlers.format import car, dag
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.home_head import HomeHead
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import delivery_state, disk
from ipfs_log_handlers.home.absent_payloads import AbsentPayloads
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.imported_logs import MirroredDir, Piece
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.keep_manifest import keep_manifest
from ipfs_log_handlers.reader.loop_thread import LoopThread
from ipfs_log_handlers.reader.source import CarBlocks
from ipfs_log_handlers.stores import BlockKeeper, Shipment, Store, open_store
from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["MirrorPins"]

_MAX_BATCHES: Final = 256
"""Largest number of batches in one upload."""
_MAX_BYTES: Final = 8 << 20
"""Bytes of blocks after which no further batch goes into an upload."""
_SLICE_BYTES: Final = 256 << 10
"""Bytes that are given to a store at a time."""


@dataclass(frozen=True, slots=True)
class _Block:
    """The place of a block in a piece."""

    cid: Cid
    file: Path
    offset: int
    size: int


class MirrorPins:
    """The stores that pin what is mirrored.

    Args:
        addresses: their addresses.
        credentials: their credentials.

    Raises:
        ConfigurationError: an address is malformed.
    """

    def __init__(self, addresses: Sequence[str], credentials: Credentials) -> None:
        self._stores = [open_store(address, token=credentials.token(address)) for address in addresses]
        self._thread = LoopThread()
        for store in self._stores:
            self._thread.close_at_end(store.close)

    def close(self) -> None:
        """Close the connections."""
        self._thread.stop()

    # -- one log

    def pin(self, target: MirroredDir) -> None:
        """Pin the batches of a log that are not pinned yet; what a store has confirmed is noted after each upload.

        Raises:
            StoreError: a store has not confirmed all; the other stores were asked, too.
            FormatError, VerificationError: the copy is damaged.
        """
        failure: StoreError | None = None
        for store in self._stores:
            try:
                self._pin(target, store)
            except StoreError as error:
                failure = error
        if failure is not None:
            raise failure

    def _pin(self, target: MirroredDir, store: Store) -> None:
        found = target.head()
        if found is None:
            return
        state = delivery_state.load(target.shipped, store.name, target.log, store.address)
        absent = AbsentPayloads.load(target)
        missing = {*absent.all_missing(found.through)}
        due = [index for index in state.missing(found.through) if index not in missing]
        pruned = {*absent.all_pruned(found.through)}
        state = self._keep_manifests(target, store, state, [index for index in due if index in pruned])
        for numbers, roots, blocks in _uploads(target, [index for index in due if index not in pruned]):
            self._thread.run(store.ship(_shipment(roots, blocks)))
            state = state.confirm(numbers)
            delivery_state.store(target.shipped, store.name, state)
        if found.path or state.head == found.head.cid.text:
            return
        head = (found.head.cid, found.head.encode())
        self._thread.run(store.ship(Shipment.of_blocks(found.head.cid, [head], linked=3)))
        before, state = state.head, replace(state, head=found.head.cid.text)
        delivery_state.store(target.shipped, store.name, state)
        self._unpin(store, before)

    def _keep_manifests(
        self, target: MirroredDir, store: Store, state: DeliveryState, indexes: Sequence[int]
    ) -> DeliveryState:
        """Let a store keep the manifests of batches that are pruned; set them aside if it cannot keep them alone."""
        if not isinstance(store, BlockKeeper):
            for index in indexes:
                state = state.set_aside(index, "its payload was given up")
            if indexes:
                delivery_state.store(target.shipped, store.name, state)
            return state
        for index, cid, manifest, source in _manifests(target, indexes):
            blocks = ((other, source.block(other)) for other in manifest.evidence)
            self._thread.run(keep_manifest(store, cid, manifest, blocks))
            state = state.confirm([index])
            delivery_state.store(target.shipped, store.name, state)
        return state

    # -- all logs of a home

    def pin_home_head(self, home: HomeDir, head: HomeHead) -> None:
        """Pin a home head, all of whose logs are here and pinned; then unpin the one before.

        Raises:
            StoreError: a store has not confirmed it.
        """
        directory = home.imported / "home-heads" / head.key_name.rpartition("/")[2]
        blocks = [(head.cid, head.encode())]
        for log in head.logs:
            found = MirroredDir.of(home, log.log).head()
            if found is None or found.head.cid != log.head:
                return  # a newer head of this log was accepted from another source
            blocks.append((log.head, found.head.encode()))
        for store in self._stores:
            state = delivery_state.load(directory, store.name, head.key_name, store.address)
            if state.head != head.cid.text:
                self._thread.run(store.ship(Shipment.of_blocks(head.cid, blocks, linked=4 * len(head.logs))))
                disk.ensure_directory(directory.parent)
                delivery_state.store(directory, store.name, replace(state, head=head.cid.text))
                self._unpin(store, state.head)

    def _unpin(self, store: Store, cid: str | None) -> None:
        if cid is not None:
            with suppress(StoreError):  # an old pin costs nothing but its block
                self._thread.run(store.unpin([Cid.parse(cid)]))


def _slices(data: bytes) -> Iterable[bytes]:
    return (data[at : at + _SLICE_BYTES] for at in range(0, len(data), _SLICE_BYTES))


# -- uploads


def _uploads(target: MirroredDir, numbers: Sequence[int]) -> Iterator[tuple[list[int], list[Cid], list[_Block]]]:
    """Divide batches into uploads: their numbers, their manifests, and all of their blocks."""
    due = frozenset(numbers)
    for piece in target.pieces():
        wanted = [index for index in range(piece.first, piece.last + 1) if index in due]
        indexes: list[int] = []
        roots: list[Cid] = []
        blocks: dict[Cid, _Block] = {}
        for index, root, some in _batches_in(piece, wanted):
            indexes.append(index)
            roots.append(root)
            blocks |= some
            if len(indexes) == _MAX_BATCHES or sum(block.size for block in blocks.values()) >= _MAX_BYTES:
                yield indexes, roots, list(blocks.values())
                indexes, roots, blocks = [], [], {}
        if indexes:
            yield indexes, roots, list(blocks.values())


def _batches_in(piece: Piece, wanted: Sequence[int]) -> Iterator[tuple[int, Cid, dict[Cid, _Block]]]:
    """Find the blocks of some batches of a piece; each is hashed."""
    if not wanted:
        return
    with disk.stream(piece.path) as stream:
        source = CarBlocks(stream)
        places = {section.cid: section for section in reversed(source.sections)}
        for index in wanted:
            root = source.roots[index - piece.first]
            found = [cid for cid, _ in dag.walk([root], source.block)]
            yield index, root, {cid: _Block(cid, piece.path, places[cid].offset, places[cid].size) for cid in found}


def _manifests(target: MirroredDir, numbers: Sequence[int]) -> Iterator[tuple[int, Cid, Manifest, CarBlocks]]:
    """Read the manifests of some batches: number, CID, manifest, and the piece that it is in, open until the next."""
    due = frozenset(numbers)
    for piece in target.pieces() if due else ():
        wanted = [index for index in range(piece.first, piece.last + 1) if index in due]
        if wanted:
            with disk.stream(piece.path) as stream:
                source = CarBlocks(stream)
                for index in wanted:
                    root = source.roots[index - piece.first]
                    yield index, root, Manifest.decode(source.block(root)), source


def _shipment(roots: Sequence[Cid], blocks: Sequence[_Block]) -> Shipment:
    heads = [car.section_head(block.cid, block.size) for block in blocks]
    header = car.header(roots)
    size = sum(block.size for block in blocks)

    def pieces() -> Iterator[bytes]:
        yield header
        with disk.stream(blocks[0].file) as stream:
            for head, block in zip(heads, blocks, strict=True):
                yield head
                stream.seek(block.offset)
                data = stream.read(block.size)
                block.cid.verify(data)
                yield from _slices(data)

    return Shipment(
        roots=tuple(roots),
        blocks=len(blocks),
        block_bytes=size,
        size=len(header) + sum(map(len, heads)) + size,
        open=pieces,
    )
