"""Find manifests of a home's logs that stores have pinned and the home does not have.

A number that was signed twice is found only if both manifests can be read: one may be in the home and the other at a
store, for example after a rollback that no program can detect. Every answer of a store is hashed again. A store can pin
blocks that no one has signed, so a finding names the store of the other manifest.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ipfs_log_handlers.concurrency import coroutines
from ipfs_log_handlers.errors import ConfigurationError, FormatError, LogStoreError, StoreError, VerificationError
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.stores import PinLister, Store, open_store
from ipfs_log_handlers.stores.credentials import Credentials
from ipfs_log_handlers.verify.problems import Problem

__all__ = ["Pins", "StoreView", "list_pins", "other_manifests"]

_TIMEOUT_S = 30.0
"""Seconds that a store has to list its pins, and again to return the blocks of pins that the home does not know."""
_MAX_BLOCKS = 10_000
"""Largest number of blocks that a store is asked for; other homes and programs may have pins there, too."""
_PARALLEL_CALLS = 8
"""Number of blocks that a store is asked for at the same time."""

Pins = Mapping[str, frozenset[Cid]]
"""The pins of each store, by address."""


@dataclass(frozen=True, slots=True)
class StoreView:
    """The stores to ask, and the function that gets the reason if a store could not be asked."""

    addresses: tuple[str, ...]
    """Addresses of the stores."""
    credentials: Credentials
    """The credentials of the user."""
    on_problem: Callable[[str, str], None]
    """Called with the address of a store that did not answer every question, and the reason."""

    def open(self, address: str) -> Store:
        """Make a store."""
        return open_store(address, token=self.credentials.token(address))


def list_pins(view: StoreView) -> dict[str, frozenset[Cid]]:
    """List the pins of each store; a store that cannot list them is reported and left out.

    This comes before the home is read, so that a batch that is sealed and shipped meanwhile is no finding.
    """
    pins: dict[str, frozenset[Cid]] = {}
    for address in view.addresses:
        try:
            pins[address] = coroutines.run(functools.partial(_list_pins, view.open(address)))
        except (StoreError, VerificationError, ConfigurationError, asyncio.TimeoutError) as error:
            view.on_problem(address, _words(error))
    return pins


async def _list_pins(store: Store) -> frozenset[Cid]:
    try:
        if not isinstance(store, PinLister):
            return frozenset()
        return await asyncio.wait_for(store.list_pins(), _TIMEOUT_S)
    finally:
        await store.close()


def other_manifests(view: StoreView, pins: Pins, known: Mapping[str, Sequence[Cid | None]]) -> dict[str, list[Problem]]:
    """Find the manifests at stores that contradict the manifests of the home, or come after them.

    Args:
        view: the stores.
        pins: the pins of each store, from before the home was read.
        known: by log, the CIDs of its manifests in the home; `None` for one that cannot be read.

    Returns:
        Problems, by log.
    """
    problems: dict[str, list[Problem]] = {}
    own = {cid for cids in known.values() for cid in cids if cid is not None}
    for address, pinned in pins.items():
        unknown = sorted((cid for cid in pinned if cid.codec == DAG_CBOR and cid not in own), key=lambda cid: cid.text)
        if len(unknown) > _MAX_BLOCKS:
            view.on_problem(address, f"it has {len(unknown)} pins that are not in the home; {_MAX_BLOCKS} were read")
        try:
            question = functools.partial(_get_blocks, view.open(address), unknown[:_MAX_BLOCKS])
            blocks = coroutines.run(question)
        except (StoreError, VerificationError, ConfigurationError, asyncio.TimeoutError) as error:
            view.on_problem(address, _words(error))
            continue
        claims = {claim for entry in blocks.items() if (claim := _claim(entry)) is not None}
        for log, index, manifest in sorted(claims, key=lambda claim: (*claim[:2], claim[2].text)):
            if log not in known or manifest in own:
                continue
            cids = known[log]
            here = cids[index] if index < len(cids) else None
            if index >= len(cids):
                expected, found = f"at most batch {len(cids) - 1}", f"batch {index}, {manifest.text}, at {address}"
                problems.setdefault(log, []).append(Problem(index, "store", expected, found))
            elif here is not None:
                expected, found = f"one manifest, {here.text}", f"another one, {manifest.text}, at {address}"
                problems.setdefault(log, []).append(Problem(index, "manifest", expected, found))
    return problems


async def _get_blocks(store: Store, cids: Sequence[Cid]) -> dict[Cid, bytes]:
    """Get the blocks that a store has; blocks that are missing or damaged there are left out."""
    blocks: dict[Cid, bytes] = {}
    limit = asyncio.Semaphore(_PARALLEL_CALLS)

    async def get(cid: Cid) -> None:
        async with limit:
            with suppress(StoreError, VerificationError):
                block = await store.get(cid)
                cid.verify(block)
                blocks[cid] = block

    try:
        await asyncio.wait_for(_all(map(get, cids)), _TIMEOUT_S)
    finally:
        await store.close()
    return blocks


async def _all(questions: Iterable[object]) -> None:
    await asyncio.gather(*questions)  # type: ignore[call-overload]


def _claim(entry: tuple[Cid, bytes]) -> tuple[str, int, Cid] | None:
    """Return log, number and manifest of a block that is a manifest or a head block; else `None`."""
    cid, block = entry
    with suppress(FormatError):
        manifest = Manifest.decode(block)
        return manifest.log, manifest.index, cid
    with suppress(FormatError):
        head = Head.decode(block)
        return head.log, head.index, head.manifest
    return None


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, LogStoreError) else "no answer in time"
