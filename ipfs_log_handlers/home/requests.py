"""Send requests to the keeper from another process, by files in `requests/`; the name of a file is the request.

`<pid>-<hex>` asks to seal and ship now. It is empty, or a JSON list of addresses: as long as the file exists, every
batch is also shipped to these stores, and pinned by these pin services. It may also be the JSON text `"publish"`: then
the home is published, too. `<store>@<pid>-<hex>` is empty and offers to become the keeper, because that store refused
the keeper and the process of the offer has a credential for it; the keeper removes an offer when it accepts it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.stores.address import normalise
from ipfs_log_handlers.stores.pin_address import is_pin_service, normalise_pin_service

__all__ = ["STALE", "Pending", "ask", "ask_to_publish", "drop", "offer", "pending"]

STALE: Final = 3600.0
"""Seconds after which a request is removed, because its process has probably died."""
_OF: Final = "@"
"""Character between the name of a store and the name of the offer to become the keeper."""
_MAX_BYTES: Final = 64 << 10
"""Largest number of bytes of a request; the addresses in a larger one are ignored."""
_PUBLISH: Final = "publish"
"""Content of a request to publish."""
_MAX_STORES: Final = 64
"""Largest number of addresses in one request; further ones are left out."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The current requests."""

    asked: frozenset[str] = frozenset()
    """Names of the requests to seal and ship now."""
    stores: tuple[str, ...] = ()
    """Addresses of further stores in these requests, normalised, without repeated ones."""
    pins: tuple[str, ...] = ()
    """Addresses of further pin services in these requests, in the same way."""
    offered: frozenset[str] = frozenset()
    """Names of the offers to become the keeper."""
    publish: frozenset[str] = frozenset()
    """Names of the requests to publish the home now; they are in `asked`, too."""

    def offers_for(self, stores: frozenset[str]) -> frozenset[str]:
        """Return the offers for one of these stores, given by name."""
        return frozenset(offered for offered in self.offered if offered.rpartition(_OF)[0] in stores)


def ask(directory: Path, stores: Sequence[str] = ()) -> Path:
    """Leave a request to seal and ship now; the process that asked removes it with `drop`.

    Args:
        directory: the home's directory of requests.
        stores: addresses of further stores and pin services to use while the request exists, without credentials.

    Raises:
        OSError: the request cannot be written.
    """
    if not stores:
        return _leave(directory, "")
    disk.ensure_directory(directory)
    path = directory / _name("")
    disk.replace(path, json.dumps(list(stores)).encode(), sync=False)
    return path


def ask_to_publish(directory: Path) -> Path:
    """Leave a request to seal, ship and publish now; the process that asked removes it with `drop`.

    Raises:
        OSError: the request cannot be written.
    """
    disk.ensure_directory(directory)
    path = directory / _name("")
    disk.replace(path, json.dumps(_PUBLISH).encode(), sync=False)
    return path


def offer(directory: Path, store: str) -> Path:
    """Leave an offer to become the keeper for a store, given by name; `drop` removes it."""
    return _leave(directory, store + _OF)


def _leave(directory: Path, prefix: str) -> Path:
    disk.ensure_directory(directory)
    path = directory / _name(prefix)
    disk.close(disk.new_file(path, os.O_WRONLY | os.O_EXCL))
    return path


def _name(prefix: str) -> str:
    return f"{prefix}{os.getpid()}-{os.urandom(6).hex()}"


def drop(path: Path) -> None:
    """Remove a request."""
    with contextlib.suppress(OSError):
        disk.remove(path)


def pending(directory: Path) -> Pending:
    """Read the current requests; remove stale ones."""
    standing = set()
    now = clock.wall()
    try:
        disk.check_owner(directory)
        names = disk.names(directory)
    except OSError:
        return Pending()
    for name in names:
        if name.endswith(".tmp"):  # a request that is being written
            continue
        with contextlib.suppress(OSError):
            if now - disk.status(directory / name).st_mtime > STALE:
                disk.remove(directory / name)
            else:
                standing.add(name)
    offered = frozenset(name for name in standing if _OF in name)
    asked = frozenset(standing) - offered
    contents = {name: _content(directory, name) for name in sorted(asked)}
    addresses = dict.fromkeys(_addresses_in(contents.values()))
    return Pending(
        asked=asked,
        stores=tuple(address for address in addresses if not is_pin_service(address)),
        pins=tuple(filter(is_pin_service, addresses)),
        offered=offered,
        publish=frozenset(name for name, content in contents.items() if content == _PUBLISH),
    )


def _content(directory: Path, name: str) -> object:
    """Read a request; `None` if it cannot be read, or is empty."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        data = disk.read(directory / name, _MAX_BYTES)
        content: object = json.loads(data) if data else None
        return content
    return None


def _addresses_in(contents: Iterable[object]) -> Iterator[str]:
    """Yield the valid addresses in requests, up to the first one that is malformed of each."""
    for addresses in contents:
        with contextlib.suppress(ValueError):
            for address in addresses[:_MAX_STORES] if isinstance(addresses, list) else ():
                if isinstance(address, str):
                    yield (normalise_pin_service if is_pin_service(address) else normalise)(address)
