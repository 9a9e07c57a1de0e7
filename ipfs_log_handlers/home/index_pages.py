"""Keep `batches/pages/<first batch>.page`: facts on 256 batches, by which a query skips batches. It is a cache.

Small pages that have all their batches are moved into a book, `batches/pages/<first batch>.book`, 64 to a book, so that
many batches do not make many files. A page that has a file of its own, too, is read from that file. A book is

    "ipfslogb", u32 version, u32 zero; for each of its 64 pages u32 offset, u32 bytes, both 0 where it has none; then
    the bytes of the pages. Numbers are little endian.

The bytes of a page are those of `format/index_page.py`. The keeper alone writes here, without a sync: a page is written
beside its place and renamed, so that a killed process leaves the page before it, or none, and a `.tmp` file that the
next keeper removes. A page that is missing, damaged, of another log or version, too large, or no regular file is not
used: the manifests are read then. No answer depends on a page.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeVar, cast

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.index_page import (
    MAX_FIELDS,
    MAX_ROOT_BYTES,
    PAGE_BATCHES,
    IndexPage,
    PageEntry,
    PageRoot,
    may_hold_each,
    spans_of,
)
from ipfs_log_handlers.home import disk

__all__ = ["AskedPage", "IndexPages", "StoredPage"]

_NAME: Final = re.compile(r"([0-9]{6}|[1-9][0-9]{6,})\.(page|book)", re.ASCII)
_BOOK_PAGES: Final = 64
"""Number of pages in a book."""
_MAX_JOINED_BYTES: Final = 64 << 10
"""Largest page in bytes that is moved into a book; a home has few larger pages."""
_MIN_JOINED: Final = 3
"""Whole small pages with files of their own from which on they are moved into a book, which is written anew."""
_BOOK_HEAD: Final = struct.Struct(f"<8sII{2 * _BOOK_PAGES}I")
_BOOK_MAGIC: Final = b"ipfslogb"
_BOOK_VERSION: Final = 1
"""Version of a book; one of another version is not read."""
_MAX_BOOK_BYTES: Final = _BOOK_HEAD.size + _BOOK_PAGES * _MAX_JOINED_BYTES
"""Bytes of the largest book."""
_MAX_BLOCKS: Final = 2 + 2 * MAX_FIELDS
"""Blocks of a page."""
_MAX_FILE_BYTES: Final = _MAX_BLOCKS * (car.MAX_BLOCK + 128) + car.MAX_HEADER
"""Bytes of the largest page."""
_UNUSABLE: Final = (OSError, FormatError, VerificationError)
"""The errors for a page that is missing, damaged or of another log."""

_T = TypeVar("_T")


class IndexPages:
    """Read and write the index pages of one log.

    Args:
        batches: the directory `batches` of the log.
    """

    __slots__ = ("_batches", "path")

    def __init__(self, batches: Path) -> None:
        self._batches = batches
        self.path = batches / "pages"

    def file(self, first: int) -> Path:
        """Name the file of a page.

        Args:
            first: number of its first batch.
        """
        return self.path / f"{first:06}.page"

    def book(self, first: int) -> Path:
        """Name the file of the book of a page.

        Args:
            first: number of the first batch of the page.
        """
        batches = _BOOK_PAGES * PAGE_BATCHES
        return self.path / f"{first - first % batches:06}.book"

    def firsts(self) -> list[int]:
        """List the numbers of the first batches of the pages that lie here, in order."""
        found = set()
        for number, kind in self._files():
            if kind == "page":
                found.add(number)
            else:
                places = _read_places(self.book(number))
                found.update(number + slot * PAGE_BATCHES for slot, place in enumerate(places) if place.size)
        return sorted(found)

    def _files(self) -> list[tuple[int, str]]:
        """List the files, each with the number of its first batch and whether it is a `page` or a `book`."""
        return [
            (int(match[1]), match[2]) for name in disk.names(self.path) if (match := _NAME.fullmatch(name)) is not None
        ]

    def where(self, first: int) -> Path:
        """Return the path of the file that contains a page: the page's own file, or a book.

        If no file contains the page, the path of the page's own file is returned.
        """
        if disk.exists(self.file(first)) or not self._place(first).size:
            return self.file(first)
        return self.book(first)

    def _place(self, first: int) -> _Place:
        """Look a page up in its book."""
        places = _read_places(self.book(first))
        return places[first // PAGE_BATCHES % _BOOK_PAGES] if places and not first % PAGE_BATCHES else _NOWHERE

    def _stored(self, first: int) -> StoredPage:
        """Return a page from its own file, else from its book; not loaded."""
        if not disk.exists(self.file(first)):
            place = self._place(first)
            if place.size:
                return StoredPage(self.book(first), place)
        return StoredPage(self.file(first))

    def load(self, first: int, log: str) -> StoredPage | None:
        """Read root and entries of a page, each hashed; `None` when the page cannot be used.

        Args:
            first: number of its first batch.
            log: the log of which it must be.
        """
        with suppress(*_UNUSABLE):
            page = self._stored(first)
            page.load()
            if (page.root.log, page.root.first) == (log, first):
                return page
        return None

    def problem(self, first: int, log: str) -> str | None:
        """Read a whole page; return it, or the error in it."""
        try:
            page = self._stored(first)
            page.load()
            if (page.root.log, page.root.first) != (log, first):
                return f"it is the page from batch {page.root.first} of {page.root.log} on"
            for name in page.root.filters:
                page.filters_of(name)
                page.may_hold(name, [0], strict=True)
        except OSError as error:
            return error.strerror or str(error)
        except (FormatError, VerificationError) as error:
            return str(error)
        return None

    def write(self, page: IndexPage) -> None:
        """Write a page, or replace it in one step. For the keeper alone; not synced.

        Raises:
            OSError: the disk refuses; the page before it stays.
            FormatError: it is larger than a page can be.
        """
        data = page.encode()
        path = self.file(page.first)
        disk.ensure_directory(self.path)
        disk.replace(path, data, sync=False, beside=self._batches / path.name)

    def join(self, whole: Collection[int], growing: Collection[int] = ()) -> Iterator[None]:
        """Move small pages from files of their own into books, a book in one step. For the keeper alone; not synced.

        A book is written beside its place and renamed, and then the files go. After a crash a page may lie in both.

        Args:
            whole: numbers of the first batches of pages that have all their batches.
            growing: numbers of the first batches of incomplete pages; they are moved together with others, or into an
                existing book.

        Raises:
            OSError: the disk refuses; each page lies where it lay, or in both places.
        """
        wanted = {*whole, *growing}
        own = sorted(number for number, kind in self._files() if kind == "page" and number in wanted)
        for path, members in groupby(own, key=self.book):
            fresh = {first: data for first in members if (data := self._small(first)) is not None}
            goes_along = bool(growing) and disk.exists(path)
            if fresh and (goes_along or sum(first in whole for first in fresh) >= _MIN_JOINED):
                disk.replace(path, _with_pages(path, fresh), sync=False, beside=self._batches / path.name)
                for first in fresh:
                    disk.remove(self.file(first))
                yield

    def _small(self, first: int) -> bytes | None:
        """Read the file of a page; `None` when it is too large for a book, or cannot be read."""
        with suppress(OSError):
            return disk.read(self.file(first), _MAX_JOINED_BYTES)
        return None


class AskedPage:
    """An index page that is asked for ids: what it says of all its batches is kept, its filters are not.

    Args:
        page: the page.
    """

    __slots__ = ("_answers", "_page")

    def __init__(self, page: StoredPage) -> None:
        self._page = page
        self._answers: dict[tuple[str, tuple[int, ...]], bytes | None] = {}

    def may_hold(self, number: int, name: str, hashes: Sequence[int]) -> bool:
        """Say whether a batch may hold one of some ids; `number` is its place in the page."""
        key = name, tuple(hashes)
        if key not in self._answers:
            self._answers[key] = self._page.may_hold(name, hashes)
        answer = self._answers[key]
        return answer is None or number >= len(answer) or answer[number] != 0


class _Place(NamedTuple):
    """Where a page stands in a book."""

    offset: int
    size: int
    """Bytes of the page; 0 when it is not there."""


_NOWHERE: Final = _Place(0, 0)


def _read_places(path: Path) -> list[_Place]:
    """Read where each page of a book stands; nothing when there is no book, or none of this version."""
    head = b""
    with suppress(OSError), disk.stream(path, max_bytes=_MAX_BOOK_BYTES) as stream:
        head = stream.read(_BOOK_HEAD.size)
    return _places_in(head)


def _places_in(head: bytes) -> list[_Place]:
    if len(head) < _BOOK_HEAD.size:
        return []
    magic, version, _, *numbers = _BOOK_HEAD.unpack_from(head)
    if (magic, version) != (_BOOK_MAGIC, _BOOK_VERSION):
        return []
    places = [_Place(offset, size) for offset, size in zip(numbers[::2], numbers[1::2], strict=True)]
    return [place if place.size <= _MAX_JOINED_BYTES else _NOWHERE for place in places]


def _with_pages(path: Path, fresh: Mapping[int, bytes]) -> bytes:
    """Return a book with more pages, which take the place of those of the same number."""
    old = b""
    with suppress(OSError):
        old = disk.read(path, _MAX_BOOK_BYTES)
    pages = [old[place.offset : place.offset + place.size] for place in _places_in(old)] or [b""] * _BOOK_PAGES
    for first, data in fresh.items():
        pages[first // PAGE_BATCHES % _BOOK_PAGES] = data
    numbers: list[int] = []
    end = _BOOK_HEAD.size
    for page in pages:
        numbers += (end, len(page)) if page else _NOWHERE
        end += len(page)
    return b"".join((_BOOK_HEAD.pack(_BOOK_MAGIC, _BOOK_VERSION, 0, *numbers), *pages))


class StoredPage:
    """A page on the disk. Root and entries are in memory; filters are read when an id is asked for.

    Args:
        path: its own file, or its book.
        place: where it stands in the book; `None`: the file is its own.
    """

    __slots__ = ("_path", "_place", "_places", "entries", "root")

    root: PageRoot
    """Its root."""
    entries: list[PageEntry | None]
    """The facts on each batch, in order; `None` for a batch that could not be read."""

    def __init__(self, path: Path, place: _Place | None = None) -> None:
        self._path = path
        self._place = place
        self._places: dict[Cid, tuple[int, int]] = {}
        """Offset and bytes of each block in the file."""

    @property
    def count(self) -> int:
        """Number of its batches."""
        return self.root.count

    def load(self) -> None:
        """Read root and entries.

        Raises:
            OSError: the file cannot be read, or is no regular file.
            FormatError, VerificationError: it is not a page of this version, or damaged.
        """
        self._open(self._load)

    def _load(self, stream: BinaryIO) -> None:
        roots = car.Reader(stream).roots
        places = {cid: (offset, size) for cid, offset, size in islice(car.scan(stream), _MAX_BLOCKS + 1)}
        if len(roots) != 1 or roots[0].codec != DAG_CBOR or len(places) > _MAX_BLOCKS:
            raise FormatError("not an index page", where=self._path, found=f"{len(places)} blocks")
        self._places = places
        if places.get(roots[0], (0, 0))[1] > MAX_ROOT_BYTES:
            raise FormatError("the root of an index page is too long", where=self._path)
        self.root = PageRoot.decode(self._block(stream, roots[0]))
        self.entries = self.root.decode_entries(self._block(stream, self.root.entries))

    def may_hold(self, name: str, hashes: Sequence[int], *, strict: bool = False) -> bytes | None:
        """Say of each batch whether it may hold one of some ids: 0 is certain, 1 is not.

        Args:
            name: the field.
            hashes: the hashes of the ids.
            strict: raise an error where the filters cannot be read.

        Returns:
            A byte for each batch; `None` when the page has no filters of this field.
        """
        links = self.root.filters.get(name)
        if links is None:
            return None
        batches, page = links

        def ask(stream: BinaryIO) -> bytes:
            page_filter = None if page is None else self._block(stream, page)
            return may_hold_each(self.entries, name, hashes, self._block(stream, batches), page_filter)

        try:
            return self._open(ask)
        except _UNUSABLE:
            if strict:
                raise
            return None

    def filters_of(self, name: str) -> list[bytes | None]:
        """Read the filters of a field, one for each batch; `None` where it is unknown.

        Raises:
            OSError, FormatError, VerificationError: they cannot be read, or are damaged.
        """
        links = self.root.filters.get(name)
        if links is None:
            return [None] * self.count
        data = self._open(lambda stream: self._block(stream, links[0]))
        spans = spans_of(self.entries, name)
        return [None if span is None else data[span[0] : span[1]] for span in spans]

    def page_filter(self, name: str) -> bytes | None:
        """Read the filter over all ids of a field; `None` when the page has none.

        Raises:
            OSError, FormatError, VerificationError: it cannot be read, or is damaged.
        """
        link = self.root.filters.get(name, (None, None))[1]
        return None if link is None else self._open(lambda stream: self._block(stream, link))

    def _open(self, read: Callable[[BinaryIO], _T]) -> _T:
        max_bytes = _MAX_FILE_BYTES if self._place is None else _MAX_BOOK_BYTES
        with cast("BinaryIO", disk.stream(self._path, max_bytes=max_bytes)) as stream:
            if self._place is None:
                return read(stream)
            stream.seek(self._place.offset)
            page = stream.read(self._place.size)
        return read(BytesIO(page))

    def _block(self, stream: BinaryIO, cid: Cid) -> bytes:
        """Read a block, hashed."""
        place = self._places.get(cid)
        if place is None:
            raise FormatError("a block of an index page is missing", where=self._path, expected=cid.text)
        stream.seek(place[0])
        block = stream.read(place[1])
        cid.verify(block)
        return block
