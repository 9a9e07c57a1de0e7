"""Publish a home once, now; if another process is the keeper, ask that process to do it and wait for its outcome."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ipfs_log_handlers import stores
from ipfs_log_handlers.concurrency import clock, coroutines
from ipfs_log_handlers.errors import ConfigurationError, StoreDenied, StoreError, StoreUnavailable
from ipfs_log_handlers.format.home_head import HomeHead
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import lock, name_state, requests
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import policy_of
from ipfs_log_handlers.home.name_state import NameState, PublishError
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.keeper.delivery import retry_delays
from ipfs_log_handlers.keeper.publishing import Publication, head_file, load_state, prepare_head, published_logs
from ipfs_log_handlers.stores import Store
from ipfs_log_handlers.stores.credentials import Credentials

__all__ = ["HomeHeadFile", "Published", "make_head_file", "publish_now"]

_POLL_S: Final = 0.1
"""Seconds between two looks at what another keeper has done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A home head that a store has given back for the name of the home."""

    name: str
    """The IPNS name, `k51…`."""
    cid: str
    """CID of the home head."""
    counter: int
    """Counter of the home head."""
    sequence: int
    """Sequence number of the record of the name."""
    logs: int
    """Number of logs that the home head links."""
    store: str
    """Address of the store that resolved the name."""
    until: str
    """End of the record, RFC 3339; it must be renewed before."""

    def as_json(self) -> dict[str, Any]:
        """Return it with the keys of `ipfs-logs publish`."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeHeadFile:
    """The file of a home head: what a reader without IPNS needs beside a daemon or gateway."""

    cid: str
    """CID of the home head."""
    counter: int
    """Counter of the home head."""
    logs: int
    """Number of logs that it links."""
    content: bytes
    """The bytes of the file, a CAR."""

    def as_json(self) -> dict[str, Any]:
        """Return it with the keys of `ipfs-logs publish --to`."""
        return {"cid": self.cid, "counter": self.counter, "logs": self.logs, "size": len(self.content)}


def publish_now(home: HomeDir, addresses: Sequence[str], credentials: Credentials, *, timeout: float) -> Published:
    """Publish what is shipped, send the record of the name anew, and let a store resolve it.

    Args:
        home: the home.
        addresses: the stores.
        credentials: the credentials of the user.
        timeout: seconds after which this gives up; each store is tried at least once.

    Raises:
        ConfigurationError: nothing is shipped, there is no store, or another keeper ships to other stores.
        StoreError: no store has resolved the name.
        HomeError: a key cannot be used.
        OSError: the home cannot be read or written.
    """
    _refuse_nowhere(addresses)
    until = clock.monotonic() + timeout
    while (held := lock.take(home)) is None:
        state = _by_other_keeper(home, addresses, until, requests.ask_to_publish, _is_published_since(clock.wall()))
        if state is not None:
            return _published(state)
    try:
        return _published(coroutines.run(functools.partial(_try, held, addresses, credentials, until)))
    finally:
        held.release()


def make_head_file(home: HomeDir, addresses: Sequence[str], *, timeout: float) -> HomeHeadFile:
    """Make the file of a home head of what is shipped now; no store is asked, and no name is needed.

    Args:
        home: the home.
        addresses: the stores.
        timeout: seconds that another keeper gets.

    Raises:
        ConfigurationError: nothing is shipped, or there is no store.
        StoreUnavailable: another process is the keeper, and has not made it in time.
        HomeError: a key cannot be used.
        OSError: the home cannot be read or written.
    """
    _refuse_nowhere(addresses)
    until = clock.monotonic() + timeout
    while (held := lock.take(home)) is None:
        if _by_other_keeper(home, addresses, until, requests.ask_to_publish, _has_newest_head(home, addresses)):
            break
    if held is None:
        return _file(*_newest(home, addresses))
    try:
        return _file(*_made(held, addresses))
    finally:
        held.release()


def _refuse_nowhere(addresses: Sequence[str]) -> None:
    if not addresses:
        raise ConfigurationError(
            "there is no store to publish with", hint="Give the address of a daemon with --kubo or IPFS_LOGS_KUBO."
        )


async def _try(held: lock.KeeperLock, addresses: Sequence[str], credentials: Credentials, until: float) -> NameState:
    """Publish until it succeeds or the time is over; note the last error for `status`."""
    opened: dict[str, Store] = {
        address: stores.open_store(address, token=credentials.token(address)) for address in addresses
    }
    delays = retry_delays()
    try:
        while True:
            try:
                return await Publication(held.home, opened, held.holds, again=True).run()
            except StoreError as error:
                delay = next(delays)
                if isinstance(error, StoreDenied) or clock.monotonic() + delay >= until:
                    moment = clock.wall()
                    trouble = PublishError(explain_any(error), moment, moment)
                    name_state.store(held.home, replace(load_state(held.home), last_error=trouble), sync=False)
                    raise
            await asyncio.sleep(delay)
    finally:
        for store in opened.values():
            await store.close()


def _published(state: NameState) -> Published:
    confirmed, head = state.confirmed, state.head
    if confirmed is None or head is None:
        raise StoreUnavailable("the home is not published")
    return Published(
        name=state.name,
        cid=confirmed.cid,
        counter=head.counter,
        sequence=confirmed.sequence,
        logs=len(head.logs),
        store=confirmed.address,
        until=rfc3339(confirmed.until),
    )


def _made(held: lock.KeeperLock, addresses: Sequence[str]) -> tuple[HomeHead, dict[Any, bytes]]:
    head, choice = prepare_head(held.home, addresses, held.holds)
    return head, dict(choice.blocks)


def _file(head: HomeHead, blocks: dict[Any, bytes]) -> HomeHeadFile:
    return HomeHeadFile(cid=head.cid.text, counter=head.counter, logs=len(head.logs), content=head_file(head, blocks))


# -- another process is the keeper


def _by_other_keeper(
    home: HomeDir,
    addresses: Sequence[str],
    until: float,
    ask: Callable[..., Any],
    is_done: Callable[[NameState], bool],
) -> NameState | None:
    """Ask the other keeper and wait until a state is reached.

    Returns:
        The state; `None` if there is no keeper any more.

    Raises:
        ConfigurationError: the other keeper ships to other stores.
        StoreUnavailable: the time is over.
    """
    configured = {address for directory in home.subsystem_dirs() for address in policy_of(directory).stores}
    foreign = [address for address in addresses if address not in configured]
    if foreign and configured:
        raise ConfigurationError(
            "another process is the keeper of this home, and publishes at its own stores",
            expected=", ".join(sorted(configured)),
            found=", ".join(foreign),
        )
    begun = clock.wall()
    request = ask(home.requests)
    try:
        while True:
            state = load_state(home)
            if is_done(state):
                return state
            keeper = lock.holder(home)
            if keeper is None:
                return None
            if clock.monotonic() >= until:
                raise _given_up(state, keeper, begun)
            clock.pause(_POLL_S)
    finally:
        requests.drop(request)


def _given_up(state: NameState, keeper: dict[str, Any], begun: float) -> StoreUnavailable:
    error = state.last_error
    if error is not None and error.at >= begun:
        return StoreUnavailable(error.message)
    return StoreUnavailable(
        f"process {keeper['pid']} on {keeper['host']} is the keeper of this home, and did not publish it in time",
        hint="Wait longer with --timeout, or stop that process and run this again.",
    )


def _is_published_since(begun: float) -> Callable[[NameState], bool]:
    return lambda state: state.is_published and state.confirmed is not None and state.confirmed.at >= begun


def _has_newest_head(home: HomeDir, addresses: Sequence[str]) -> Callable[[NameState], bool]:
    def is_newest(state: NameState) -> bool:
        head = state.head
        return head is not None and head.logs == published_logs(home, addresses, head).logs

    return is_newest


def _newest(home: HomeDir, addresses: Sequence[str]) -> tuple[HomeHead, dict[Any, bytes]]:
    head = load_state(home).head
    if head is None:
        raise StoreUnavailable("the newest home head was removed while it was read")
    return head, dict(published_logs(home, addresses, head).blocks)
