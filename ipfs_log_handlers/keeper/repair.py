"""Repair: rebuild what a disk has damaged, as far as the rest of the home, its stores and its key know it.

Only while nobody else keeps the home. Before a file is replaced, a second name for it is made in `quarantine/`:
evidence is never deleted. A signed index is never signed twice, here neither: a log whose head was lost ends, gets its
head back for readers, and the next keeper begins a new one after it (home.md 10).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from ipfs_log_handlers.errors import ConfigurationError, FormatError, HomeError, StoreError, VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk, head, keys, quarantine, segments, settings, shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import Sealed
from ipfs_log_handlers.home.layout import Home, Room, Shelf
from ipfs_log_handlers.home.lock import KeeperLock
from ipfs_log_handlers.home.settings import Policy
from ipfs_log_handlers.home.shipped import Mark
from ipfs_log_handlers.keeper.salvage import salvage, salvage_archive
from ipfs_log_handlers.keeper.spool import Spool
from ipfs_log_handlers.keeper.succession import end_log
from ipfs_log_handlers.reading.damage import Damage, find, leftovers
from ipfs_log_handlers.stores import Store

__all__ = ["Repair", "repair", "repair_key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What was done about one damaged file."""

    what: str
    """The file, as `doctor` names it."""
    done: bool
    """Whether it is whole again."""
    told: str
    """What was done, or why it could not be."""
    damage: Damage | None = None
    """The file that was damaged, where it belongs to a subsystem."""


def repair_key(lock: KeeperLock) -> Repair | None:
    """Rebuild a signing key of which one character is damaged; `None` when nothing is wrong with it."""
    home = lock.home
    try:
        keys.load(home)
        return None
    except HomeError as error:
        found = keys.recover(home)
        if found is None:
            return Repair(what="key", done=False, told=f"{error.message}; it cannot be rebuilt")
    kept = quarantine.keep(home.path, home.key)
    disk.replace(home.key, found.text.encode("ascii") + b"\n")
    return Repair(what="key", done=True, told=f"one character was wrong; the damaged file is {kept.name}")


async def repair(lock: KeeperLock, room: Room, stores: Sequence[Store]) -> AsyncIterator[Repair]:
    """Rebuild what is damaged in one subsystem.

    Args:
        lock: the home's lock, held.
        room: the subsystem.
        stores: where lost blocks may be, and what has confirmed which batch.

    Yields:
        What was done, file by file.

    Raises:
        OSError: the disk refuses. What was told until then is done; the rest is as before.
    """
    work = _Room(lock.home, room, stores)
    for each in [*leftovers(room), *find(room)]:
        if each.kind == "leftover":
            yield work.clear(each)
        elif each.kind == "settings":
            yield work.settings(each)
    lost = [each for each in find(room) if each.kind == "batch"]
    for each in reversed(lost):  # the one behind names the one before
        yield await work.batch(each)
    for each in [each for each in find(room) if each.kind == "head"]:
        yield work.head(each)
    for each in [each for each in find(room) if each.kind == "mark"]:
        yield await work.mark(each)
    counted = work.count_again()
    if counted is not None:
        yield counted


class _Room:
    """The work on one subsystem."""

    def __init__(self, home: Home, room: Room, stores: Sequence[Store]) -> None:
        self._home = home
        self._room = room
        self._stores = stores
        self._key = None
        with suppress(HomeError):
            self._key = keys.load(home)

    def _told(self, each: Damage, *, done: bool, told: str) -> Repair:
        return Repair(what=each.title, done=done, told=told, damage=each)

    def clear(self, each: Damage) -> Repair:
        """Put a temporary file aside."""
        kept = quarantine.keep(self._room.quarantine, each.path)
        disk.remove(each.path)
        return self._told(each, done=True, told=f"moved to quarantine as {kept.name}")

    def settings(self, each: Damage) -> Repair:
        """Write the settings again: from the newest segment, else from what stores there are marks of."""
        kept = quarantine.keep(self._room.quarantine, each.path)
        policy = Policy.default(self._home.path, self._room.name)
        marks = [mark for shelf in self._room.shelves() for mark in shipped.load_all(shelf.shipped).values()]
        policy = replace(policy, stores=tuple(dict.fromkeys(mark.address for mark in marks)) or policy.stores)
        headers = []
        for name in segments.listing(self._room.spool):
            with suppress(FormatError, OSError):
                headers.append(segments.read_header(self._room.spool / name.file_name))
        if headers:
            policy = Policy.from_json(max(headers, key=lambda header: header.started).settings, policy)
        settings.store(self._room.settings, policy)
        source = "the newest segment" if headers else "the marks of stores, and defaults"
        return self._told(each, done=True, told=f"written again from {source}; the damaged file is {kept.name}")

    # -- batches

    async def batch(self, each: Damage) -> Repair:
        """Put a batch together again."""
        batches, index = Batches(each.shelf.batches), each.index or 0
        log = _log_of(each.shelf)
        data = b""
        with suppress(FileNotFoundError):
            data = disk.read(each.path)
        found = None
        if log is not None:
            found = await salvage(data, log, index, _named(each.shelf, batches, index), self._key, self._fetch)
        if found is None:
            return self._told(each, done=False, told=f"{each.found}; its manifest is nowhere")
        readable = False
        with suppress(FormatError, FileNotFoundError):
            readable = bool(batches.facts(index))
        if found.archive is not None and readable:
            return await self._archive(each, batches.payload_file(index), found.archive)
        if found.missing and readable:
            return self._told(each, done=False, told=f"{each.found}; block {found.missing[0]} is nowhere")
        kept = f"; the damaged file is {quarantine.keep(self._room.quarantine, each.path).name}" if data else ""
        batches.write_anew(index, found.manifest, found.head, found.blocks)
        if found.missing:
            return self._told(each, done=False, told=f"only its manifest is left{kept}")
        if found.archive is not None:
            return await self._archive(each, batches.payload_file(index), found.archive)
        return self._told(each, done=True, told=f"rebuilt, each block as it was{kept}")

    async def _archive(self, each: Damage, path: Path, root: Cid) -> Repair:
        """Put the blocks of an archived file or directory together again, where they are not as they were."""
        kept = ""
        with ExitStack() as stack:
            stream = None
            with suppress(FileNotFoundError):
                stream = stack.enter_context(disk.stream(path))
            found = await salvage_archive(stream, root, self._fetch)
            if isinstance(found, Cid):
                return self._told(each, done=False, told=f"{each.found}; block {found} is nowhere")
            if stream is not None:
                kept = f"; the damaged file is {quarantine.keep(self._room.quarantine, path).name}"
            disk.replace(path, chain([car.header([root])], (car.section(*block) for block in found)))
        return self._told(each, done=True, told=f"rebuilt, each block as it was{kept}")

    async def _fetch(self, cid: Cid) -> bytes | None:
        for store in self._stores:
            with suppress(StoreError, VerificationError, ConfigurationError):
                block = await store.get(cid)
                if cid.matches(block):
                    return block
        return None

    # -- the head

    def head(self, each: Damage) -> Repair:
        """End a log that has lost its head, and write the head again for its readers and its successor."""
        shelf, kept = each.shelf, ""
        with suppress(FileNotFoundError):
            kept = f"; the damaged file is {quarantine.keep(self._room.quarantine, each.path).name}"
        batches = Batches(shelf.batches)
        newest = max(batches.indexes(), default=-1)
        try:
            facts = [batches.facts(index) for index in range(newest + 1)]
        except (FormatError, FileNotFoundError) as error:
            return self._told(each, done=False, told=f"not every batch can be read: {error}{kept}")
        if not facts:  # its log has ended, and somebody was killed before the head moved too; or nothing else is left
            disk.remove(each.path)
            return self._told(each, done=bool(self._room.former_shelves()), told=f"its log is not here{kept}")
        last = facts[-1]
        if shelf.path == self._room.path:
            shelf = end_log(self._room, None)
        floors: dict[str, int] = {}
        for log in self._room.shelves():
            for manifest in _manifests(log):
                for writer, _, _, sequence in manifest.sources:
                    floors[writer] = max(sequence, floors.get(writer, 0))
        sealed = Sealed(
            log=last.manifest.log,
            index=newest,
            block=last.head.encode(),
            consumed=Spool(self._room).offsets_behind(floors),
            quarantined=quarantine.pieces(self._room.quarantine),
            machine=disk.machine_id(),
        )
        head.store(shelf.head, sealed)
        return self._told(each, done=True, told=f"rebuilt from its batches; a new log follows it{kept}")

    def count_again(self) -> Repair | None:
        """A head counts the logs before it too: where one has its head back, it and those behind it count again."""
        records, dropped, changed = 0, Counter[str](), False
        for shelf in self._room.shelves():
            try:
                sealed = head.load(shelf.head)
            except FormatError:
                sealed = None
            if sealed is None:  # a log behind it began to count anew
                records, dropped = 0, Counter[str]()
                continue
            manifests = _manifests(shelf)
            if len(manifests) <= sealed.index:
                break
            for manifest in manifests[: sealed.index + 1]:
                records += manifest.records
                dropped.update(manifest.dropped)
            counted = replace(sealed, records=records, dropped=dict(dropped))
            if counted != sealed:
                head.store(shelf.head, counted)
                changed = True
        return Repair(what=f"{self._room.name} counts", done=True, told="counted again") if changed else None

    # -- marks

    async def mark(self, each: Damage) -> Repair:
        """Write a mark again from what its store has pinned; without the store it begins anew, which costs uploads."""
        kept = quarantine.keep(self._room.quarantine, each.path)
        store = next((store for store in self._stores if store.name == each.path.name), None)
        log = _log_of(each.shelf)
        if store is None or log is None:
            disk.remove(each.path)
            return self._told(each, done=True, told=f"begun anew; the damaged file is {kept.name}")
        mark = Mark(log=log, address=store.address)
        batches = Batches(each.shelf.batches)
        facts = {}
        for index in batches.indexes():
            with suppress(FormatError, OSError):
                facts[index] = batches.facts(index)
        try:
            heads = [found.head_cid for found in facts.values()][-1:]
            pinned = await store.pinned([*(found.cid for found in facts.values()), *heads])
        except StoreError as error:
            disk.remove(each.path)
            return self._told(each, done=True, told=f"begun anew ({error}); the damaged file is {kept.name}")
        mark = mark.confirm(index for index, found in facts.items() if found.cid in pinned)
        if heads and heads[0] in pinned:
            mark = replace(mark, head=heads[0].text)
        shipped.store(each.shelf.shipped, store.name, mark)
        told = f"{sum(map(mark.has, facts))} of {len(facts)} batches are pinned there; the damaged file is {kept.name}"
        return self._told(each, done=True, told=told)


def _log_of(shelf: Shelf) -> str | None:
    """The name of a log: as its head says, else its batches."""
    with suppress(FormatError):
        sealed = head.load(shelf.head)
        if sealed is not None:
            return sealed.log
    return next((manifest.log for manifest in _manifests(shelf)), None)


def _manifests(shelf: Shelf) -> list[Manifest]:
    """The manifests of a log that can be read."""
    batches = Batches(shelf.batches)
    found = []
    for index in batches.indexes():
        with suppress(FormatError, FileNotFoundError):
            found.append(batches.facts(index).manifest)
    return found


def _named(shelf: Shelf, batches: Batches, index: int) -> Cid | None:
    """CID of a manifest as the batch behind it names it, or the head."""
    with suppress(FormatError, FileNotFoundError):
        return batches.facts(index + 1).manifest.prev
    with suppress(FormatError):
        sealed = head.load(shelf.head)
        if sealed is not None and sealed.index == index:
            return sealed.head.manifest
    return None
