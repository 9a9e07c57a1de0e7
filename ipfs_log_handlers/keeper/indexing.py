"""Write the index pages of a log in the keeper: only from the batches, and each page in one step.

The steps, and the state of the disk after a crash in each: (1) The keeper reads the batches of a page; the disk is
unchanged. (2) The page stands in a `.tmp` file; no reader opens it, and the next keeper removes it. (3) The page is
renamed and replaces the older page. No other file names a page, so each page is either used or ignored.

The keeper makes a page again when a reader cannot use it: the page is missing, damaged, of another log or version, or
lacks a field that the subsystem now lists in `ids`. The keeper reads root and entries of every page once; `ipfs-logs
doctor` reads pages whole.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import unixfs
from ipfs_log_handlers.format.bloom import (
    BATCH_BITS,
    MAX_BATCH_BLOCKS,
    MAX_PAGE_BLOCKS,
    PAGE_BITS,
    BloomFilter,
    block_count,
    hashes_in,
)
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.index_page import MAX_FIELDS, PAGE_BATCHES, IndexPage, PageEntry, entry_line
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home.index_pages import IndexPages, StoredPage
from ipfs_log_handlers.stats.decoder import compiled_rules
from ipfs_log_handlers.subsystems.rules import Rules

__all__ = [
    "MIN_NEW_BATCHES",
    "IndexedBatch",
    "IndexedBatches",
    "IndexedLog",
    "Indexing",
    "read_batch",
    "unpacked",
]

MIN_NEW_BATCHES: Final = 8
"""Number of batches without an entry after which the newest page is written again, before it has 256 batches."""
_MAX_NEW_BATCHES: Final = 64
"""The same limit for a long log: the newest page is written less often, and one batch in 64 may have no entry."""
_BATCHES_PER_RUN: Final = 1024
"""Largest number of batches that one run reads: a large home without pages must not delay other duties."""
_LINES_PER_STEP: Final = 128
"""Lines whose ids are hashed in one step: a step holds the GIL for less than a millisecond."""
_MAX_PAYLOAD_BYTES: Final = 16 << 20
"""Largest payload in bytes whose ids are read: the payload is held in memory."""
_HASH_BYTES: Final = 9
"""Bytes of the hash of an id while a page is made."""
_MAX_PAGE_IDS: Final = MAX_PAGE_BLOCKS * 256 // PAGE_BITS
"""Largest number of ids of one field for which a page has a filter of its own."""
_MAX_HELD_BYTES: Final = 4 << 20
"""Bytes of hashes that are kept in memory until a page is complete; for a larger page, the batches are read again."""
_NO_ENTRY: Final = b"null"
"""The line of a batch that could not be read."""
_DAMAGE: Final = (FormatError, VerificationError, OSError)
"""The errors for a batch that cannot be read."""


class IndexedBatches(Protocol):
    """The batches of a log that pages are made from."""

    def facts(self, index: int) -> object:
        """Read the manifest of a batch; raises `FormatError`, `VerificationError` or `OSError`."""

    def blocks(self, index: int) -> Iterator[tuple[Cid, bytes]]:
        """Yield the blocks of a batch that are here, each hashed, the manifest first; raises as `facts`."""


class IndexedLog(Protocol):
    """A log that has index pages: one of this home, or of another one."""

    @property
    def batches(self) -> Path:
        """Directory in which `pages` stands."""

    @property
    def sealed_batches(self) -> IndexedBatches:
        """The batches."""

    def name(self) -> str | None:
        """Return the name of the log that is there now; `None` if there is none."""


@dataclass(slots=True)
class IndexedBatch:
    """The part of a page that describes one batch."""

    line: bytes = _NO_ENTRY
    """Its JSON line."""
    filters: dict[str, bytes] = field(default_factory=dict)
    """Its filters by field; an unknown one is missing."""
    hashes: dict[str, bytes] = field(default_factory=dict)
    """The hashes of its ids by field, one after the other; unknown where a filter is taken from an older page."""


class Indexing:
    """Keep the index pages of one log complete, for as long as this process is the keeper.

    Args:
        log_dir: the log.
    """

    def __init__(self, log_dir: IndexedLog) -> None:
        self._log_dir = log_dir
        self._pages = IndexPages(log_dir.batches)
        self._indexed: dict[int, int] = {}
        """Number of batches in each usable page, by the number of its first batch."""
        self._fields: tuple[str, ...] = ()
        """The fields for which these pages have filters."""
        self._held: dict[int, dict[str, bytes]] = {}
        """The hashes of ids by batch and field, for the page that is not complete: its filter needs them once more."""

    def steps(self, log: str, newest: int, ids: Sequence[str], *, at_end: bool = False) -> Iterator[None]:
        """Write the missing and incomplete pages, the newest first; other duties may run after each short step.

        Args:
            log: name of the log.
            newest: number of its newest sealed batch.
            ids: the fields that its subsystem lists as ids.
            at_end: whether the keeper ends: the newest page is written however few batches are new.

        Raises:
            OSError: a page cannot be written; the pages that were written before stay valid.
        """
        if tuple(ids) != self._fields:
            self._indexed.clear()
            self._fields = tuple(ids)
        read = 0
        min_new = 1 if at_end else min(_MAX_NEW_BATCHES, max(MIN_NEW_BATCHES, newest // _MAX_NEW_BATCHES))
        for first in reversed(range(0, newest + 1, PAGE_BATCHES)):
            wanted = min(PAGE_BATCHES, newest + 1 - first)
            if read >= _BATCHES_PER_RUN:
                break
            if wanted < MIN_NEW_BATCHES and first == 0:
                continue  # a few manifests are read as fast as a page
            if first not in self._indexed:
                self._indexed[first] = self._usable(first, log, newest)
                yield
            missing = wanted - self._indexed[first]
            if missing >= min_new or (missing and wanted == PAGE_BATCHES):
                read += wanted if wanted == PAGE_BATCHES else missing
                yield from self._write(first, wanted, log)
                self._indexed[first] = wanted
        if self._log_dir.name() == log:
            whole = {first for first, count in self._indexed.items() if count == PAGE_BATCHES}
            yield from self._pages.join(whole, [first for first, count in self._indexed.items() if at_end and count])

    def forget(self, indexes: Iterable[int]) -> None:
        """Make the pages of some batches again in the next `steps`: the payloads of these batches have come."""
        for index in indexes:
            self._indexed[index - index % PAGE_BATCHES] = 0

    def _usable(self, first: int, log: str, newest: int) -> int:
        """Return the number of batches in a page; 0 when it must be made again."""
        page = self._pages.load(first, log)
        if page is None or first + page.count > newest + 1 or not set(self._fields) <= page.root.filters.keys():
            return 0
        unread = [first + number for number, entry in enumerate(page.entries) if entry is None]
        return 0 if any(self._is_readable(index) for index in unread) else page.count

    def _is_readable(self, index: int) -> bool:
        with suppress(*_DAMAGE):
            return self._log_dir.sealed_batches.facts(index) is not None
        return False

    def _write(self, first: int, count: int, log: str) -> Iterator[None]:
        """Make one page and write it."""
        before = _OldPage.of(self._pages.load(first, log))
        fields = tuple(dict.fromkeys((*before.fields, *self._fields)))[:MAX_FIELDS]
        batch_files = self._log_dir.sealed_batches
        batches: list[IndexedBatch] = []
        sums = dict.fromkeys(fields, 0)
        for number in range(count):
            batch = before.batch(number, fields)
            if batch is not None:
                batch.hashes = dict(self._held.get(first + number, {}))
            if batch is None or (count == PAGE_BATCHES and not batch.hashes.keys() >= set(fields)):
                batch = yield from read_batch(batch_files, first + number, log, fields, before.filters_of(number))
            for name in fields:
                sums[name] += len(batch.hashes.get(name, b"")) // _HASH_BYTES
                if sums[name] > _MAX_PAGE_IDS:
                    batch.hashes.pop(name, None)
            batches.append(batch)
        page_filters: dict[str, bytes] = {}
        if count == PAGE_BATCHES:
            for name in fields:
                if sums[name] <= _MAX_PAGE_IDS and all(name in batch.hashes for batch in batches):
                    page_filters[name] = yield from _page_filter([batch.hashes[name] for batch in batches], sums[name])
        page = IndexPage(
            log=log,
            first=first,
            lines=[batch.line for batch in batches],
            filters={name: [batch.filters.get(name) for batch in batches] for name in fields},
            page_filters=page_filters,
        )
        if self._log_dir.name() == log:  # else the log has ended meanwhile and moved
            self._pages.write(page)
        if count < PAGE_BATCHES:
            self._hold({first + number: batch.hashes for number, batch in enumerate(batches)})
        elif first in self._held:
            self._held = {}
        yield

    def _hold(self, hashes: dict[int, dict[str, bytes]]) -> None:
        """Keep the hashes of a page in memory until it is complete, if they are not too many."""
        held = sum(len(packed) for fields in hashes.values() for packed in fields.values())
        self._held = hashes if held <= _MAX_HELD_BYTES else {}


def read_batch(
    batches: IndexedBatches, index: int, log: str, fields: Sequence[str], before: Mapping[str, bytes]
) -> Generator[None, None, IndexedBatch]:
    """Read a batch, a step at a time; return what its page gets of it.

    Args:
        batches: the batches of the log.
        index: number of the batch.
        log: name of the log.
        fields: the fields with ids.
        before: filters by field that stay where its payload cannot be read.
    """
    try:
        manifest, blocks = _blocks_of(batches, index)
    except _DAMAGE:
        return IndexedBatch()
    yield
    if (manifest.log, manifest.index) != (log, index):
        return IndexedBatch()
    batch = IndexedBatch(filters={name: data for name, data in before.items() if name in fields})
    if fields and manifest.payload in blocks:
        with suppress(*_DAMAGE):
            yield from _collect(manifest, blocks, fields, batch)
    batch.line = entry_line(manifest, {name: len(data) for name, data in batch.filters.items()})
    return batch


class _OldPage:
    """The usable facts of an older page on its batches."""

    def __init__(self, entries: Sequence[PageEntry | None], filters: Mapping[str, Sequence[bytes | None]]) -> None:
        self._entries = entries
        self._filters = filters

    @classmethod
    def of(cls, page: StoredPage | None) -> _OldPage:
        """Read the filters of a page; when one filter is damaged, no filter is used."""
        if page is not None:
            with suppress(*_DAMAGE):
                return cls(page.entries, {name: page.filters_of(name) for name in page.root.filters})
        return cls((), {})

    @property
    def fields(self) -> Iterator[str]:
        """The fields for which it has filters."""
        return iter(self._filters)

    def filters_of(self, number: int) -> dict[str, bytes]:
        """Return the filters of a batch that are known."""
        known = {name: filters[number] for name, filters in self._filters.items() if number < len(filters)}
        return {name: data for name, data in known.items() if data is not None}

    def batch(self, number: int, fields: Sequence[str]) -> IndexedBatch | None:
        """Return the facts on a batch; `None` when the batch must be read."""
        entry = self._entries[number] if number < len(self._entries) else None
        filters = self.filters_of(number)
        if entry is None or filters.keys() < set(fields):
            return None
        return IndexedBatch(line=msgspec.json.encode(entry), filters=filters)


def _blocks_of(batches: IndexedBatches, index: int) -> tuple[Manifest, dict[Cid, bytes]]:
    """Read the manifest of a batch and, where it has records in clear and is not too large, all its blocks, hashed."""
    blocks: dict[Cid, bytes] = {}
    manifest: Manifest | None = None
    for cid, block in batches.blocks(index):
        blocks[cid] = block
        if manifest is None:
            manifest = Manifest.decode(block)
            encoding = manifest.payload_encoding
            if not encoding.has_records or encoding.within is not None or manifest.size > _MAX_PAYLOAD_BYTES:
                break
    if manifest is None:
        raise FormatError("not a batch")
    return manifest, blocks


def _collect(
    manifest: Manifest, blocks: Mapping[Cid, bytes], fields: Sequence[str], batch: IndexedBatch
) -> Iterator[None]:
    """Hash the ids in the records of a batch, a step at a time, and make its filters."""
    rules = compiled_rules(Rules(zone=tuple(fields)))
    hashes: dict[str, set[int]] = {name: set() for name in fields}
    chunks = unixfs.read(manifest.payload, lambda cid: _block(blocks, cid), max_bytes=manifest.size)
    lines = manifest.payload_encoding.lines(
        chunks, log=manifest.log, index=manifest.index, raw=manifest.raw, size=manifest.size
    )
    while step := list(islice(lines, _LINES_PER_STEP)):
        records, readable = rules.decode(step)
        if not readable or len(records) < len(step):
            return  # a field that cannot be decoded may be an id
        for name in fields:
            attribute = rules.attribute[name]
            hashes[name] |= hashes_in([getattr(record, attribute) for record in records])
        yield
    for name, of_field in hashes.items():
        batch.filters[name] = BloomFilter.of(of_field, BATCH_BITS, MAX_BATCH_BLOCKS).encode()
        batch.hashes[name] = b"".join([hashed.to_bytes(_HASH_BYTES, "little") for hashed in of_field])
        yield


def _block(blocks: Mapping[Cid, bytes], cid: Cid) -> bytes:
    if cid not in blocks:
        raise FormatError("a block of a payload is missing", expected=cid.text)
    return blocks[cid]


def unpacked(packed: bytes) -> list[int]:
    """Return the hashes of `IndexedBatch.hashes` of one field."""
    return [int.from_bytes(packed[at : at + _HASH_BYTES], "little") for at in range(0, len(packed), _HASH_BYTES)]


def _page_filter(hashes: Sequence[bytes], count: int) -> Generator[None, None, bytes]:
    """Make the filter of a page, a batch at a time."""
    made = BloomFilter(block_count(count, PAGE_BITS, MAX_PAGE_BLOCKS))
    for packed in hashes:
        made.add(unpacked(packed))
        yield
    return made.encode()
