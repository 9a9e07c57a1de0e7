"""Find batches that stores and pin services have lost after their confirmation, and let them be sent again."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.concurrency import coroutines
from ipfs_log_handlers.errors import FormatError, StoreError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import delivery_state, lock
from ipfs_log_handlers.home.batch_reader import BatchHeader
from ipfs_log_handlers.home.delivery_state import DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import Log, LogDir, logs_of, titles
from ipfs_log_handlers.home.pruned import pruned_of
from ipfs_log_handlers.keeper.head_pin import has_pinned, repin_head
from ipfs_log_handlers.keeper.holdings import SAMPLE_BLOCKS, Holding, holding_of, newest_confirmed, sample_of
from ipfs_log_handlers.stores import Store, open_store, store_name
from ipfs_log_handlers.stores.credentials import Credentials
from ipfs_log_handlers.stores.pin_address import is_pin_service, pin_service_name
from ipfs_log_handlers.stores.pins import PinService, open_pin_service

__all__ = ["LostBatch", "lost_batches", "send_again"]

_PARALLEL_CALLS: Final = 8
"""Number of batches that a store is asked for at the same time."""

OnChecked = Callable[[str, int, int], None]
"""Called with the address of a store, the number of batches that it was asked for, and the number to ask it for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LostBatch:
    """A batch that a store or a pin service has confirmed, and does not have any more."""

    subsystem: str
    """Its subsystem."""
    index: int
    """Its number."""
    cid: str
    """CID of its manifest."""
    title: str
    """Title of the batch for people, such as `audit batch 3`."""
    store: str
    """Address of the store or the pin service."""
    holding: Holding
    """`not pinned` or `incomplete`."""
    in_home: bool
    """Whether its payload is in the home, so that it can be shipped again."""
    elsewhere: tuple[str, ...]
    """Addresses of other stores that have the whole batch; determined only if it is not in the home. For a pin service,
    the stores that have confirmed the batch, from which it can be fetched again."""
    log_dir: LogDir
    """The files of its log."""

    @property
    def gone(self) -> bool:
        """Whether neither the home nor a store has the batch any more."""
        return not self.in_home and not self.elsewhere

    @property
    def can_be_sent(self) -> bool:
        """Whether the next run can send it again, or ask the pin service for it again."""
        return self.in_home or (is_pin_service(self.store) and bool(self.elsewhere))

    def as_json(self) -> dict[str, Any]:
        """Return the batch and the result of the check; common keys are those of `ipfs-logs ls`."""
        return {
            "subsystem": self.subsystem,
            "index": self.index,
            "cid": self.cid,
            "store": self.store,
            "holding": self.holding,
            "in_home": self.in_home,
            "elsewhere": list(self.elsewhere),
        }


def lost_batches(
    home: HomeDir,
    address: str,
    *,
    credentials: Credentials | None = None,
    sample: int | None = None,
    others: Container[str] | None = None,
    through: Sequence[str] = (),
    on_checked: OnChecked | None = None,
) -> tuple[LostBatch, ...]:
    """Ask a store or a pin service for the batches that it has confirmed, and return the lost ones.

    Args:
        home: the home.
        address: address of the store or the pin service.
        credentials: the credentials of the user; `None`: those of the environment.
        sample: number of batches of each log to ask for, with some of their blocks; `None`: all batches, every block.
        others: addresses of other stores that may be asked for a batch that neither this store nor the home has;
            `None`: all stores that have confirmed it.
        through: addresses of stores through which a remote pinning service may be asked.
        on_checked: called during the check.

    Raises:
        StoreError: a store does not answer.
        ConfigurationError: the address is malformed.
        OSError: the home cannot be read.
    """
    credentials = credentials or Credentials.named().with_pins()
    work = _Recheck(home, credentials, sample, others, through, on_checked or (lambda *_: None))
    return coroutines.run(functools.partial(work.run, address))


def send_again(
    home: HomeDir,
    addresses: Iterable[str],
    *,
    through: Sequence[str] = (),
    credentials: Credentials | None = None,
    on_checked: OnChecked | None = None,
) -> tuple[LostBatch, ...]:
    """Check every confirmed batch at some stores, and let the next run ship lost batches again.

    A batch whose payload has left the home cannot be sent: it is set aside, with the reason.

    Args:
        home: the home.
        addresses: addresses of the stores and pin services.
        through: addresses of stores through which a remote pinning service may be asked.
        credentials: the credentials of the user; `None`: those of the environment.
        on_checked: called as the work goes on.

    Returns:
        The lost batches.

    Raises:
        HomeError: another process is the keeper.
        StoreError: a store does not answer.
        OSError: the home cannot be read or written.
    """
    held = lock.take_or_explain(home, "Stop that process first, then run this again.")
    try:
        lost: list[LostBatch] = []
        for address in addresses:
            own = credentials or Credentials.named().with_pins()
            work = _Recheck(home, own, None, None, through, on_checked or (lambda *_: None), heads=True)
            lost_there = coroutines.run(functools.partial(work.run, address))
            _forget(home, address, lost_there, work.moved_heads)
            lost += lost_there
        return tuple(lost)
    finally:
        held.release()


def _forget(home: HomeDir, address: str, lost: Sequence[LostBatch], heads: Mapping[Path, str | None]) -> None:
    """Remove the confirmations of these batches from the delivery state, and note that all others were checked.

    Args:
        home: the home.
        address: address of the store or the pin service.
        lost: the batches.
        heads: by directory of a log: the head block that is pinned there now, if it is another one than before.
    """
    name = (pin_service_name if is_pin_service(address) else store_name)(address)
    for subsystem_dir in home.subsystem_dirs():
        for log_dir in LogDir.all_of(subsystem_dir):
            state = log_dir.delivery_states().get(name)
            if state is None:
                continue
            here = [batch for batch in lost if batch.log_dir == log_dir]
            changed = replace(state.forget(batch.index for batch in here), lost=False)
            if log_dir.path in heads:
                changed = replace(changed, head=heads[log_dir.path])
            for batch in here:
                if not batch.in_home and not is_pin_service(address):
                    where = f"only {' and '.join(batch.elsewhere)} has it" if batch.elsewhere else "no store has it"
                    changed = changed.set_aside(batch.index, f"lost by the store after its payload left: {where}")
            if changed != state:
                delivery_state.store(log_dir.shipped, name, changed)


class _Recheck:
    """One check of the stores of a home."""

    def __init__(
        self,
        home: HomeDir,
        credentials: Credentials,
        sample: int | None,
        others: Container[str] | None,
        through: Sequence[str],
        on_checked: OnChecked,
        *,
        heads: bool = False,
    ) -> None:
        self._heads = heads
        self.moved_heads: dict[Path, str | None] = {}
        """By directory of a log: the head block that is pinned there now, if it is another one than before."""
        self._home = home
        self._credentials = credentials
        self._sample = sample
        self._others = others
        self._through = through
        self._on_checked = on_checked
        self._checked = self._total = 0
        self._stores: dict[str, Store] = {}
        self._service: PinService | None = None

    async def run(self, address: str) -> tuple[LostBatch, ...]:
        """Return the batches that the store or pin service at an address has lost."""
        if is_pin_service(address):
            self._service = open_pin_service(
                address,
                token=self._credentials.token(address),
                stores=lambda: [(store, self._credentials.token(store)) for store in self._through],
            )
        lost: list[LostBatch] = []
        try:
            tasks = list(self._tasks(address))
            self._total = sum(len(indexes) for _, _, _, indexes in tasks)
            for log, title, state, indexes in tasks:
                lost += await self._lost_of_log(log, title, state, indexes)
        finally:
            for place in (*self._stores.values(), *([self._service] if self._service is not None else ())):
                with suppress(StoreError):
                    await place.close()
        return tuple(lost)

    def _tasks(self, address: str) -> Iterator[tuple[Log, str, DeliveryState, Sequence[int]]]:
        """Yield each log with batches that the store has confirmed: log, title, state, and the batches to ask for."""
        for subsystem_dir in self._home.subsystem_dirs():
            logs = logs_of(subsystem_dir)
            title_of = titles(logs)
            for log in logs:
                for state in log.confirmations(1, [address]).states:
                    pruned = pruned_of(subsystem_dir)
                    indexes = [each for each in self._indexes(state, log.newest) if not pruned.has(log.name, each)]
                    yield log, title_of[log.log_dir.path], state, indexes

    async def _lost_of_log(self, log: Log, title: str, state: DeliveryState, indexes: Sequence[int]) -> list[LostBatch]:
        lost: list[LostBatch] = []
        at_once = _PARALLEL_CALLS if self._service is None else self._service.max_cids
        for start in range(0, len(indexes), at_once):
            group = indexes[start : start + at_once]
            if self._service is not None:
                lost += await self._check_pins(self._service, log, title, group)
            else:
                checked = await asyncio.gather(*(self._check(log, title, state, index) for index in group))
                lost += [batch for batch in checked if batch is not None]
            self._checked += len(group)
            self._on_checked(state.address, self._checked, self._total)
        if self._heads:
            head = await self._head_of(log, state, lost)
            if head != state.head:
                self.moved_heads[log.log_dir.path] = head
        return lost

    async def _head_of(self, log: Log, state: DeliveryState, lost: Sequence[LostBatch]) -> str | None:
        """Return the head block that is pinned there; a store that has lost it gets it again at once.

        The next run asks a pin service for it. A store that has lost the batch, too, gets both with the next run.
        """
        if self._service is not None:
            is_there = state.head is not None and await has_pinned(self._service, Cid.parse(state.head))
            return state.head if is_there else None
        if {batch.index for batch in lost}.isdisjoint(newest_confirmed(state, 1)):
            pruned = pruned_of(self._home.subsystem_dir(log.subsystem))
            return await repin_head(self._store(state.address), log.log_dir, state, pruned)
        return state.head

    def _indexes(self, state: DeliveryState, newest: int) -> Sequence[int]:
        if self._sample is not None:
            return sample_of(state, newest, self._sample)
        return state.confirmed(newest)

    async def _check_pins(self, service: PinService, log: Log, title: str, indexes: Sequence[int]) -> list[LostBatch]:
        """Check some batches at a pin service; those whose manifest cannot be read are left out."""
        headers = list(log.log_dir.batch_headers(indexes))
        statuses = await service.statuses([header.cid for header in headers]) if headers else {}
        return [
            LostBatch(
                subsystem=log.subsystem,
                index=header.manifest.index,
                cid=header.cid.text,
                title=f"{title} batch {header.manifest.index}",
                store=service.address,
                holding="not pinned",
                in_home=log.batches.has_payload(header.manifest.index, header.manifest.payload),
                elsewhere=tuple(log.confirmations(1).holders(header.manifest.index)),
                log_dir=log.log_dir,
            )
            for header in headers
            if statuses[header.cid].state != "pinned"
        ]

    async def _check(self, log: Log, title: str, state: DeliveryState, index: int) -> LostBatch | None:
        """Check one batch; `None` if the store has it, or if its CID is not known, because it cannot be read."""
        try:
            header = log.batches.facts(index)
        except (FormatError, FileNotFoundError):
            return None
        max_blocks = None if self._sample is None else SAMPLE_BLOCKS
        holding = await holding_of(self._store(state.address), header, max_blocks=max_blocks)
        if holding == "whole":
            return None
        in_home = log.batches.has_payload(index, header.manifest.payload)
        return LostBatch(
            subsystem=log.subsystem,
            index=index,
            cid=header.cid.text,
            title=f"{title} batch {index}",
            store=state.address,
            holding=holding,
            in_home=in_home,
            elsewhere=() if in_home else await self._elsewhere(log, header, state.address),
            log_dir=log.log_dir,
        )

    async def _elsewhere(self, log: Log, header: BatchHeader, address: str) -> tuple[str, ...]:
        """Return the other stores that have a whole batch; a store that does not answer is left out."""
        whole = []
        for holder in log.confirmations(1).holders(header.manifest.index):
            if holder != address and (self._others is None or holder in self._others):
                with suppress(StoreError):
                    if await holding_of(self._store(holder), header) == "whole":
                        whole.append(holder)
        return tuple(whole)

    def _store(self, address: str) -> Store:
        if address not in self._stores:
            self._stores[address] = open_store(address, token=self._credentials.token(address))
        return self._stores[address]
