"""Seal: the lines of one subsystem's segments, or an archive that waits, become the next batch of its log.

The order is the promise (docs/home.md 7): manifest, signature, CAR written and synced, `head` replaced and synced:
SEALED; only then are segments and archives retired. A crash before the head leaves a CAR that no reader sees, and the
lines are taken again; a crash after it leaves segments whose offset, and archives whose name, the head knows. No
signature leaves the process before the head names it.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, key_name_of, log_name
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.line import BESIDE_JSON
from ipfs_log_handlers.format.manifest import UNIXFS, Manifest, jump_index
from ipfs_log_handlers.format.moment import micros, rfc3339
from ipfs_log_handlers.home import archives, disk, head, keys, quarantine, reserve, segments, settings
from ipfs_log_handlers.home.archives import Archive
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import Sealed
from ipfs_log_handlers.home.layout import Room
from ipfs_log_handlers.home.lock import KeeperLock
from ipfs_log_handlers.home.segments import Header, SegmentName
from ipfs_log_handlers.home.settings import Policy
from ipfs_log_handlers.keeper.draft import Bounds, Draft
from ipfs_log_handlers.keeper.meta import fitting
from ipfs_log_handlers.keeper.spool import Spool, Taken, Waiting
from ipfs_log_handlers.keeper.succession import Standing, stand
from ipfs_log_handlers.losses import dropped_in

__all__ = ["FLOOD", "Cut", "LostLockError", "Sealer"]

_T = TypeVar("_T")

FLOOD: Final = 10
"""Batches' worth of records above which a batch takes all that waits."""
_FLOOD_BYTES: Final = 32 << 20
"""Bytes of lines in such a batch: however well they compress, a deadline is looked at behind them (docs/home.md 21)."""
_GENTLE: Final = 12 << 10
_HASTY: Final = 48 << 10


class LostLockError(Exception):
    """Another keeper took over; this one gives its index up, unshipped, and leaves."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A batch that is due."""

    bounds: Bounds
    """Where it is cut."""
    least: int = 0
    """Records below which it is not sealed after all (a count was only an estimate)."""


class Sealer:
    """Seals the batches of one subsystem, for as long as this process is the keeper.

    Raises:
        HomeError: the home lies on a network mount, where locks cannot be trusted, or a directory in it is a link or
            another user's.
    """

    def __init__(self, lock: KeeperLock, room: Room) -> None:
        self.room = room
        self.spool = Spool(room)
        self.policy = settings.load(room.settings, Policy.default(lock.home.path, room.name))
        self._lock = lock
        self._batches = Batches(room.current.batches)
        self._newest_header = ""
        self._headers: set[SegmentName] = set()
        kind = disk.network_mount(room.path)
        if kind is not None:
            raise HomeError(
                "signing is refused on a network mount",
                where=room.path,
                found=kind,
                hint="Two machines could sign one index there. Put the home on a local disk.",
            )
        _check_owners(room)
        for directory in (lock.home.path, room.path, room.current.shipped):
            disk.sweep(directory)
        for shelf in room.shelves():
            Batches(shelf.batches).sweep()
        key = keys.load(lock.home)
        self.standing: Standing = stand(room, key.name if key else None)
        self._cids: dict[int, Cid] = {}
        self._edge: merkle.Edge = ()
        if self.sealed is not None:
            facts = self._batches.facts(self.sealed.index)
            self._edge = facts.manifest.edge_after()
            self._cids[self.sealed.index] = facts.cid
            self._batches.remove_above(self.sealed.index)
        disk.sync_directory(lock.home.path)  # the room's own entry, made by a writer that need not sync it
        for directory in (room.spool, room.archived):
            with suppress(FileNotFoundError):
                disk.sync_directory(directory)  # a removal that a dead keeper did not sync must not come back
        self._found: Mapping[str, int] = dict.fromkeys(self.standing.archived, 1)
        if self.standing.floors:
            self._found |= self.spool.offsets_behind(self.standing.floors)

    @property
    def sealed(self) -> Sealed | None:
        """The newest head of the current log."""
        return self.standing.sealed

    @property
    def consumed(self) -> Mapping[str, int]:
        """Offsets up to which lines are in batches."""
        base = self.standing.sealed or self.standing.inherited
        return base.consumed if base else self._found

    # -- when

    def survey(self, now: float) -> Waiting:
        """Count what waits, and read the headers of new segments for the policy."""
        self._read_headers()
        return self.spool.survey(self.consumed, now)

    def _read_headers(self) -> None:
        names = segments.listing(self.room.spool)
        fresh = [name for name in names if name not in self._headers]
        self._headers.intersection_update(names)
        newest: Header | None = None
        for name in fresh:
            try:
                header = segments.read_header(self.room.spool / name.file_name)
            except OSError:
                continue  # looked at again
            except FormatError:
                header = None
            self._headers.add(name)
            if header is not None:
                ours = header.writer == name.writer and header.subsystem == self.room.name
                if ours and header.started >= self._newest_header:
                    self._newest_header, newest = header.started, header
        if newest is not None:
            self._take_policy(newest.settings)

    def _take_policy(self, members: Mapping[str, Any]) -> None:
        policy = Policy.from_json(members, self.policy)
        if policy != self.policy or not self.room.settings.exists():
            self.policy = policy
            with suppress(OSError):
                settings.store(self.room.settings, policy)

    def cut(self, waiting: Waiting, now: float, *, asked: bool, hasty: bool) -> Cut | None:
        """The batch that is due now, if any.

        Args:
            waiting: the newest survey.
            now: the keeper's monotonic clock.
            asked: somebody waits for everything to be sealed.
            hasty: there is a deadline: the quick compression level.
        """
        if waiting.since is None:
            return None
        records, size = self.policy.records, self.policy.bytes
        if waiting.records > FLOOD * records:
            return Cut(Bounds(1 << 31, max(size, _FLOOD_BYTES), 1))
        level = 1 if hasty else 11
        if waiting.records >= records:
            return Cut(Bounds(records, size, level), records)
        if waiting.bytes >= size:
            return Cut(Bounds(records, size, level))
        if asked or now - waiting.since >= self.policy.seconds:
            return Cut(Bounds(records, size, level))
        return None

    # -- the batch

    def seal(self, cut: Cut, *, hasty: bool) -> Iterator[None]:
        """Seal one batch, giving way after each short step.

        Raises:
            LostLockError: another keeper took over; nothing was sealed.
            OSError: the disk refuses; nothing was sealed, and everything is as before.
        """
        index, key, log, consumed = self._begin()
        draft = Draft(log, index, cut.bounds, self.policy.rules)
        taken: Counter[SegmentName] = Counter()
        damaged = yield from self._gather(draft, consumed, taken, _HASTY if hasty else _GENTLE)
        short = draft.records < cut.least and draft.raw < cut.bounds.raw and not draft.full
        if short or not (draft.records or draft.dropped or damaged):
            self.spool.correct(taken)
            return
        yield from draft.hash_records()
        payload = draft.payload()
        yield
        manifest = fitting(self._manifest(draft, log, index, payload.root, payload.size))
        yield from self._write(manifest, key, payload.blocks, None, consumed, damaged)
        for name, count in taken.items():
            self.spool.took(name, count)

    def _begin(self) -> tuple[int, SecretKey, str, dict[str, int]]:
        """Number, key and log of the next batch, and what is consumed of what is still in the spool."""
        index = self.sealed.index + 1 if self.sealed else 0
        key = self._with_room(lambda: keys.load_or_make(self._lock.home))
        log = self.sealed.log if self.sealed else log_name(key.name, self.room.name, os.urandom(4).hex())
        if key_name_of(log) != key.name:
            raise LostLockError  # the key was exchanged: a keeper that begins anew begins a new log
        self.spool.settle()
        present = {
            *map(str, segments.listing(self.room.spool)),
            *map(str, archives.listing(self.room.archived)),
        }
        return index, key, log, {name: offset for name, offset in self.consumed.items() if name in present}

    # -- an archive

    def next_archive(self) -> Archive | None:
        """The oldest archive that waits; one that is damaged goes to the quarantine and makes way."""
        for name in archives.listing(self.room.archived):
            if str(name) not in self.consumed:
                try:
                    return archives.load(self.room.archived, name)
                except FileNotFoundError:
                    continue
                except FormatError:
                    archives.quarantine(self.room.archived, name, self.room.quarantine)
        return None

    def seal_archive(self, archive: Archive) -> Iterator[None]:
        """Seal an archive as a batch of its own; its blocks get a second name, and are not read.

        Raises:
            as `seal`.
        """
        self._take_policy(archive.settings)
        index, key, log, consumed = self._begin()
        now = int(time.time() * 1_000_000)
        promised = {"type": self.policy.type, "version": self.policy.version, **archive.meta}
        manifest = Manifest(
            **self._place(log, index),
            sealed=now,
            first=now,
            last=now,
            records=0,
            dropped={},
            payload=archive.root,
            size=archive.size,
            raw=archive.size,
            encoding=UNIXFS,
            root=merkle.EMPTY_ROOT,
            meta={**promised, "timestamp": rfc3339(now), "record_count": 0, "archive": str(archive.name)},
            stats={},
            sources=(),
        )
        yield
        path = archives.car_file(self.room.archived, archive.name)
        yield from self._write(manifest, key, (), path, {**consumed, str(archive.name): 1}, 0)

    # -- records

    def _gather(
        self, draft: Draft, consumed: dict[str, int], taken: Counter[SegmentName], most: int
    ) -> Generator[None, None, int]:
        """Fill the draft and move `consumed` on; return how many damaged pieces were set aside."""
        damaged = 0
        walk = self.spool.walk(consumed, most)
        for each in walk:
            name = str(each.name)
            if each.piece.kind == "records":
                damaged += self._take(draft, each, consumed, taken)
                if consumed[name] < each.piece.end:
                    break
            else:
                damaged += self._pass(draft, each)
                consumed[name] = each.piece.end
                taken[each.name] += each.piece.kind == "control"
            yield
            if draft.full:
                break
        walk.close()
        return damaged

    def _take(self, draft: Draft, each: Taken, consumed: dict[str, int], taken: Counter[SegmentName]) -> int:
        lines, at, damaged = each.piece.records, each.piece.start, 0
        while lines and not draft.full:
            count, bad = draft.take(each.name, lines)
            at += sum(map(len, lines[:count])) + BESIDE_JSON * count
            taken[each.name] += count
            lines = lines[count:]
            if bad is not None and bad == count:
                end = at + len(lines[0]) + BESIDE_JSON
                quarantine.put(self.room.quarantine, each.name, each.descriptor, at, end)
                at, lines, damaged = end, lines[1:], damaged + 1
            elif not count:
                break
        consumed[str(each.name)] = at
        return damaged

    def _pass(self, draft: Draft, each: Taken) -> int:
        piece = each.piece
        if piece.kind == "control":
            draft.note_dropped(dropped_in(piece.json))
        elif piece.kind == "damage":
            quarantine.put(self.room.quarantine, each.name, each.descriptor, piece.start, piece.end)
            return 1
        return 0

    def _write(
        self,
        manifest: Manifest,
        key: SecretKey,
        payload: Iterable[tuple[Cid, bytes]],
        archive: Path | None,
        consumed: Mapping[str, int],
        damaged: int,
    ) -> Iterator[None]:
        log, index = manifest.log, manifest.index
        block = manifest.encode()
        cid = Cid.of(DAG_CBOR, block)
        edge = merkle.edge_append(self._edge, index, merkle.leaf_hash(cid))
        self._check_lock()
        note = Checkpoint(origin=log, size=index + 1, root=merkle.edge_root(edge)).signed(key)
        head_block = Head(log=log, index=index, manifest=cid, checkpoint=note).encode()
        head_cid = Cid.of(DAG_CBOR, head_block)
        blocks = [(cid, block), (head_cid, head_block), *self._evidence(index), *payload]
        if index == 0:
            self._with_room(lambda: disk.replace(self.room.beginning, log.encode()))
        self._with_room(lambda: self._batches.write(index, cid, head_cid, blocks, archive))
        yield
        sealed = self._next(manifest, head_block, consumed, damaged)
        self._check_lock()
        self._with_room(lambda: head.store(self.room.current.head, sealed))
        if index == 0:
            disk.remove(self.room.beginning)
        self.standing = Standing(sealed=sealed)
        self._edge = edge
        self._cids[index] = cid
        if len(self._cids) > 256:
            self._cids = {index: cid}

    def _evidence(self, index: int) -> list[tuple[Cid, bytes]]:
        """The checkpoint of the log before, which the first batch of a new one carries."""
        note = self.standing.evidence if index == 0 else None
        return [] if note is None else [(Cid.of(RAW, note), note)]

    def _place(self, log: str, index: int) -> dict[str, Any]:
        """What a manifest says of its place in the chain."""
        jump = jump_index(index)
        return {
            "log": log,
            "index": index,
            "prev": self._cid(index - 1) if index else None,
            "jump": self._cid(jump) if jump is not None else None,
            "edge": b"".join(self._edge),
            "evidence": tuple(cid for cid, _ in self._evidence(index)),
        }

    def _manifest(self, draft: Draft, log: str, index: int, root: Cid, size: int) -> Manifest:
        now = int(time.time() * 1_000_000)
        moments = [now if moment is None else max(0, moment) for moment in (micros(draft.first), micros(draft.last))]
        return Manifest(
            **self._place(log, index),
            sealed=now,
            first=min(moments),
            last=max(moments),
            records=draft.records,
            dropped=dict(draft.dropped),
            payload=root,
            size=size,
            raw=draft.raw,
            encoding="jsonl+zstd",
            root=draft.tree.root(),
            meta={
                "type": self.policy.type,
                "timestamp": rfc3339(now),
                "version": self.policy.version,
                "record_count": draft.records,
                **draft.sums.meta(min(moments), index),
            },
            stats=draft.stats(),
            sources=tuple(draft.sources),
        )

    def _cid(self, index: int) -> Cid:
        found = self._cids.get(index)
        if found is None:
            try:
                found = self._batches.facts(index).cid
            except (FormatError, FileNotFoundError):
                found = self._batches.facts(index + 1).manifest.prev  # a damaged batch still has its place in the chain
                if found is None:
                    raise
            self._cids[index] = found
        return found

    def _next(self, manifest: Manifest, head_block: bytes, consumed: Mapping[str, int], damaged: int) -> Sealed:
        before = self.standing.sealed or self.standing.inherited
        return Sealed(
            log=manifest.log,
            index=manifest.index,
            block=head_block,
            consumed=dict(consumed),
            records=manifest.records + (before.records if before else 0),
            dropped=dict(Counter(before.dropped if before else {}) + Counter(manifest.dropped)),
            quarantined=damaged + (before.quarantined if before else 0),
            machine=disk.machine_id(),
            inode=os.stat(self.room.path).st_ino,
        )

    def _check_lock(self) -> None:
        """Home.md 9: still the keeper, and the head is still the one this keeper knows."""
        found = None
        with suppress(FormatError):
            found = head.load(self.room.current.head)
        if not self._lock.holds() or found != self.sealed:
            raise LostLockError

    def _with_room(self, step: Callable[[], _T]) -> _T:
        """Run a step that writes; on a full disk give the reserve up and run it once more, from nothing."""
        try:
            return step()
        except OSError as error:
            if error.errno not in disk.NO_ROOM or not reserve.give_up(self._lock.home.reserve):
                raise
        return step()

    def retire(self) -> None:
        """Unlink what is consumed and that nobody writes to."""
        self.spool.retire(self.consumed)
        archives.retire(self.room.archived, self.consumed)
        archives.sweep(self.room.archived)


def _check_owners(room: Room) -> None:
    """Refuse a directory that is a link or another user's: what is removed and renamed in it would not be ours."""
    shelf = room.current
    for directory in (room.path, room.spool, room.archived, room.quarantine, room.former, shelf.batches, shelf.shipped):
        with suppress(FileNotFoundError):
            disk.check_owner(directory)
