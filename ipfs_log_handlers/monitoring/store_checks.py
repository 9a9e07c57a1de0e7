"""Check the stores that a home ships to: whether they answer, and whether they still have what they confirmed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

from ipfs_log_handlers.concurrency import coroutines
from ipfs_log_handlers.errors import ConfigurationError, StoreError
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import policy_of
from ipfs_log_handlers.keeper.privacy_guard import refusal_of
from ipfs_log_handlers.keeper.recheck import lost_batches
from ipfs_log_handlers.monitoring.health_check import MAX_NAMES, SEND_AGAIN, HealthCheck, State, counted
from ipfs_log_handlers.stores import Exposure, ExposureTeller, StoreInfo, open_store
from ipfs_log_handlers.stores.credentials import Credentials
from ipfs_log_handlers.stores.pins import open_pin_service

__all__ = ["check_batches_at", "check_pin_service", "check_privacy", "check_store"]

_STORE_TIMEOUT_S: Final = 10.0
"""Seconds that a store has to answer."""


def check_store(address: str, credentials: Credentials) -> HealthCheck:
    """Check that a store answers in 10 seconds, and that it syncs what it confirms."""
    try:
        info = coroutines.run(functools.partial(_probe, address, credentials))
    except (StoreError, ConfigurationError) as error:
        return HealthCheck(check="store", state="fail", found=str(error))
    except (asyncio.TimeoutError, TimeoutError):
        found = f"{address} did not answer within {_STORE_TIMEOUT_S:.0f} s"
        return HealthCheck(check="store", state="fail", found=found)
    found = f"{info.kind} {info.version} at {info.address}"
    if info.syncs is False:
        return HealthCheck(
            check="store",
            state="warn",
            found=f"{found} does not sync its flatfs: a power cut there may lose confirmed blocks",
            hint="Set sync to true in its Datastore.Spec, or keep payloads in this home (no max_store_bytes).",
        )
    return HealthCheck(check="store", state="ok", found=found)


def check_privacy(home: HomeDir, address: str, credentials: Credentials) -> Iterator[HealthCheck]:
    """Say whether strangers can find what is shipped to a store, and whether a private subsystem would be shipped."""
    try:
        exposure = coroutines.run(functools.partial(_exposure, address, credentials))
    except (StoreError, ConfigurationError, asyncio.TimeoutError, TimeoutError):
        return  # the check of the store has said so
    if exposure is None:
        return
    private = [directory.name for directory in home.subsystem_dirs() if _ships_private(directory, address)]
    refused = [error for name in private if (error := refusal_of(name, address, exposure)) is not None]
    for error in refused:
        yield HealthCheck(check="privacy", state="fail", found=f"{error.where}: {error.message}", hint=error.hint)
    state: State = "ok" if exposure.announces is False and exposure.open_gateway is None else "warn"
    hint = None if refused else exposure.hint
    yield HealthCheck(check="privacy", state=state, found=f"{address}: {exposure.found}", hint=hint)


def _ships_private(subsystem_dir: SubsystemDir, address: str) -> bool:
    policy = policy_of(subsystem_dir)
    return policy.private and (address in policy.stores or not policy.stores)


async def _exposure(address: str, credentials: Credentials) -> Exposure | None:
    store = open_store(address, token=credentials.token(address))
    try:
        if not isinstance(store, ExposureTeller):
            return None
        return await asyncio.wait_for(store.exposure(), _STORE_TIMEOUT_S)
    finally:
        await store.close()


def check_pin_service(address: str, credentials: Credentials, through: Sequence[str]) -> HealthCheck:
    """Check that a pin service answers in 10 seconds, and takes the credential.

    Args:
        address: its address.
        credentials: the credentials of the user.
        through: addresses of the stores through which a remote pinning service may be asked.
    """
    try:
        found = coroutines.run(functools.partial(_probe_pin_service, address, credentials, through))
    except (StoreError, ConfigurationError) as error:
        return HealthCheck(check="pin service", state="fail", found=str(error))
    except (asyncio.TimeoutError, TimeoutError):
        found = f"{address} did not answer within {_STORE_TIMEOUT_S:.0f} s"
        return HealthCheck(check="pin service", state="fail", found=found)
    return HealthCheck(check="pin service", state="ok", found=found)


def check_batches_at(
    home: HomeDir,
    credentials: Credentials,
    address: str,
    *,
    others: Container[str] | None,
    sample: int | None,
    through: Sequence[str],
    progress: Callable[[str, int, int], None] | None,
) -> Iterator[HealthCheck]:
    """Ask a store or a pin service for batches that it has confirmed: it may have been replaced by an empty one."""
    checked = 0

    def note(store: str, number: int, total: int) -> None:
        nonlocal checked
        checked = number
        if progress is not None:
            progress(store, number, total)

    try:
        lost = lost_batches(
            home,
            address,
            credentials=credentials,
            sample=sample,
            others=others,
            through=through,
            on_checked=note,
        )
    except StoreError as error:
        yield HealthCheck(check="batches", state="fail", found=str(error))
        return
    if checked and not lost:
        found = f"{counted(checked, 'confirmed batch', 'confirmed batches')} checked at {address}: none is missing"
        yield HealthCheck(check="batches", state="ok", found=found)
    if lost:
        first = lost[0]
        found = (
            f"{address} does not have {len(lost):,} of {checked:,} confirmed batches that were checked,"
            f" {first.title} first ({first.holding})"
        )
        yield HealthCheck(check="batches", state="fail", found=found, hint=SEND_AGAIN)
    for batch in [batch for batch in lost if batch.gone][:MAX_NAMES]:
        found = f"the payload is lost in this home and in each checked store; {batch.store} had confirmed it"
        yield HealthCheck(check=batch.title, state="fail", found=found, hint="Restore that store from a copy.")


async def _probe(address: str, credentials: Credentials) -> StoreInfo:
    store = open_store(address, token=credentials.token(address))
    try:
        return await asyncio.wait_for(store.probe(), _STORE_TIMEOUT_S)
    finally:
        await store.close()


async def _probe_pin_service(address: str, credentials: Credentials, through: Sequence[str]) -> str:
    service = open_pin_service(
        address,
        token=credentials.token(address),
        stores=lambda: [(store, credentials.token(store)) for store in through],
    )
    try:
        return await asyncio.wait_for(service.probe(), _STORE_TIMEOUT_S)
    finally:
        await service.close()
