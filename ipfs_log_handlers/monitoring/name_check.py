"""Check the name of a home: whether what is shipped is published, and whether a store can resolve the name."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Final

from ipfs_log_handlers.concurrency import coroutines
from ipfs_log_handlers.errors import ConfigurationError, StoreError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import policy_of
from ipfs_log_handlers.monitoring.health_check import HealthCheck
from ipfs_log_handlers.monitoring.name_status import NameStatus, name_status
from ipfs_log_handlers.stores import NameService, open_store
from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["check_name", "check_name_at"]

_STORE_TIMEOUT_S: Final = 10.0
"""Seconds that a store has to answer."""
_ROUTING: Final = (
    "Set Ipns.UsePubsub to true on this daemon and on those of the readers"
    " (`ipfs config --json Ipns.UsePubsub true`, then restart it), or give readers its gateway, or a file:"
    " `ipfs-logs publish --to FILE`."
)
"""Hint: what to do where no routing carries names."""


def check_name(home: HomeDir) -> Iterator[HealthCheck]:
    """Check what the home says of its own name; a home that shall not be published has no check."""
    status = name_status(home)
    if status is None:
        if any(policy_of(subsystem_dir).publish for subsystem_dir in home.subsystem_dirs()):
            found = "this home shall be published, and was not yet"
            hint = "It is published after its first batch is shipped; `ipfs-logs publish` does it now."
            yield HealthCheck(check="name", state="warn", found=found, hint=hint)
        return
    where = f"/ipns/{status.name}" if status.name else "the name"
    if status.last_error is not None:
        yield HealthCheck(check="name", state="warn", found=f"{where} is not up to date: {status.last_error}")
    elif status.cid is not None:
        found = f"{where} leads to {status.cid}, until {(status.until or '')[:19]}Z"
        yield HealthCheck(check="name", state="ok", found=found)


def check_name_at(home: HomeDir, address: str, credentials: Credentials) -> Iterator[HealthCheck]:
    """Let a store resolve the name; where it cannot, say what its routing needs."""
    status = name_status(home)
    if status is None or status.name is None:
        return
    try:
        found, routing = coroutines.run(functools.partial(_asked, address, credentials, status.name))
    except (StoreError, ConfigurationError, asyncio.TimeoutError, TimeoutError) as error:
        reason = str(error) or "no answer in time"
        yield HealthCheck(check="name", state="warn", found=f"{address} cannot be asked for the name: {reason}")
        return
    yield _outcome(address, status, found, routing)


def _outcome(address: str, status: NameStatus, found: Cid | str, routing: str | None) -> HealthCheck:
    name = f"/ipns/{status.name}"
    if isinstance(found, str):
        why = f"its Routing.Type is {routing}: it has no routing for names" if routing == "none" else found
        return HealthCheck(check="name", state="warn", found=f"{address} does not resolve {name}: {why}", hint=_ROUTING)
    if found.text != status.cid:
        return HealthCheck(
            check="name",
            state="warn",
            found=f"{address} resolves {name} to {found}, not to what this home published: {status.cid}",
            hint="Run `ipfs-logs publish`. If it comes again, a copy of this home publishes under the same name.",
        )
    return HealthCheck(check="name", state="ok", found=f"{address} resolves {name}")


async def _asked(address: str, credentials: Credentials, name: str) -> tuple[Cid | str, str | None]:
    """Return the block to which the name leads, or why not; and the kind of routing, if the store says it."""
    store = open_store(address, token=credentials.token(address))
    try:
        if not isinstance(store, NameService):
            return "this store knows no names", None
        try:
            return await store.resolve_name(name, deadline_s=_STORE_TIMEOUT_S), None
        except StoreError as error:
            reason = str(error.found or error)
        routing = getattr(store, "routing_type", None)
        return reason, None if routing is None else await asyncio.wait_for(routing(), _STORE_TIMEOUT_S)
    finally:
        await store.close()
