"""List the parts of a home for a query: its batches, and the lines in the spool, at one moment.

The segments are opened before the heads are read. So each line that is durable then is in a batch that a head names, or
in an open segment after the offset that the head has consumed: no line is missed or read twice, also if a keeper seals
batches at the same time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.checkpoint import subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.encoding import ENCODINGS
from ipfs_log_handlers.format.index_page import PAGE_BATCHES, PageEntry
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk, segments
from ipfs_log_handlers.home.catalogue import GROUP
from ipfs_log_handlers.home.index_pages import AskedPage, IndexPages, StoredPage
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import Log, logs_of
from ipfs_log_handlers.home.segments import SegmentName
from ipfs_log_handlers.reader.catalogued import CatalogueEntry, catalogued
from ipfs_log_handlers.reader.cursor import Cursor
from ipfs_log_handlers.reader.dataset import Dataset
from ipfs_log_handlers.reader.gaps import AnotherBatchError, Gaps
from ipfs_log_handlers.reader.parts import FIRST_MOMENT, LAST_MOMENT, OpenText, Part, Reads, Verify, moment_text
from ipfs_log_handlers.reader.sealed import holders, open_sealed, open_text, verified_lines
from ipfs_log_handlers.reader.spool_parts import open_segments, removed_unconsumed, spooled

if TYPE_CHECKING:
    from concurrent.futures import Future

    from ipfs_log_handlers.reader.imported_parts import ImportedSource
    from ipfs_log_handlers.reader.sealed_log import SealedLog

__all__ = ["HomeSource", "SealedPart"]


class HomeSource:
    """The records of a home.

    Args:
        reader: reads the home in the order of its logs; it has the home, the stores, the keys to trust, and the
            function for gaps.
        verify: how much of a batch is verified.
        use_index: take times and zone maps of batches from the index pages of the log, and times from its catalogue,
            without reading their manifests.
        sealed_only: leave out the records that are in no batch yet.
        imported: the logs of other homes in it; where there are some, all records show their origin. `None`: they are
            left out.
    """

    def __init__(
        self,
        reader: Dataset,
        *,
        verify: Verify = "batch",
        use_index: bool = True,
        sealed_only: bool = False,
        imported: ImportedSource | None = None,
    ) -> None:
        self.imported = imported
        self.shows_origin = False
        """Whether records show their origin; looked at when parts are listed."""
        self.reader = reader
        self.verify = verify
        self._use_index = use_index
        self._sealed_only = sealed_only

    def subsystems(self) -> Sequence[str]:
        """Name the subsystems that were logged to, here or in a home whose logs are here, in alphabetical order."""
        imported = () if self.imported is None else self.imported.subsystems()
        return sorted({*self.own_subsystems(), *imported})

    def own_subsystems(self) -> Sequence[str]:
        """Name the subsystems that were logged to here, in alphabetical order."""
        return [subsystem_dir.name for subsystem_dir in self.reader.home.subsystem_dirs()]

    def close(self) -> None:
        """Close connections."""
        self.reader.fetcher.close()

    def parts(self, subsystem: str, reads: Reads | None = None) -> Sequence[Part]:
        """List the parts of a subsystem that are durable now: batches, oldest first, then the spool.

        Args:
            subsystem: its name.
            reads: counts the index pages and manifests that are read for that, and later for zone maps.

        Raises:
            OSError: the home cannot be read.
        """
        own = self.snapshot(subsystem, reads)[0] if subsystem in self.own_subsystems() else ()
        return [*own, *(() if self.imported is None else self.imported.parts(subsystem, reads))]

    def snapshot(self, subsystem: str, reads: Reads | None = None) -> tuple[Sequence[Part], Cursor]:
        """List the same parts without logs of other homes; also return the cursor after them, to continue from there.

        Args:
            subsystem: its name.
            reads: as for `parts`.

        Raises:
            OSError: the home cannot be read.
        """
        reads = reads or Reads()
        self.shows_origin = self.imported is not None and self.imported.is_used
        subsystem_dir = self.reader.home.subsystem_dir(subsystem)
        gaps = Gaps(subsystem, self.reader.on_gap)
        opened, logs = self._look(subsystem_dir, gaps)
        try:
            for log in logs:
                gaps.head(log)
            sealed = [part for log in logs for part in self._batches(subsystem_dir, log, gaps, reads)]
            waiting = list(spooled(subsystem_dir, opened, logs, gaps)) if opened else []
        finally:
            _close(opened)
        for part in waiting if self.shows_origin else ():
            part.origin = part.log or None
        seqs = {part.writer: part.last_seq for part in waiting}
        if logs:
            return [*sealed, *waiting], Cursor(log=logs[-1].name, index=logs[-1].newest + 1, seqs=seqs)
        return waiting, Cursor(seqs=seqs)

    def place_of(self, cid: Cid) -> tuple[str, int] | None:
        """Find the log and the number of the batch that a head block or a manifest names.

        The heads of a log are looked at from the newest on, since no index lists them.
        """
        for subsystem_dir in self.reader.home.subsystem_dirs():
            for log in logs_of(subsystem_dir):
                index = log.batches.with_cid(cid, log.newest)
                if index is not None:
                    return log.name, index
        for subsystem_dir in self.reader.home.subsystem_dirs():
            for log in logs_of(subsystem_dir):
                for index in range(log.newest, -1, -1):
                    with suppress(FormatError, OSError):
                        if log.batches.facts(index).head_cid == cid:
                            return log.name, index
        return None if self.imported is None else self.imported.place_of(cid)

    def imported_batch(self, cid: Cid | str) -> Iterator[tuple[str, bytes]] | None:
        """Find a batch of a log of another home by its CID; return its lines, each with its subsystem.

        Raises:
            FormatError: the text is not a CID.
        """
        part = None
        if self.imported is not None and self.imported.is_used:
            part = self.imported.part_of(Cid.from_user(cid) if isinstance(cid, str) else cid)
        return None if part is None else ((part.subsystem, line) for line in part.lines())

    def sealed_log(self, name: str) -> SealedLog:
        """Return what records of a log are proved from, up to its newest head."""
        if self.imported is not None and not self._is_own(name):
            return self.imported.sealed_log(name)
        from ipfs_log_handlers.reader.home_log import log_of_home

        return log_of_home(self.reader, name)

    def _is_own(self, name: str) -> bool:
        return any(log.name == name for log in logs_of(self.reader.home.subsystem_dir(subsystem_of(name))))

    def _look(self, subsystem_dir: SubsystemDir, gaps: Gaps) -> tuple[dict[SegmentName, int], Sequence[Log]]:
        """Open the segments, then read the logs; repeat this if the keeper has changed them in between."""
        while True:
            opened = {} if self._sealed_only else open_segments(subsystem_dir, gaps)
            try:
                logs = logs_of(subsystem_dir)
                for name in removed_unconsumed(subsystem_dir, opened, logs):
                    # Removed by now: either before the logs were read, and so a batch that they name has its
                    # lines, or since then, by a sealing that the logs do not know yet.
                    if _newest(logs_of(subsystem_dir)) == _newest(logs):
                        disk.close(opened.pop(name))
                        continue
                    break
                else:
                    return opened, logs
            except BaseException:
                _close(opened)
                raise
            _close(opened)

    def state(self, subsystem: str) -> Hashable:
        """Return a value that changes when a line is logged or a batch is sealed; no file is read for it."""
        subsystem_dir = self.reader.home.subsystem_dir(subsystem)
        paths = [subsystem_dir.current.head]
        paths += [subsystem_dir.spool / name.file_name for name in segments.listing(subsystem_dir.spool)]
        return tuple(map(_look_of, paths))

    def _batches(self, subsystem_dir: SubsystemDir, log: Log, gaps: Gaps, reads: Reads) -> Iterator[SealedPart]:
        """List the batches: as index pages say, else as the catalogue says, else as their manifests say."""
        make = partial(SealedPart, self, subsystem_dir, log, gaps, reads)
        pages = dict(_pages(log, reads)) if self._use_index and log.name else {}
        catalogue: Mapping[int, CatalogueEntry] = {}
        if self._use_index and log.newest + 1 - sum(page.count for page in pages.values()) >= GROUP:
            catalogue = dict(catalogued(log))
        for first in range(0, log.newest + 1, PAGE_BATCHES):
            page = pages.get(first)
            entries = page.entries if page is not None else ()
            asked = None if page is None else AskedPage(page)
            for number in range(min(PAGE_BATCHES, log.newest + 1 - first)):
                index = first + number
                entry = entries[number] if number < len(entries) else catalogue.get(index)
                part = make(index, entry, asked)
                if part.has_records:
                    yield part


def _pages(log: Log, reads: Reads) -> Iterator[tuple[int, StoredPage]]:
    """Read the index pages of a log that can be used; each must name a manifest that the log has."""
    pages = IndexPages(log.log_dir.batches)
    for first in pages.firsts():
        page = pages.load(first, log.name) if first <= log.newest else None
        if page is None or first + page.count > log.newest + 1:
            continue
        reads.pages += 1
        last = next((number for number in reversed(range(page.count)) if page.entries[number] is not None), None)
        entry = None if last is None else page.entries[last]
        if last is not None and entry is not None and log.batches.has_manifest(first + last, entry.cid):
            yield first, page


class SealedPart:
    """One sealed batch."""

    sealed = True
    number = 0
    __slots__ = (
        "_entry", "_gaps", "_is_encrypted", "_log", "_manifest", "_page", "_reads", "_source", "_subsystem_dir",
        "first", "has_records", "index", "last", "records", "size",
    )  # fmt: skip

    def __init__(
        self,
        source: HomeSource,
        subsystem_dir: SubsystemDir,
        log: Log,
        gaps: Gaps,
        reads: Reads,
        index: int,
        entry: PageEntry | CatalogueEntry | None,
        page: AskedPage | None,
    ) -> None:
        self._source = source
        self._subsystem_dir = subsystem_dir
        self._log = log
        self._gaps = gaps
        self._reads = reads
        self.index = index
        self._entry = entry
        self._page = page
        self._manifest: Manifest | None = None
        self.has_records = True
        self._is_encrypted = False
        if entry is not None:
            self.first = _lower(entry.first.encode())
            self.last = entry.last.encode()
            self.records = entry.records
            self.size = entry.size
            encoding = ENCODINGS.get(entry.encoding)
            if encoding is not None:
                self.has_records, self._is_encrypted = encoding.has_records, encoding.within is not None
            return
        self.first, self.last, self.records, self.size = FIRST_MOMENT, LAST_MOMENT, 0, 0
        manifest = self._load()
        if manifest is not None:
            self._manifest = manifest
            self.first, self.last = moment_text(manifest.first), moment_text(manifest.last)
            self.records, self.size = manifest.records, manifest.size
            encoding = manifest.payload_encoding
            self.has_records, self._is_encrypted = encoding.has_records, encoding.within is not None

    @property
    def subsystem(self) -> str:
        """Name of the subsystem."""
        return self._subsystem_dir.name

    @property
    def log(self) -> str:
        """Name of the log."""
        return self._log.name

    @property
    def origin(self) -> str | None:
        """Name of the log, where records show it."""
        return self._log.name if self._source.shows_origin else None

    def _load(self) -> Manifest | None:
        """Read the manifest; `None` if it cannot be read, or is not signed: then opening the batch reports a gap."""
        self._reads.manifests += 1
        keys = self._source.reader.keys
        with suppress(FormatError, VerificationError, OSError):
            if keys:
                with open_sealed(self._log, self.index, keys=keys) as (_, signed):
                    return signed
            manifest = self._log.batches.manifest(self.index)
            return manifest if manifest.log == self._log.name else None
        return None

    def zone(self) -> Mapping[str, Any]:
        """Return the zone map of the index page, else that in the manifest; empty when neither can be read.

        The index knows nothing of encrypted batches: their zone map is opened, if the reader has an identity for it.
        """
        keyring = self._source.reader.keyring
        zone = None if self._entry is None else self._entry.zone()
        if zone is not None and not (self._is_encrypted and keyring.has_identities):
            return zone
        manifest = self._manifest or self._load()
        if manifest is None:
            return {}
        self._manifest = None  # a plan reads very many batches
        return keyring.look(manifest).stats

    def sharpen(self) -> None:
        """Set the times of the first and last record, if those of the batch are rounded and an identity opens it."""
        keyring = self._source.reader.keyring
        if self._is_encrypted and keyring.has_identities and (manifest := self._manifest or self._load()) is not None:
            opened = keyring.look(manifest)
            self.first, self.last = moment_text(opened.first), moment_text(opened.last)

    def may_hold(self, name: str, hashes: Sequence[int]) -> bool:
        """Say whether a record may have one of some ids in a field; yes where no index page says it."""
        return self._page is None or self._page.may_hold(self.index % PAGE_BATCHES, name, hashes)

    def lines(self) -> Iterator[bytes]:
        """Verify all records, then yield their JSON; report a gap if they cannot be verified."""
        try:
            yield from self._lines(self._log)
        except (FileNotFoundError, AnotherBatchError) as error:
            moved = self._moved()
            if moved is None:
                self._gaps.misplaced(self._log, self.index, error)
                return
            try:
                yield from self._lines(moved)
            except (FileNotFoundError, AnotherBatchError) as again:
                self._gaps.misplaced(moved, self.index, again)

    def _lines(self, log: Log) -> Iterator[bytes]:
        with self._gaps.of_batch(log, self.index):
            yield from self._lines_in(log)

    def lines_or_error(self) -> Iterator[bytes]:
        """Yield the same lines as `lines`; report no gap. Raises as `open_sealed` and `verified_lines`."""
        try:
            yield from self._lines_in(self._log)
        except (FileNotFoundError, AnotherBatchError):
            moved = self._moved()
            if moved is None:
                raise
            yield from self._lines_in(moved)

    def _lines_in(self, log: Log) -> Iterator[bytes]:
        hashed, keys = self._source.verify != "off", self._source.reader.keys
        with open_sealed(log, self.index, hashed=hashed, keys=keys) as (batch, manifest):
            if manifest.payload_encoding.has_records:
                get = partial(self._from_store, log)
                opened = self._source.reader.keyring.open(manifest)
                yield from verified_lines(batch, opened, get, verify=self._source.verify)

    def manifest(self) -> Manifest | None:
        """Read the manifest, hashed; `None` when it cannot be read."""
        return self._manifest or self._load()

    def open_text(self) -> OpenText | None:
        """Read the batch and hash its blocks, or ask a store for its payload; see `Part.open_text`."""
        reader = self._source.reader
        return open_text(
            self._log, self.index, self._ask_store, verify=self._source.verify, keys=reader.keys, keyring=reader.keyring
        )

    def _ask_store(self, cid: Cid) -> Future[bytes]:
        return self._source.reader.fetcher.ask(cid, holders(self._subsystem_dir, self._log, self.index))

    def _from_store(self, log: Log, cid: Cid) -> bytes:
        return self._source.reader.fetcher.get(cid, holders(self._subsystem_dir, log, self.index))

    def _moved(self) -> Log | None:
        """Find the current directory of the log, if it has ended since the parts were listed."""
        for log in logs_of(self._subsystem_dir):
            if log.name == self._log.name and log.log_dir != self._log.log_dir:
                return log
        return None


def _close(opened: Mapping[SegmentName, int]) -> None:
    for descriptor in opened.values():
        disk.close(descriptor)


def _newest(logs: Sequence[Log]) -> Sequence[tuple[str, int]]:
    """Return a value that changes with each sealed batch."""
    return [(log.name, log.newest) for log in logs]


def _look_of(path: Path) -> Hashable:
    """Return a value that changes with the content of a file, without reading it."""
    try:
        status = disk.status(path)
    except OSError:
        return path.name
    return path.name, status.st_ino, status.st_size, status.st_mtime_ns


def _lower(time: bytes) -> bytes:
    """Return a lower bound; the first moment of 1970 becomes the smallest bound, because it can mean earlier times."""
    return FIRST_MOMENT if time <= b"1970-01-01T00:00:00.000000Z" else time
