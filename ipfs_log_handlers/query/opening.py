"""Determine the kind of a source: a home, CAR files, or a CID at a daemon or gateway."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format.checkpoint import VerifierKey
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import lookup
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.car_parts import CarSource, car_files
from ipfs_log_handlers.reader.fetch import Fetcher
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.head_file import HomeHeadFile
from ipfs_log_handlers.reader.head_parts import HeadSource
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.named_parts import NamedSource, name_of
from ipfs_log_handlers.reader.parts import Source, Verify

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["open_elsewhere"]


def open_elsewhere(
    given: str | Path,
    on_gap: Callable[[Gap], None],
    *,
    keys: Sequence[VerifierKey],
    verify: Verify,
    kubo: str | None,
    gateway: str | None,
    token: str | None,
    keyring: Keyring = NO_KEYS,
) -> Source | None:
    """Open a source that is not a home.

    Args:
        given: a CAR file, a directory with CAR files, the CID of a head block, manifest, snapshot or home head, a name
            `/ipns/…`, or the file of a home head.
        on_gap: called with each gap.
        keys: the keys that must have signed; empty: no signature is checked.
        verify: how much of a batch is verified.
        kubo: address of the daemon that is asked for blocks.
        gateway: address of the gateway that is asked for blocks.
        token: credential of the daemon.
        keyring: opens encrypted batches.

    Returns:
        `None` for a directory that is a home or is missing.

    Raises:
        ConfigurationError: a CID, name or home head without a daemon or gateway, or with both; a name or home head
            without a key.
    """
    path = Path(given)
    head_file = _home_head_file(path) if path.is_file() else None
    if path.is_file() and head_file is None:
        return CarSource(car_files(path), on_gap, keys=keys, verify=verify, keyring=keyring)
    if path.is_dir():
        if lookup.is_home(HomeDir(path.absolute())) or not any(path.rglob("*.car")):
            return None
        return CarSource(car_files(path), on_gap, keys=keys, verify=verify, keyring=keyring)
    name = name_of(given) if isinstance(given, str) and head_file is None else None
    cid = _cid(given) if name is None and head_file is None else None
    if cid is None and name is None and head_file is None:
        return None
    if (kubo is None) == (gateway is None):
        what = "a CID" if head_file is None else "a home head"
        raise ConfigurationError(
            f"{what} needs exactly one place to ask", where="source", expected="either kubo or gateway", found=given
        )
    get: Callable[[Cid], bytes]
    resolve: Callable[[str], Cid]
    ask: Callable[[Cid], Future[bytes]]
    if gateway is not None:
        from ipfs_log_handlers.reader.gateway import Gateway

        blocks = Gateway(gateway)
        get, ask, resolve, close = blocks.get, blocks.ask, blocks.resolve, blocks.close
    else:
        fetcher = Fetcher([kubo or ""], token=token)
        get, ask = partial(fetcher.get, addresses=()), partial(fetcher.ask, addresses=())
        resolve, close = fetcher.resolve, fetcher.close

    def source(start: Cid, before: HeadSource | None = None) -> HeadSource:
        ended = close if cid is not None else _nothing
        return HeadSource(start, get, ended, on_gap, ask=ask, keys=keys, verify=verify, before=before, keyring=keyring)

    if cid is not None:
        return source(cid)
    if not keys:
        raise ConfigurationError(
            "a name needs a key: the daemon or gateway could answer with any head"
            if head_file is None
            else "a home head needs a key: anybody could have written the file",
            where=given,
            hint="Give the verifier key of the home, as `ipfs-logs keys show` prints it.",
        )
    if head_file is not None:
        get, resolve = partial(head_file.get, elsewhere=get), head_file.resolve
    return NamedSource(name or str(given), resolve, source, close, on_gap)


def _home_head_file(path: Path) -> HomeHeadFile | None:
    """Return the file of a home head; `None` for another file."""
    with suppress(FormatError, OSError):
        return HomeHeadFile(Path(os.path.realpath(path)))
    return None


def _nothing() -> None:
    """Close nothing: connections end with the name."""


def _cid(given: str | Path) -> Cid | None:
    with suppress(FormatError):
        return Cid.from_user(str(given)) if isinstance(given, str) else None
    return None
