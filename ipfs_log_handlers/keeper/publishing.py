"""Publish a home once: one signed block that links the newest head of each log, and a name that leads to this block.

The steps, and what is on the disk after each of them:

1. The home head and its record are made, and written to `name.state`, synced, with the stores where they will be
   pinned. After a crash from here on, the same bytes are sent again.
2. Each store that has all batches gets the home head with the head blocks in one CAR, and pins it.
3. It gets the record of the name. Its answer 200 proves nothing: a daemon without routing takes any record.
4. It is asked where the name leads to. Only if this is the home head, the home is *published*; `name.state` says so.
5. Older home heads are unpinned there, and forgotten in `name.state`. After a crash before this, the next publication
   unpins them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import ConfigurationError, FormatError, LogStoreError, StoreError, StoreUnavailable
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.checkpoint import SecretKey, key_name_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.home_head import MAX_LOGS, HomeHead, LogHead
from ipfs_log_handlers.format.ipns_record import IpnsRecord
from ipfs_log_handlers.home import keys, name_key, name_state
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.lock import LostLockError
from ipfs_log_handlers.home.logs import Log, logs_of, policy_of
from ipfs_log_handlers.home.name_state import Confirmed, NameState
from ipfs_log_handlers.stores import NameService, Shipment, Store

__all__ = ["Choice", "NothingShippedError", "Publication", "head_file", "load_state", "prepare_head", "published_logs"]

VALIDITY_S: Final = 48 * 3600
"""Seconds for which a record is valid: a running DHT drops it after this time in any case."""
RENEWAL_S: Final = VALIDITY_S / 2
"""Seconds before the end of a record at which a new one is made."""
_TTL_NS: Final = 2_000_000_000
"""Time for which an answer about the name may be cached, ns: the shortest time between two publications."""
_RESOLVE_S: Final = 10.0
"""Seconds that a store gets to resolve the name: nobody knows it, or it takes milliseconds on a LAN."""
_MAX_OVERTAKINGS: Final = 2
"""Number of times in a publication that a larger sequence number of another record is accepted."""


class NothingShippedError(ConfigurationError):
    """No batch of the home is shipped, so there is nothing that a home head could link."""


class _OvertakenError(StoreUnavailable):
    """A record of our own key with a larger number is there: the home was restored from a backup, or copied."""

    sequence = 0
    """The number of that record."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The heads to publish, and the stores that have everything below them."""

    logs: tuple[LogHead, ...]
    """The newest shipped head of each log."""
    stores: tuple[str, ...]
    """Addresses of the stores."""
    blocks: Mapping[Cid, bytes]
    """The head blocks."""


def load_state(home: HomeDir) -> NameState:
    """Read the state of a name; a damaged file counts as none, for its numbers are never used again (`next_number`)."""
    try:
        return name_state.load(home)
    except FormatError:
        return NameState()


# -- what is published


def _heads_at(home: HomeDir, address: str, key_name: str) -> list[tuple[LogHead, bytes]]:
    """List the newest head block of each log of a key up to which a store has everything, and it is shipped.

    Raises:
        OSError, FormatError: the home cannot be read.
    """
    current: list[tuple[LogHead, bytes]] = []
    former: list[tuple[LogHead, bytes]] = []
    for subsystem_dir in home.subsystem_dirs():
        replicas = policy_of(subsystem_dir).replicas
        for log in logs_of(subsystem_dir):
            index = _shipped_through(log, address, replicas) if _belongs_to(log, key_name) else -1
            if index >= 0:
                header = log.batches.facts(index)
                found = LogHead(log.name, index, header.head_cid), header.head.encode()
                (former if log.log_dir.is_former else current).append(found)
    return [*current, *reversed(former)][:MAX_LOGS]


def _belongs_to(log: Log, key_name: str) -> bool:
    return bool(log.name) and key_name_of(log.name) == key_name


def _shipped_through(log: Log, address: str, replicas: int) -> int:
    """Return the number of the newest batch that a store has, with all before it shipped; -1 if there is none."""
    confirmations = log.confirmations(replicas)
    state = next((state for state in confirmations.states if state.address == address), None)
    if state is None:
        return -1
    index = min(state.confirmed_through, confirmations.settled_through, log.newest)
    while index >= 0 and not state.has(index):
        index -= 1
    return index


def published_logs(home: HomeDir, addresses: Iterable[str], head: HomeHead) -> Choice:
    """Choose what would be published after a home head, with its key; raises as `prepare_head`."""
    return _choose(home, addresses, head.key_name, head)


def _choose(home: HomeDir, addresses: Iterable[str], key_name: str, before: HomeHead | None) -> Choice:
    """Choose what is published: what the store has that has most; and the stores that have all of that.

    Raises:
        NothingShippedError: no store has a batch.
        StoreUnavailable: no store has all that was published before: batches were lost, and are shipped again.
    """
    by_store = {address: _heads_at(home, address, key_name) for address in addresses}
    here = {log.name for subsystem_dir in home.subsystem_dirs() for log in logs_of(subsystem_dir)}
    earlier = {log.log: log.index for log in before.logs if log.log in here} if before is not None else {}
    behind = False
    best: list[tuple[LogHead, bytes]] = []
    for found in by_store.values():
        indexes = {head.log: head.index for head, _ in found}
        if any(indexes.get(log, -1) < index for log, index in earlier.items()):
            behind = True
        elif _extent(found) > _extent(best):
            best = found
    if not best:
        if behind:
            raise StoreUnavailable("no store has all the batches that were published: they are shipped again")
        raise NothingShippedError(
            "nothing is published: no batch is shipped", hint="Run `ipfs-logs ship` with the address of a daemon."
        )
    wanted = {head.log: head.index for head, _ in best}
    fitting = [
        address
        for address, found in by_store.items()
        if wanted.keys() <= {head.log for head, _ in found}
        and all(head.index >= wanted[head.log] for head, _ in found if head.log in wanted)
    ]
    return Choice(tuple(sorted(head for head, _ in best)), tuple(fitting), {head.head: block for head, block in best})


def _extent(found: Sequence[tuple[LogHead, bytes]]) -> tuple[int, int]:
    return len(found), sum(head.index for head, _ in found)


# -- the steps


def prepare_head(
    home: HomeDir, addresses: Iterable[str], holds: Callable[[], bool], *, above: int = 0
) -> tuple[HomeHead, Choice]:
    """Make the home head of what is shipped now, unless the newest one is that; no name is needed for it.

    Args:
        home: the home; the caller holds the keeper's lock.
        addresses: the stores to which it is shipped.
        holds: says whether the caller still holds the lock.
        above: a number that another home head may have; the counter is larger.

    Returns:
        The home head, which `name.state` has, and what it links.

    Raises:
        NothingShippedError, StoreUnavailable: there is nothing to publish, or a store has lost what was published.
        HomeError: a key cannot be used.
        OSError, FormatError: the home cannot be read or written.
        LostLockError: another process has become the keeper.
    """
    key = keys.load(home)
    if key is None:
        raise NothingShippedError("nothing is published: no batch is sealed", hint="Run `ipfs-logs ship`.")
    state = load_state(home)
    before = _own_head(state, key)
    choice = _choose(home, addresses, key.name, before)
    if before is not None and before.logs == choice.logs and before.counter > above:
        return before, choice
    counter, now = max(state.next_number(clock.wall()), above + 1), int(clock.wall() * 1e6)
    head = HomeHead.sign(key, counter=counter, time=now, logs=choice.logs)
    _write(home, replace(state, sequence=counter, block=head.encode(), validity=0, ttl=0), holds)
    return head, choice


def _own_head(state: NameState, key: SecretKey) -> HomeHead | None:
    """Return the newest home head if this key has signed it; a home may have got another key."""
    head = state.head
    if head is None:
        return None
    try:
        head.verify(key.verifier)
    except LogStoreError:
        return None
    return head


def _write(home: HomeDir, state: NameState, holds: Callable[[], bool], *, sync: bool = True) -> NameState:
    if not holds():
        raise LostLockError
    name_state.store(home, state, sync=sync)
    return state


class Publication:
    """Publish a home once.

    Args:
        home: the home; the caller holds the keeper's lock.
        stores: the stores to which it is shipped, by address.
        holds: says whether the caller still holds the lock.
        again: send and resolve the record again, although it is published.
    """

    def __init__(
        self, home: HomeDir, stores: Mapping[str, Store], holds: Callable[[], bool], *, again: bool = False
    ) -> None:
        self._home = home
        self._stores = stores
        self._holds = holds
        self._again = again
        self._state = NameState()

    async def run(self) -> NameState:
        """Publish what is shipped now, unless it is published.

        Returns:
            The state of the name, which is published.

        Raises:
            NothingShippedError: there is nothing to publish.
            StoreError: no store has given the home head back for the name.
            ConfigurationError: the stores know no names.
            HomeError, OSError, FormatError: the home cannot be read or written, or a key cannot be used.
            LostLockError: another process has become the keeper.
        """
        above, overtaken = 0, 0
        while True:
            head, choice = prepare_head(self._home, self._stores, self._holds, above=above)
            key = name_key.load_or_make(self._home)
            self._state = load_state(self._home)
            if self._is_done(key) and not self._again:
                return self._state
            targets = [self._stores[address] for address in choice.stores]
            self._prepare_record(key, head, targets)
            try:
                return await self._send(key, head, choice, targets)
            except _OvertakenError as error:
                overtaken += 1
                if overtaken > _MAX_OVERTAKINGS:
                    raise
                above = error.sequence

    def _is_done(self, key: SecretKey) -> bool:
        state = self._state
        return state.name == key.name and state.is_published and not _is_old(state)

    def _prepare_record(self, key: SecretKey, head: HomeHead, targets: Sequence[Store]) -> None:
        """Make a record for the home head, unless there is one that is still good; write it before it is sent."""
        state = self._state
        if state.name != key.name or not state.validity or _is_old(state):
            now = clock.wall()
            is_fresh = state.sequence == head.counter and not state.validity
            number = head.counter if is_fresh else state.next_number(now)
            validity = int(now + VALIDITY_S) * 1_000_000
            state = replace(state, name=key.name, sequence=number, validity=validity, ttl=_TTL_NS)
        for store in targets:
            state = state.with_pin(store.name, head.cid)
        if state != self._state:
            self._state = _write(self._home, state, self._holds)

    async def _send(self, key: SecretKey, head: HomeHead, choice: Choice, targets: Sequence[Store]) -> NameState:
        """Publish at all stores at the same time; note the first one that resolves the name at once."""
        record = self._state.record
        if record is None:
            raise FormatError("the home head has no record")
        shipment = Shipment.of_blocks(head.cid, _with_heads(head, choice.blocks))
        signed = record.signed(key)
        tasks = {
            asyncio.ensure_future(_publish_at(store, shipment, key.name, record, signed)): store for store in targets
        }
        errors: list[Exception] = []
        try:
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if error is None:
                        await self._note_published(tasks[task], head, record)
                    elif isinstance(error, Exception):
                        errors.append(error)
                    else:
                        raise error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        overtaken = [error for error in errors if isinstance(error, _OvertakenError)]
        if overtaken:
            raise max(overtaken, key=lambda error: error.sequence)
        if len(errors) == len(tasks):
            raise errors[0]
        return self._state

    async def _note_published(self, store: Store, head: HomeHead, record: IpnsRecord) -> None:
        """Note that a store has given the home head back; then unpin the older ones there."""
        through = {log.log: log.index for log in head.logs}
        confirmed = Confirmed(record.value.text, record.sequence, clock.wall(), record.validity, store.address, through)
        state = replace(self._state, confirmed=confirmed, last_error=None)
        self._state = _write(self._home, state, self._holds, sync=False)
        older = tuple(cid for cid in self._state.pinned.get(store.name, ()) if cid != record.value.text)
        if older:
            with suppress(StoreError):  # they are a few hundred bytes each, and the next publication tries it again
                await store.unpin([Cid.parse(cid) for cid in older])
                self._state = _write(self._home, self._state.without_pins(store.name, older), self._holds, sync=False)


def _is_old(state: NameState) -> bool:
    """Return whether the record ends so soon that a new one is due."""
    return state.validity / 1e6 - clock.wall() < RENEWAL_S


async def _publish_at(store: Store, shipment: Shipment, name: str, record: IpnsRecord, signed: bytes) -> None:
    """Pin the home head at a store, hand out the record, and let the store resolve the name."""
    if not isinstance(store, NameService):
        raise ConfigurationError("this store knows no names", where=store.address, hint="Publish with a Kubo daemon.")
    await store.ship(shipment)
    try:
        await store.put_name(name, signed)
    except StoreUnavailable as error:
        raise await _explained(store, name, record, error) from error
    try:
        found = await store.resolve_name(name, deadline_s=_RESOLVE_S)
    except StoreUnavailable as error:
        raise StoreUnavailable(
            "the store took the record of the name, but does not resolve the name",
            found=error.found or error.message,
            where=store.address,
            hint="A daemon without routing needs Ipns.UsePubsub (`ipfs config --json Ipns.UsePubsub true`).",
        ) from error
    if found != record.value:
        raise StoreUnavailable(
            "the name leads to another block: an older record was found, or a copy of this home publishes it",
            expected=record.value.text,
            found=found.text,
            where=store.address,
        )


async def _explained(store: NameService, name: str, record: IpnsRecord, error: StoreUnavailable) -> StoreUnavailable:
    """Find out whether a record was refused because there is one of our own key with a larger number."""
    if "sequence" in str(error.found):
        with suppress(LogStoreError):
            other = IpnsRecord.open(await store.get_name(name), name)
            if other.sequence >= record.sequence:
                overtaken = _OvertakenError(error.message, found=error.found, where=error.where)
                overtaken.sequence = other.sequence
                return overtaken
    return error


def head_file(head: HomeHead, blocks: Mapping[Cid, bytes]) -> bytes:
    """Return the CAR of a home head: its root and first block, and then the head blocks that it links."""
    return car.encode([head.cid], _with_heads(head, blocks))


def _with_heads(head: HomeHead, blocks: Mapping[Cid, bytes]) -> list[tuple[Cid, bytes]]:
    return [(head.cid, head.encode()), *blocks.items()]
