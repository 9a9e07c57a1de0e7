"""Encode and decode an index page: facts on up to 256 batches, by which a query skips batches without reading them.

A page is a CARv1. Its root and first block is a DAG-CBOR map; every other block is raw, and linked by the root, so that
each byte of a page is named by a hash:

    v        1
    log      name of the log
    first    number of its first batch: a multiple of 256
    count    number of its batches, 1 to 256
    entries  link: one zstd frame; of each batch a JSON line, ended by LF
    size     bytes of these lines
    filters  map from a field that the subsystem lists in `ids` to `{batches: link, page: link or null}`

A JSON line is `null` where the batch could not be read, else an object: `cid` of the manifest; `records, size,
encoding` as there; `first`, `last` as RFC 3339; `stats`, the zone map, or null; `ids`, a map from a field to the bytes
of its Bloom filter (`format/bloom.py`). A field that is missing in `ids` is unknown: the payload was not in the home.
The block `batches` of a field has these filters, one after the other. The block `page` has one filter over all ids of
the page; it is null while the page has fewer than 256 batches, when the field of a batch is unknown, and when there
are more than 2^20 ids.

A page holds no fact of its own: it can be made again from the batches.
Spec: IPLD CARv1, DAG-CBOR; RFC 8878.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Final

import msgspec

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import car, dagcbor
from ipfs_log_handlers.format.bloom import BLOCK_BYTES, MAX_BATCH_BLOCKS, MAX_PAGE_BLOCKS, may_hold
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.format.payload import compress, inflate

__all__ = [
    "MAX_FIELDS",
    "MAX_ROOT_BYTES",
    "PAGE_BATCHES",
    "IndexPage",
    "PageEntry",
    "PageRoot",
    "entry_line",
    "is_page_filter",
    "may_hold_each",
    "spans_of",
]

VERSION: Final = 1
"""Version of this format. A page of another version is not read; the keeper makes it again."""
PAGE_BATCHES: Final = 256
"""Batches in a page."""
MAX_FIELDS: Final = 16
"""Fields with filters in a page."""
MAX_ROOT_BYTES: Final = 16 << 10
"""Largest number of bytes of a root; a longer root is not read."""
_MAX_TEXT_BYTES: Final = 4 << 20
"""Largest number of bytes of the lines of a page; longer lines are neither written nor read."""
_MAX_STATS_BYTES: Final = 4 << 10
"""Largest number of bytes of a zone map as JSON. A longer zone map is not in the page; it is read from the manifest."""
_LEVEL: Final = 3
"""zstd level of the lines: a page is written many times while it grows."""
_MAX_FIELD_LENGTH: Final = 256
"""Characters of the name of a field."""
_MAX_DECODED: Final = 64
"""Number of pages whose decoded lines are kept in memory: about 16,000 batches in about 20 MiB."""
_Time = Annotated[str, msgspec.Meta(pattern=r"\A[0-9T:.-]{26}Z\Z")]
"""RFC 3339 with six digits and `Z`."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


class PageEntry(msgspec.Struct, gc=False):
    """The facts on one batch in a page."""

    cid: str
    """CID of its manifest."""
    first: _Time
    """Time of its earliest record, RFC 3339."""
    last: _Time
    """Time of its latest record."""
    records: _Count
    """Its records."""
    size: _Count
    """Bytes of its payload."""
    encoding: str
    """`encoding` of its manifest."""
    stats: msgspec.Raw
    """JSON of its zone map; `null` when the page does not have it."""
    ids: dict[str, int]
    """Bytes of its filter, by field."""

    def zone(self) -> dict[str, Any] | None:
        """Return its zone map; `None` when the page does not have it."""
        try:
            decoded = msgspec.json.decode(self.stats)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        return decoded if isinstance(decoded, dict) else None


_decode_lines: Final[Callable[[bytes], list[PageEntry | None]]] = msgspec.json.Decoder(PageEntry | None).decode_lines


def entry_line(manifest: Manifest, ids: Mapping[str, int]) -> bytes:
    """Return the JSON line of a batch, without LF.

    Args:
        manifest: its manifest.
        ids: bytes of its filter, by field.
    """
    try:
        stats = json.dumps(manifest.stats, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        stats = "null"  # bytes, which only another writer than this package puts there
    members = {
        "cid": manifest.cid.text,
        "first": rfc3339(manifest.first),
        "last": rfc3339(manifest.last),
        "records": manifest.records,
        "size": manifest.size,
        "encoding": manifest.encoding,
        "stats": None,
        "ids": dict(sorted(ids.items())),
    }
    line = json.dumps(members, separators=(",", ":"))
    if len(stats) <= _MAX_STATS_BYTES:
        line = line.replace('"stats":null', f'"stats":{stats}', 1)
    return line.encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRoot:
    """The root of a page.

    Raises:
        FormatError: the fields do not fit together.
    """

    log: str
    """Name of the log."""
    first: int
    """Number of its first batch."""
    count: int
    """Number of its batches."""
    entries: Cid
    """The block with the lines."""
    size: int
    """Bytes of the lines."""
    filters: Mapping[str, tuple[Cid, Cid | None]]
    """By field: the block with the filters of its batches, and that with the filter of the page, if it has one."""

    def __post_init__(self) -> None:
        numbers = (self.first, self.count, self.size)
        if any(type(number) is not int for number in numbers) or type(self.log) is not str:
            raise FormatError("not the root of an index page", found=ascii(numbers))
        if self.first < 0 or self.first % PAGE_BATCHES or not 1 <= self.count <= PAGE_BATCHES:
            raise FormatError("not the batches of an index page", found=f"{self.count} from {self.first} on")
        if not 0 < self.size <= _MAX_TEXT_BYTES:
            raise FormatError("an index page is too long", expected=f"at most {_MAX_TEXT_BYTES}", found=self.size)
        batches = [pair[0] for pair in self.filters.values()]
        links = [self.entries, *batches, *(pair[1] for pair in self.filters.values() if pair[1] is not None)]
        if any(type(link) is not Cid or link.codec != RAW for link in links):
            raise FormatError("the blocks of an index page are raw", found=ascii(links)[:200])
        if len(self.filters) > MAX_FIELDS or any(not 0 < len(name) <= _MAX_FIELD_LENGTH for name in self.filters):
            raise FormatError("too many fields in an index page", expected=MAX_FIELDS, found=len(self.filters))

    def encode(self) -> bytes:
        """Return the block."""
        filters = {name: {"batches": batches, "page": page} for name, (batches, page) in self.filters.items()}
        value = {name: getattr(self, name) for name in _KEYS if name not in ("v", "filters")}
        return dagcbor.encode({"v": VERSION, **value, "filters": filters})

    @classmethod
    def decode(cls, block: bytes) -> PageRoot:
        """Decode the block.

        Raises:
            FormatError: it is not the root of a page of this version.
        """
        value = dagcbor.decode_map(block, "an index page", version=VERSION, keys=_KEYS, max_bytes=MAX_ROOT_BYTES)
        filters = value["filters"]
        if not isinstance(filters, dict) or any(
            not isinstance(links, dict) or links.keys() != {"batches", "page"} for links in filters.values()
        ):
            raise FormatError("not the filters of an index page", found=ascii(filters)[:200])
        del value["v"]
        return cls(**{**value, "filters": {name: (pair["batches"], pair["page"]) for name, pair in filters.items()}})

    def decode_entries(self, block: bytes) -> list[PageEntry | None]:
        """Decode the block with the lines. The list is cached, so the caller must not change it.

        Raises:
            FormatError: the block does not hold one line for each batch.
        """
        entries = _decoded(block, self.size)
        if len(entries) != self.count:
            raise FormatError("an index page has other lines", expected=self.count, found=len(entries))
        return entries


@lru_cache(maxsize=_MAX_DECODED)
def _decoded(block: bytes, size: int) -> list[PageEntry | None]:
    try:
        return _decode_lines(inflate(block, size))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise FormatError(f"an index page has a line that is no batch: {error}") from error


_KEYS: Final = ("v", "log", "first", "count", "entries", "size", "filters")


@dataclass(frozen=True, slots=True)
class IndexPage:
    """The content of a page before it is written."""

    log: str
    """Name of the log."""
    first: int
    """Number of its first batch."""
    lines: Sequence[bytes]
    """The JSON line of each batch, without LF; `null` for one that could not be read."""
    filters: Mapping[str, Sequence[bytes | None]] = field(default_factory=dict)
    """By field: the filter of each batch; `None` where it is unknown."""
    page_filters: Mapping[str, bytes] = field(default_factory=dict)
    """By field: the filter of the page; a field may be missing."""

    def encode(self) -> bytes:
        """Return the CAR.

        Raises:
            FormatError: it is larger than a page can be.
        """
        text = b"".join(line + b"\n" for line in self.lines)
        entries = _block(compress(text, _LEVEL))
        blocks, links = [entries], {}
        for name, filters in sorted(self.filters.items()):
            batches = _block(b"".join(data for data in filters if data is not None))
            blocks.append(batches)
            page = _block(self.page_filters[name]) if name in self.page_filters else None
            if page is not None:
                blocks.append(page)
            links[name] = (batches[0], None if page is None else page[0])
        root = PageRoot(
            log=self.log, first=self.first, count=len(self.lines), entries=entries[0], size=len(text), filters=links
        ).encode()
        cid = Cid.of(DAG_CBOR, root)
        return car.encode([cid], [(cid, root), *dict(blocks).items()])


def _block(data: bytes) -> tuple[Cid, bytes]:
    return Cid.of(RAW, data), data


def spans_of(entries: Sequence[PageEntry | None], name: str) -> list[tuple[int, int] | None]:
    """Return the begin and end of the filter of each batch in the block of a field; `None` for an unknown filter.

    Raises:
        FormatError: the size of a filter is not a possible one.
    """
    spans: list[tuple[int, int] | None] = []
    at = 0
    for entry in entries:
        size = None if entry is None else entry.ids.get(name)
        if size is None:
            spans.append(None)
            continue
        if not 0 <= size <= MAX_BATCH_BLOCKS * BLOCK_BYTES or size % BLOCK_BYTES:
            raise FormatError("not the size of a filter", found=size)
        spans.append((at, at + size))
        at += size
    return spans


def may_hold_each(
    entries: Sequence[PageEntry | None], name: str, hashes: Sequence[int], batches: bytes, page: bytes | None
) -> bytes:
    """Return for each batch of a page whether it may hold an id: 0 is "certainly not", 1 is "perhaps".

    Args:
        entries: the entries of the page.
        name: the field.
        hashes: the hashes of the ids.
        batches: the filters of the batches.
        page: the filter of the page; `None` when it has none.

    Raises:
        FormatError: the filters do not have the sizes in the entries.
    """
    spans = spans_of(entries, name)
    end = next((span[1] for span in reversed(spans) if span is not None), 0)
    if end != len(batches) or (page is not None and (None in spans or not is_page_filter(page))):
        raise FormatError("the filters of an index page are not those of its batches", expected=end, found=len(batches))
    if page is not None and not may_hold(page, hashes):
        return bytes(len(spans))
    view = memoryview(batches)
    return bytes(span is None or may_hold(view[span[0] : span[1]], hashes) for span in spans)


def is_page_filter(data: bytes) -> bool:
    """Say whether a block has a size that the filter of a page can have."""
    return len(data) % BLOCK_BYTES == 0 and len(data) <= MAX_PAGE_BLOCKS * BLOCK_BYTES
