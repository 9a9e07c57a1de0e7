"""Read what the catalogue of a home says of the batches of a log, as far as a query needs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import msgspec

from ipfs_log_handlers.home.catalogue import GROUP, Catalogue
from ipfs_log_handlers.home.logs import Log

__all__ = ["CatalogueEntry", "catalogued"]


class CatalogueEntry(msgspec.Struct):
    """The values of a batch in the catalogue that a query needs."""

    log: str
    index: int
    records: int
    first: str
    last: str
    size: int
    encoding: str

    def zone(self) -> None:
        """Say that the catalogue has no zone map."""


_decode_entry: Final = msgspec.json.Decoder(CatalogueEntry).decode


def _entry(line: bytes) -> CatalogueEntry | None:
    with suppress(msgspec.MsgspecError):
        return _decode_entry(line)
    return None


def catalogued(log: Log) -> Iterator[tuple[int, CatalogueEntry]]:
    """Read what the catalogue says of the batches of a log, by number."""
    first = 0
    for text in Catalogue(log.log_dir.batches).groups():
        lines = text.split(b"\n")
        if first + GROUP > log.newest + 1 or len(lines) != GROUP + 1:
            return
        for index, line in enumerate(lines[:GROUP], first):
            entry = _entry(line)
            if entry is not None and (entry.log, entry.index) == (log.name, index):
                yield index, entry
        first += GROUP
