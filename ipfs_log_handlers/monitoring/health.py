"""Check whether the records of a home are stored, sealed and shipped, and say what to do about each problem."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from ipfs_log_handlers.home import lock
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.os_errors import explain_os_error
from ipfs_log_handlers.keeper.addresses import Addresses
from ipfs_log_handlers.maintenance.repair import Repair
from ipfs_log_handlers.monitoring.health_check import HealthCheck
from ipfs_log_handlers.monitoring.home_checks import (
    check_home,
    check_keeper,
    check_key,
    check_logs,
    check_mount,
    check_place,
    check_space,
)
from ipfs_log_handlers.monitoring.imported_status import check_imported
from ipfs_log_handlers.monitoring.key_checks import check_keys
from ipfs_log_handlers.monitoring.name_check import check_name, check_name_at
from ipfs_log_handlers.monitoring.store_checks import check_batches_at, check_pin_service, check_privacy, check_store
from ipfs_log_handlers.monitoring.subsystem_checks import (
    Reading,
    check_files,
    check_set_aside,
    check_spool,
    check_waiting,
)
from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["check_health"]

_SAMPLED_AT_STORE: Final = 8
"""Number of batches of each log that a store is asked for, unless it is asked for all."""


def check_health(
    home: HomeDir,
    addresses: Addresses,
    credentials: Credentials | None = None,
    repairs: Sequence[Repair] | None = None,
    *,
    fetch: bool = False,
    every_batch: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[HealthCheck]:
    """Check a home and the stores that it ships to.

    Args:
        home: the home.
        addresses: the stores to ask; each has 10 seconds to answer.
        credentials: the credentials of the user; `None`: those of the environment.
        repairs: the outcomes of a repair just before; hints then say what else can be done. `None`: no repair was made.
        fetch: also ask stores whose address is only in the home's files.
        every_batch: read every batch, and ask each store for every batch that it has confirmed. Otherwise the newest
            400 of each log and a random 100 of the others are read, and the store is asked for 8 of each log, so that a
            check takes no longer in an old home; the outcome says how many these were.
        progress: called with the subsystem or store, the number of checked batches, and that of all batches to check.

    Raises:
        OSError: the home cannot be read.
    """
    checks = {
        "home": check_home,
        "mount": check_mount,
        "key": check_key,
        "logs": check_logs,
        "space": check_space,
        "keeper": check_keeper,
    }
    for name, check in checks.items():
        yield from _guarded(name, functools.partial(_one, check, home))
    yield from _guarded("place", functools.partial(_place, home))
    for subsystem_dir in home.subsystem_dirs():
        name, alone = subsystem_dir.name, _is_alone(home)
        yield from _guarded(f"{name} spool", functools.partial(check_spool, subsystem_dir, alone=alone))
        reading = Reading(subsystem_dir, every_batch=every_batch or repairs is not None, progress=progress)
        damaged = functools.partial(
            check_files, subsystem_dir, reading, repairs, alone=alone, stores=bool(addresses.all)
        )
        yield from _guarded(f"{name} files", damaged)
        yield from reading.outcome()
        yield from _guarded(f"{name} keys", functools.partial(check_keys, home, subsystem_dir))
        yield from _guarded(f"{name} set aside", functools.partial(check_set_aside, subsystem_dir))
    yield from _guarded("status", functools.partial(check_waiting, home))
    yield from _guarded("name", functools.partial(check_name, home))
    yield from _guarded("other homes", functools.partial(check_imported, home))
    if not addresses.all:
        yield HealthCheck(check="store", state="ok", found="none is configured: no record leaves this machine")
    credentials = credentials or Credentials.named()
    at_store = functools.partial(
        check_batches_at,
        home,
        credentials,
        others=None if fetch else addresses.named,
        sample=None if every_batch else _SAMPLED_AT_STORE,
        through=[address for address in addresses.all if fetch or address in addresses.named],
        progress=progress,
    )
    for address in addresses.all:
        if address not in addresses.named and not fetch:
            yield _not_asked("store", address, "--kubo or IPFS_LOGS_KUBO")
            continue
        store = check_store(address, credentials)
        if store.state != "fail":
            yield from _guarded("privacy", functools.partial(check_privacy, home, address, credentials))
        yield store if addresses.variable is None else replace(store, found=f"{addresses.variable}: {store.found}")
        if store.state != "fail":
            yield from _guarded("batches", functools.partial(at_store, address))
            yield from _guarded("name", functools.partial(check_name_at, home, address, credentials))
    for address in addresses.pins:
        if address not in addresses.named and not fetch:
            yield _not_asked("pin service", address, "--pin or IPFS_LOGS_PINS")
            continue
        service = check_pin_service(address, credentials, at_store.keywords["through"])
        yield service
        if service.state != "fail":
            yield from _guarded("batches", functools.partial(at_store, address))


def _not_asked(check: str, address: str, options: str) -> HealthCheck:
    """Say that a store or pin service was not asked, because its address may be that of a stranger."""
    return HealthCheck(
        check=check,
        state="ok",
        found=f"{address} was not asked: its address comes only from the home",
        hint=f"Use --fetch to ask it, or give its address with {options}.",
    )


def _guarded(name: str, checks: Callable[[], Iterator[HealthCheck]]) -> Iterator[HealthCheck]:
    """Run checks; an OSError becomes a failed check, and other checks go on."""
    try:
        yield from checks()
    except OSError as error:
        yield HealthCheck(check=name, state="fail", found=explain_os_error(error))


def _one(check: Callable[[HomeDir], HealthCheck], home: HomeDir) -> Iterator[HealthCheck]:
    yield check(home)


def _place(home: HomeDir) -> Iterator[HealthCheck]:
    check = check_place(home) if _is_alone(home) else None  # a keeper has decided it already
    if check is not None:
        yield check


def _is_alone(home: HomeDir) -> bool:
    """Return whether no keeper is running, as far as this user can see."""
    with contextlib.suppress(OSError):
        return lock.holder(home) is None
    return False
