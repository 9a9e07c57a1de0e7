"""Rebuild files that a disk has damaged, from the rest of the home, its stores and its key.

The caller holds the keeper's lock. Before a file is replaced, a second name for it is made in `quarantine/`: evidence
is never deleted. A batch number that was signed is never signed again: if the head of a log was lost, the log ends, its
head is rebuilt for readers, and the next keeper begins a new log after it (docs/home.md 10).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.concurrency import coroutines
from ipfs_log_handlers.errors import ConfigurationError, FormatError, HomeError, StoreError, VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import delivery_state, disk, head, keys, lock, log_list, quarantine, volume
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.lock import KeeperLock
from ipfs_log_handlers.home.logs import LogDir, headers, logs_of
from ipfs_log_handlers.home.policy import Policy, store_policy
from ipfs_log_handlers.keeper.new_log import end_log
from ipfs_log_handlers.maintenance.damage import Damage, find, leftovers
from ipfs_log_handlers.maintenance.salvage import salvage, salvage_archive
from ipfs_log_handlers.spool.scan import Spool
from ipfs_log_handlers.stores import Store, open_store
from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["Repair", "repair_home"]

_NOWHERE: Final = "neither in the home nor at a store"
"""Words of an outcome for a lost block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The outcome of the repair of one damaged file."""

    what: str
    """The file, as `doctor` names it."""
    repaired: bool
    """Whether the file is whole again."""
    detail: str
    """What was done, or why the file could not be repaired."""
    damage: Damage | None = None
    """The damage; `None` for a file that belongs to no subsystem."""

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as a flat dict."""
        return {"what": self.what, "repaired": self.repaired, "detail": self.detail}


def repair_home(home: HomeDir, addresses: Sequence[str], credentials: Credentials | None = None) -> list[Repair]:
    """Rebuild damaged files from the rest of the home, from the stores and from the key.

    Each file that is replaced stays in `quarantine/`.

    Args:
        home: the home.
        addresses: stores that may have what is lost.
        credentials: the credentials of the user; `None`: those of the environment.

    Raises:
        HomeError: another process is the keeper.
        OSError: the disk refuses; files that were repaired before stay repaired.
    """
    return coroutines.run(functools.partial(_repair_all, home, addresses, credentials or Credentials.named()))


async def _repair_all(home: HomeDir, addresses: Sequence[str], credentials: Credentials) -> list[Repair]:
    held = lock.take_or_explain(home, "Stop that process first: no file can be repaired while a keeper works.")
    stores = []
    for address in addresses:
        with suppress(ConfigurationError):  # the check of the store reports it
            stores.append(open_store(address, token=credentials.token(address)))
    try:
        repairs = [_repair_key(held), _repair_log_list(held)]
        for subsystem_dir in home.subsystem_dirs():
            repairs += [outcome async for outcome in _repair_subsystem(held, subsystem_dir, stores)]
    finally:
        for store in stores:
            await store.close()
        held.release()
    return [outcome for outcome in repairs if outcome is not None]


def _repair_key(held: KeeperLock) -> Repair | None:
    """Rebuild a signing key of which one character is damaged; return `None` when the key is whole."""
    home = held.home
    try:
        keys.load(home)
        return None
    except HomeError as error:
        key = keys.recover(home)
        if key is None:
            return Repair(what="key", repaired=False, detail=f"{error.message}; it cannot be rebuilt")
    kept = quarantine.keep(home.path, home.key)
    disk.replace(home.key, key.text.encode("ascii") + b"\n")
    return Repair(what="key", repaired=True, detail=f"one character was wrong; the damaged file is {kept.name}")


def _repair_log_list(held: KeeperLock) -> Repair | None:
    """Write the list of logs anew if it is damaged; return `None` if it is not."""
    home = held.home
    try:
        key = keys.load(home)
    except HomeError:
        return None  # the damaged key is a problem of its own
    if key is None or not any(log_list.load(home).problems({key.name: key.verifier})):
        return None
    here = [log.name for subsystem_dir in home.subsystem_dirs() for log in logs_of(subsystem_dir) if log.name]
    log_list.add(home, key, here)
    detail = "written anew from the names that could be read and from the logs that are here"
    return Repair(what=home.log_list.name, repaired=True, detail=detail)


async def _repair_subsystem(
    held: KeeperLock, subsystem_dir: SubsystemDir, stores: Sequence[Store]
) -> AsyncIterator[Repair]:
    """Rebuild the damaged files of one subsystem.

    Args:
        held: the home's lock, held.
        subsystem_dir: the subsystem.
        stores: the stores that may have lost blocks, and know which batches they have pinned.

    Yields:
        The outcomes, file by file.

    Raises:
        OSError: the disk refuses. The files that were yielded are repaired; the others are as before.
    """
    work = _SubsystemRepair(held.home, subsystem_dir, stores)
    for damage in [*leftovers(subsystem_dir), *find(subsystem_dir)]:
        if damage.kind == "leftover":
            yield work.clear(damage)
        elif damage.kind == "settings":
            yield work.settings(damage)
        elif damage.kind in ("index", "catalogue", "page"):
            yield work.cache(damage)
    lost = [damage for damage in find(subsystem_dir) if damage.kind == "batch"]
    for damage in reversed(lost):  # a batch names the manifest of the batch before it
        yield await work.batch(damage)
    for damage in [damage for damage in find(subsystem_dir) if damage.kind == "head"]:
        yield work.head(damage)
    for damage in [damage for damage in find(subsystem_dir) if damage.kind == "mark"]:
        yield await work.mark(damage)
    counted = work.count_again()
    if counted is not None:
        yield counted


class _SubsystemRepair:
    """Repair the files of one subsystem."""

    def __init__(self, home: HomeDir, subsystem_dir: SubsystemDir, stores: Sequence[Store]) -> None:
        self._home = home
        self._subsystem_dir = subsystem_dir
        self._stores = stores
        self._key = None
        with suppress(HomeError):
            self._key = keys.load(home)

    def _outcome(self, damage: Damage, *, repaired: bool, detail: str) -> Repair:
        return Repair(what=damage.title, repaired=repaired, detail=detail, damage=damage)

    def clear(self, damage: Damage) -> Repair:
        """Move a temporary file to the quarantine."""
        kept = quarantine.keep(self._subsystem_dir.quarantine, damage.path)
        disk.remove(damage.path)
        return self._outcome(damage, repaired=True, detail=f"moved to quarantine as {kept.name}")

    def settings(self, damage: Damage) -> Repair:
        """Write the settings again: from the newest segment, else with the stores of delivery states."""
        kept = quarantine.keep(self._subsystem_dir.quarantine, damage.path)
        policy = Policy.default(self._home.path, self._subsystem_dir.name)
        log_dirs = LogDir.all_of(self._subsystem_dir)
        addresses = [state.address for log_dir in log_dirs for state in log_dir.delivery_states().values()]
        policy = replace(policy, stores=tuple(dict.fromkeys(addresses)) or policy.stores)
        segment_headers = [header for _, header in headers(self._subsystem_dir)]
        policy = Policy.newest_of(segment_headers, policy)
        store_policy(self._subsystem_dir.settings, policy)
        source = "the newest segment" if segment_headers else "the delivery states of stores, and defaults"
        return self._outcome(
            damage, repaired=True, detail=f"written again from {source}; the damaged file is {kept.name}"
        )

    def cache(self, damage: Damage) -> Repair:
        """Move a damaged index, catalogue or index page to the quarantine; the keeper makes it again."""
        kept = quarantine.keep(self._subsystem_dir.quarantine, damage.path)
        disk.remove(damage.path)
        detail = f"the keeper makes it again; the damaged file is {kept.name}"
        return self._outcome(damage, repaired=True, detail=detail)

    # -- batches

    async def batch(self, damage: Damage) -> Repair:
        """Rebuild the file of a batch."""
        batches, index = damage.log_dir.sealed_batches, damage.index or 0
        log = damage.log_dir.name()
        data = batches.content(index)
        salvaged = None
        if log is not None:
            salvaged = await salvage(data, log, index, _named(damage.log_dir, batches, index), self._key, self._fetch)
        if salvaged is None:
            return self._outcome(damage, repaired=False, detail=f"{damage.found}; its manifest is {_NOWHERE}")
        readable = False
        with suppress(FormatError, FileNotFoundError):
            readable = bool(batches.facts(index))
        if salvaged.archive is not None and readable:
            return await self._archive(damage, batches.payload_file(index), salvaged.archive)
        if salvaged.missing and readable:
            return self._outcome(
                damage,
                repaired=False,
                detail=f"{damage.found}; block {salvaged.missing[0]} is {_NOWHERE}",
            )
        kept = f"; the damaged bytes are in {self._keep(batches, index, data).name}" if data else ""
        batches.write_anew(index, salvaged.manifest, salvaged.head, salvaged.blocks)
        if salvaged.missing:
            return self._outcome(damage, repaired=False, detail=f"only its manifest is left{kept}")
        if salvaged.archive is not None:
            return await self._archive(damage, batches.payload_file(index), salvaged.archive)
        return self._outcome(damage, repaired=True, detail=f"rebuilt, each block as it was{kept}")

    def _keep(self, batches: Batches, index: int, data: bytes) -> Path:
        """Keep the damaged file of a batch in the quarantine; for a batch in a pack, keep a copy of its bytes."""
        path = batches.where(index)
        if path == batches.file(index):
            return quarantine.keep(self._subsystem_dir.quarantine, path)
        return quarantine.keep_bytes(self._subsystem_dir.quarantine, batches.file(index).name, data)

    async def _archive(self, damage: Damage, path: Path, root: Cid) -> Repair:
        """Rebuild the file with the blocks of an archived file or directory."""
        kept = ""
        with ExitStack() as stack:
            stream = None
            with suppress(FileNotFoundError):
                stream = stack.enter_context(disk.stream(path))
            blocks = await salvage_archive(stream, root, self._fetch)
            if isinstance(blocks, Cid):
                return self._outcome(damage, repaired=False, detail=f"{damage.found}; block {blocks} is {_NOWHERE}")
            if stream is not None:
                kept = f"; the damaged file is {quarantine.keep(self._subsystem_dir.quarantine, path).name}"
            spans = chain([car.header([root])], (car.section(*block) for block in blocks))
            disk.replace(path, spans, beside=damage.log_dir.batches / path.name)
        return self._outcome(damage, repaired=True, detail=f"rebuilt, each block as it was{kept}")

    async def _fetch(self, cid: Cid) -> bytes | None:
        for store in self._stores:
            with suppress(StoreError, VerificationError, ConfigurationError):
                block = await store.get(cid)
                if cid.matches(block):
                    return block
        return None

    # -- the head

    def head(self, damage: Damage) -> Repair:
        """End a log that has lost its head, and write the head again for its readers and its successor."""
        log_dir, kept = damage.log_dir, ""
        with suppress(FileNotFoundError):
            kept = f"; the damaged file is {quarantine.keep(self._subsystem_dir.quarantine, damage.path).name}"
        batches = Batches(log_dir.batches)
        newest = max(batches.indexes(), default=-1)
        try:
            facts = [batches.facts(index) for index in range(newest + 1)]
        except (FormatError, FileNotFoundError) as error:
            return self._outcome(damage, repaired=False, detail=f"not every batch can be read: {error}{kept}")
        if not facts:  # the log has ended, and a process was killed before the head moved too; or only the head is left
            disk.remove(damage.path)
            return self._outcome(
                damage, repaired=bool(self._subsystem_dir.former_log_dirs()), detail=f"its log has no batch here{kept}"
            )
        last = facts[-1]
        if not log_dir.is_former:
            log_dir = end_log(self._subsystem_dir, None)
        floors: dict[str, int] = {}
        for log in LogDir.all_of(self._subsystem_dir):
            for manifest in log.manifests():
                for writer, _, _, sequence in manifest.sources:
                    floors[writer] = max(sequence, floors.get(writer, 0))
        sealed = HeadState(
            log=last.manifest.log,
            index=newest,
            block=last.head.encode(),
            consumed=Spool(self._subsystem_dir).offsets_after(floors),
            quarantined=quarantine.spans(self._subsystem_dir.quarantine),
            machine=volume.machine_id(),
        )
        head.store(log_dir.head, sealed, original=False)
        return self._outcome(damage, repaired=True, detail=f"rebuilt from its batches; a new log follows it{kept}")

    def count_again(self) -> Repair | None:
        """Correct the sums of head files. They include the logs before: a rebuilt head changes those after it."""
        records, dropped, changed = 0, Counter[str](), False
        for log_dir in LogDir.all_of(self._subsystem_dir):
            sealed = log_dir.head_state()
            if sealed is None:  # the log after it has begun to count from zero
                records, dropped = 0, Counter[str]()
                continue
            manifests = list(log_dir.manifests())
            if len(manifests) <= sealed.index:
                break
            for manifest in manifests[: sealed.index + 1]:
                records += manifest.records
                dropped.update(manifest.dropped)
            counted = replace(sealed, records=records, dropped=dict(dropped))
            if counted != sealed:  # a head that counts as a copy must stay a copy
                head.store(log_dir.head, counted, original=head.is_original(log_dir.head, sealed))
                changed = True
        return (
            Repair(what=f"{self._subsystem_dir.name} counts", repaired=True, detail="counted again")
            if changed
            else None
        )

    # -- delivery states

    async def mark(self, damage: Damage) -> Repair:
        """Write a delivery state again: with the batches that its store has pinned, else empty (costs uploads)."""
        kept = quarantine.keep(self._subsystem_dir.quarantine, damage.path)
        store = next((store for store in self._stores if store.name == damage.path.name), None)
        log = damage.log_dir.name()
        if store is None or log is None:
            disk.remove(damage.path)
            return self._outcome(damage, repaired=True, detail=f"begun anew; the damaged file is {kept.name}")
        state = DeliveryState(log=log, address=store.address)
        facts = {header.manifest.index: header for header in damage.log_dir.batch_headers()}
        try:
            heads = [header.head_cid for header in facts.values()][-1:]
            pinned = await store.pinned([*(header.cid for header in facts.values()), *heads])
        except StoreError as error:
            disk.remove(damage.path)
            return self._outcome(damage, repaired=True, detail=f"begun anew ({error}); the damaged file is {kept.name}")
        state = state.confirm(index for index, header in facts.items() if header.cid in pinned)
        if heads and heads[0] in pinned:
            state = replace(state, head=heads[0].text)
        delivery_state.store(damage.log_dir.shipped, store.name, state)
        detail = (
            f"{sum(map(state.has, facts))} of {len(facts)} batches are pinned there; the damaged file is {kept.name}"
        )
        return self._outcome(damage, repaired=True, detail=detail)


def _named(log_dir: LogDir, batches: Batches, index: int) -> Cid | None:
    """Return the CID of a manifest as the batch after it names it, or the head file."""
    with suppress(FormatError, FileNotFoundError):
        return batches.facts(index + 1).manifest.prev
    sealed = log_dir.head_state()
    return sealed.head.manifest if sealed is not None and sealed.index == index else None
