"""Write the next batches of a log, and then the head file that makes them valid.

No record is lost, because the steps have this order (docs/home.md 7):

1. Make the manifest and sign the checkpoint. No signature leaves the process before step 3 is done.
2. Write and sync the CAR. After a crash here no reader sees it, and the lines are sealed again.
3. Replace and sync the head file: the batch is sealed. The head file names the offset up to which each segment is in
   batches, and the archives that are. So the next keeper seals nothing twice after a crash here.
4. Delete the segments and archives (`Sealer.delete_consumed`).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.act import EXT_KEY
from ipfs_log_handlers.format.checkpoint import SecretKey, key_name_of, log_name
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import acts, disk, head, keys, log_list, pending_archives, reserve, segments, volume
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.lock import KeeperLock, LostLockError
from ipfs_log_handlers.home.logs import LogDir, logs_of
from ipfs_log_handlers.keeper.chain import Chain, Link
from ipfs_log_handlers.keeper.consumed import ConsumedOffsets
from ipfs_log_handlers.keeper.gather import Gathered
from ipfs_log_handlers.keeper.new_log import LogState, UnsettledError, changed_batches, has_settled, note_sealed
from ipfs_log_handlers.spool.scan import Spool

__all__ = ["LogWriter", "list_logs", "now_us"]

_T = TypeVar("_T")


class LogWriter:
    """Write the batches of one log, for as long as this process is the keeper.

    Args:
        lock: the home's lock, held.
        subsystem_dir: the directory of the subsystem.
        state: the state of the log.
        spool: the segments of the subsystem.
        consumed: the offset in each segment up to which its lines are in batches, at the start.
    """

    def __init__(
        self, lock: KeeperLock, subsystem_dir: SubsystemDir, state: LogState, spool: Spool, consumed: Mapping[str, int]
    ) -> None:
        self.home = lock.home
        self.subsystem_dir = subsystem_dir
        self.chain = Chain(Batches(subsystem_dir.current.batches), state)
        self.offsets = ConsumedOffsets(subsystem_dir, spool, self.chain, consumed)
        self._lock = lock
        self._spool = spool
        self._batches = Batches(subsystem_dir.current.batches)
        self._head_stamp = head.stamp(subsystem_dir.current.head)
        self._has_leftovers = False
        """Whether batches of a group were written, and no head file names them."""

    def begin(self) -> tuple[SecretKey, str, Gathered]:
        """Return the key and the log of the next batch, and the consumed offsets of the files that still exist."""
        if self.chain.sealed is not None and changed_batches(self._batches, self.chain.sealed) is not None:
            raise LostLockError  # a backup was copied over the log: the next keeper ends it
        if self._has_leftovers:
            self._check_lock()
            self._batches.remove_above(self.chain.next_index - 1)
            self._has_leftovers = False
        key = self.with_reserve(lambda: keys.load_or_make(self.home))
        sealed = self.chain.sealed
        log = sealed.log if sealed else log_name(key.name, self.subsystem_dir.name, os.urandom(4).hex())
        if key_name_of(log) != key.name:
            raise LostLockError  # the key was replaced: the next keeper begins a new log
        self._spool.sync_removals()
        present = {
            *map(str, segments.listing(self.subsystem_dir.spool)),
            *map(str, pending_archives.listing(self.subsystem_dir.archived)),
            *acts.names(self.subsystem_dir),
        }
        return key, log, Gathered({name: offset for name, offset in self.offsets.current().items() if name in present})

    def newest_act(self) -> int:
        """Return the number of the newest batch of this log with an act; `NO_ACT` if there is none."""
        if self.chain.sealed is None:
            return head.NO_ACT
        known = self.chain.sealed.act != head.ACT_UNKNOWN
        return self.chain.sealed.act if known else acts.newest_act(LogDir.current_of(self.subsystem_dir))

    def write(
        self,
        manifest: Manifest,
        key: SecretKey,
        payload: Iterable[tuple[Cid, bytes]],
        archive: Path | None,
        gathered: Gathered,
    ) -> Iterator[None]:
        """Write the batch, then the head file that names it."""
        with self.all_or_none():
            self.put(manifest, key, payload, archive)
            yield
            self.commit(key, gathered)

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Forget the batches that were written, if an error comes before the head file names them.

        Those of a group are removed before the next batch is begun: that one may be the last one for some time. After a
        crash, the next keeper removes them (`Sealer.open`).
        """
        try:
            yield
        finally:
            self._has_leftovers |= len(self.chain.staged) > 1
            self.chain.unstage()

    def put(
        self, manifest: Manifest, key: SecretKey, payload: Iterable[tuple[Cid, bytes]], archive: Path | None = None
    ) -> None:
        """Write a batch that no head file names yet."""
        self._check_lock()
        link = self.chain.link(manifest, key)
        blocks = [(link.cid, link.block), (link.head_cid, link.head_block), *self.chain.evidence(), *payload]
        if manifest.index == 0:
            self.with_reserve(lambda: disk.replace(self.subsystem_dir.beginning, manifest.log.encode()))
        self.chain.stage(link)  # before it is written: a part of it may be there after an error
        self.with_reserve(lambda: self._batches.write(manifest.index, link.cid, link.head_cid, blocks, archive))

    def commit(self, key: SecretKey, gathered: Gathered) -> None:
        """Replace the head file by one that names the batches that were written."""
        links = self.chain.staged
        log = links[0].manifest.log
        head_state = self._head_after(links, gathered)
        self._check_lock()
        stored = self.with_reserve(lambda: head.store(self.subsystem_dir.current.head, head_state))
        self._head_stamp = head.stamp(self.subsystem_dir.current.head)
        is_first = links[0].manifest.index == 0
        self.chain.advance(stored)
        if is_first:
            disk.remove(self.subsystem_dir.beginning)
            list_logs(self.home, self.subsystem_dir, log, key)
        self.offsets.note_sealed()
        note_sealed(stored)

    def _head_after(self, links: Sequence[Link], gathered: Gathered) -> HeadState:
        before = self.chain.state.sealed or self.chain.state.inherited
        newest = links[-1]
        dropped = Counter(before.dropped if before else {})
        for link in links:
            dropped.update(link.manifest.dropped)
        return HeadState(
            log=newest.manifest.log,
            index=newest.manifest.index,
            block=newest.head_block,
            consumed=dict(gathered.consumed),
            act=newest.manifest.index if EXT_KEY in newest.manifest.ext else self.newest_act(),
            records=sum(link.manifest.records for link in links) + (before.records if before else 0),
            dropped=dict(+dropped),
            quarantined=gathered.damaged + (before.quarantined if before else 0),
            machine=volume.machine_id(),
            inode=disk.status(self.subsystem_dir.path).st_ino,
        )

    def check_head(self) -> None:
        """Check whether another program has replaced the head file, for example by copying a backup over the home.

        Raises:
            UnsettledError: the file was replaced a moment ago; the program may still be copying other files.
            LostLockError: another program has replaced the file; the next keeper decides how the log continues.
        """
        stamp = head.stamp(self.subsystem_dir.current.head)
        if stamp == self._head_stamp:
            return
        try:
            self._check_lock()
        except LostLockError:
            if self._lock.holds() and not has_settled(self.subsystem_dir):
                raise UnsettledError(
                    "another program has replaced the head file: the log will end", where=self.subsystem_dir.path
                ) from None
            raise
        self._head_stamp = stamp

    def _check_lock(self) -> None:
        """Check that this process is still the keeper, and that the head file is unchanged (docs/home.md 9)."""
        on_disk = LogDir.current_of(self.subsystem_dir).head_state()
        if not self._lock.holds() or on_disk != self.chain.sealed:
            raise LostLockError

    def with_reserve(self, step: Callable[[], _T]) -> _T:
        """Run a step that writes; on a full disk free the reserve and run the step again, from its start."""
        return reserve.with_reserve(self.home.reserve, step)


def now_us() -> int:
    """Return the time, µs since 1970."""
    return int(time.time() * 1_000_000)


def list_logs(home: HomeDir, subsystem_dir: SubsystemDir, log: str, key: SecretKey | None) -> None:
    """Add a log with a sealed batch, and the logs before it, to the list; the next keeper repeats it after an error."""
    if key is None or log in log_list.load(home).names:
        return
    with suppress(OSError, FormatError):
        names = [former.name for former in logs_of(subsystem_dir) if former.name]
        log_list.add(home, key, [*names, log])
