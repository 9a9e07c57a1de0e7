"""Open what a mirror copies from: a name, a CID, CAR files, or another home."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ipfs_log_handlers.config import configured_home
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format.checkpoint import VerifierKey
from ipfs_log_handlers.format.home_head import HomeHead
from ipfs_log_handlers.home import lookup
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.query.opening import open_elsewhere
from ipfs_log_handlers.reader.car_parts import CarSource, car_files
from ipfs_log_handlers.reader.fetch import Fetcher
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.head_parts import HeadSource
from ipfs_log_handlers.reader.named_parts import NamedSource, name_of
from ipfs_log_handlers.sharing.offered_logs import Opened, offered_by_cars, offered_by_head, offered_by_home

__all__ = ["MirrorSource", "open_mirror_source"]


class MirrorSource(Protocol):
    """A source of logs that are mirrored."""

    @property
    def given(self) -> str:
        """The source, as it was given."""

    @property
    def name(self) -> str | None:
        """The name under which its logs are remembered; `None` for what its CID fixes."""

    @property
    def changes(self) -> bool:
        """Whether it may offer more later."""

    @property
    def home_head(self) -> HomeHead | None:
        """The home head that listed its logs; `None` for another source."""

    def offers(self, *, again: bool) -> Iterator[Opened] | None:
        """List its logs; `None`: as at the last look.

        Args:
            again: list them also if they are as before.

        Raises:
            LogStoreError: it cannot be read, or nobody who is trusted has signed it.
        """

    def close(self) -> None:
        """Close files and connections."""


def open_mirror_source(
    given: str | Path,
    keys: Sequence[VerifierKey],
    *,
    kubo: str | None,
    gateway: str | None,
    token: str | None,
    fetch: bool,
) -> MirrorSource:
    """Open a source; no network is used.

    Args:
        given: as for `open_dataset`.
        keys: the keys to trust.
        kubo: address of the daemon that is asked for the blocks of a CID or name.
        gateway: address of the HTTP gateway that is asked for them.
        token: credential of the daemon.
        fetch: of another home, also ask stores whose address is only in its files.

    Raises:
        ConfigurationError: it is no source, or it needs exactly one of `kubo` and `gateway`.
        HomeError: a directory is missing, or belongs to something else.
    """
    gaps: list[Gap] = []
    path = Path(given)
    is_home = path.is_dir() and (lookup.is_home(HomeDir(path.absolute())) or not any(path.rglob("*.car")))
    opened = (
        None
        if is_home
        else open_elsewhere(given, gaps.append, keys=keys, verify="batch", kubo=kubo, gateway=gateway, token=token)
    )
    if isinstance(opened, NamedSource):
        return _Name(str(given), opened, gaps)
    if isinstance(opened, HeadSource):
        return _Fixed(str(given), opened, gaps)
    if opened is not None:
        return _Cars(str(given), path, keys)
    home = HomeDir(configured_home(given))
    lookup.check_home(home)
    return _Home(str(given), home, keys, Fetcher(fetch=fetch))


class _Name:
    """A name that leads to the newest head of a log or home, or the file of a home head."""

    changes = True

    def __init__(self, given: str, source: NamedSource, gaps: list[Gap]) -> None:
        self.given = given
        name = name_of(given)
        self.name = os.path.realpath(given) if name is None else f"/ipns/{name}"
        self._source = source
        self._gaps = gaps

    @property
    def home_head(self) -> HomeHead | None:
        known = self._source.known
        return None if known is None else known.home_head

    def offers(self, *, again: bool) -> Iterator[Opened] | None:
        is_newer = self._source.refresh()
        known = self._source.known
        if known is None:
            raise ConfigurationError("a name that leads to nothing", where=self.given)
        return offered_by_head(known, self._gaps) if is_newer or again else None

    def close(self) -> None:
        self._source.close()


class _Fixed:
    """A head block, snapshot or home head, which does not change."""

    name = None
    changes = False

    def __init__(self, given: str, source: HeadSource, gaps: list[Gap]) -> None:
        self.given = given
        self._source = source
        self._gaps = gaps

    @property
    def home_head(self) -> HomeHead | None:
        return self._source.home_head

    def offers(self, *, again: bool) -> Iterator[Opened]:
        del again
        return offered_by_head(self._source, self._gaps)

    def close(self) -> None:
        self._source.close()


class _Cars:
    """CAR files; they are read once."""

    changes = False
    home_head = None

    def __init__(self, given: str, path: Path, keys: Sequence[VerifierKey]) -> None:
        self.given, self.name = given, os.path.realpath(path)
        self._path = path
        self._keys = keys

    def offers(self, *, again: bool) -> Iterator[Opened]:
        del again
        gaps: list[Gap] = []
        return offered_by_cars(CarSource(car_files(self._path), gaps.append), self._keys, gaps)

    def close(self) -> None:
        """Do nothing: no file stays open."""


class _Home:
    """Another home on this machine, or on a disk that this machine sees."""

    changes = True
    home_head = None

    def __init__(self, given: str, home: HomeDir, keys: Sequence[VerifierKey], fetcher: Fetcher) -> None:
        self.given, self.name = given, os.path.realpath(home.path)
        self._home = home
        self._keys = keys
        self._fetcher = fetcher

    def offers(self, *, again: bool) -> Iterator[Opened]:
        del again
        return offered_by_home(self._home, self._keys, self._fetcher, [])

    def close(self) -> None:
        self._fetcher.close()
