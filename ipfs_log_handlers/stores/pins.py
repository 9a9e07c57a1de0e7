"""Open pin services, and define the contract that every pin service keeps: the second step, after a store.

A pin service keeps further copies of batches that a store has confirmed. It gets CIDs, never bytes: its own nodes fetch
the blocks from the store over the network of IPFS. A pin counts only when the service, asked for it, says `pinned`; the
answer to a request never counts. Its errors are those of a store (`stores/__init__.py`). Making a service uses no
network and no file, and no call is retried here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from ipfs_log_handlers.stores.address import normalise_token
from ipfs_log_handlers.stores.pin_address import REMOTE, normalise_pin_service, pin_service_name

if TYPE_CHECKING:
    from ipfs_log_handlers.format.cid import Cid

__all__ = ["PinService", "PinState", "PinStatus", "Stores", "open_pin_service", "preload"]

PinState = Literal["pinned", "waiting", "failed", "absent"]
"""`pinned`: as many of its nodes as asked for have every block; `waiting`: requested, and it works on it; `failed`: it
has given up; `absent`: it has no such request."""

Stores = Callable[[], Sequence[tuple[str, "str | None"]]]
"""Function that returns the addresses of the stores, in the order in which they are used, each with its token."""


@dataclass(frozen=True, slots=True)
class PinStatus:
    """The state of one pin, by the answer of its service."""

    state: PinState
    """The state."""
    reason: str = ""
    """The reason of a failure, in the words of the service; empty without one."""


class PinService(Protocol):
    """Keep further copies of pinned blocks. One event loop at a time uses a service."""

    @property
    def name(self) -> str:
        """The name of the service: 16 hex digits made of its address. A file name in the home."""

    @property
    def address(self) -> str:
        """The normalised address, never with a credential."""

    @property
    def max_cids(self) -> int:
        """Largest number of CIDs in one call of `statuses`."""

    async def statuses(self, cids: Sequence[Cid]) -> Mapping[Cid, PinStatus]:
        """Ask for the state of each of these pins; the answer has every one of them.

        Raises:
            StoreUnavailable: the service did not answer, or not for each of them.
            StoreDenied: address, token or name are wrong.
        """

    async def request(self, cid: Cid, name: str, *, again: bool = False) -> None:
        """Ask the service to pin the tree below a CID; return when it has taken the request.

        Args:
            cid: the root.
            name: the name of the pin, for people.
            again: the service has a request for this CID that has failed.

        Raises:
            StoreUnavailable, StoreDenied: as `statuses`.
        """

    async def remove(self, cids: Sequence[Cid]) -> None:
        """Remove pins and requests; one that does not exist is no error."""

    async def probe(self) -> str:
        """Ask the service what it is; return its kind, version and address for people."""

    async def close(self) -> None:
        """Close the connections; the service may be used again afterwards."""


def open_pin_service(address: str, *, token: str | None = None, stores: Stores = tuple) -> PinService:
    """Make the pin service at an address; no file is read and no connection is opened.

    Args:
        address: `cluster+http://HOST:9094` or `remote:SERVICE`.
        token: credential of a cluster: `bearer:…`, `basic:user:password`, `env:NAME` or `file:PATH`.
        stores: the stores, for a remote pinning service: the Kubo of one of them has its endpoint and key.

    Raises:
        ConfigurationError: address or token are malformed.
    """
    address = normalise_pin_service(address)
    name = pin_service_name(address)
    if address.startswith(REMOTE):
        from ipfs_log_handlers.stores.remote_pins import RemotePins

        return RemotePins(address, name=name, stores=stores)
    from ipfs_log_handlers.stores.cluster import ClusterPins

    return ClusterPins(address, token=normalise_token(token, "pins_token"), name=name)


def preload() -> None:
    """Import the modules that a pin service needs for its first call: see `stores.preload`."""
    import encodings.idna  # noqa: F401 - the codec of host names

    import ipfs_log_handlers.stores.cluster
    import ipfs_log_handlers.stores.remote_pins  # noqa: F401
    from ipfs_log_handlers.stores.kubo_rpc import own_version

    own_version()
