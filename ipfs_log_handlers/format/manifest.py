"""The manifest: the facts of one batch, and its place in the chain.

A block of canonical DAG-CBOR. Its CID is leaf number `index` in the tree that the checkpoint signs, `edge` is that
tree before this leaf. `payload` and `evidence` are links, so that pinning a manifest pins them; `prev` and `jump` are
text, so that it does not pin all batches before. `payload`'s size is known before it is fetched, so that a reader
knows how much it will ever read.

A manifest from somewhere else is hostile: what is not exactly as `Manifest` says is refused, keys that it does not
know and versions that it does not know included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor, merkle
from ipfs_log_handlers.format.checkpoint import MAX_SIZE, key_name_of
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, RAW, Cid

__all__ = ["JSONL", "MAX_BLOCK", "MAX_SOURCES", "UNIXFS", "Manifest", "Source", "jump_index"]

VERSION = 1
MAX_BLOCK = 16 * 1024
MAX_SOURCES = 64
CHUNK = 1 << 20

JSONL = "jsonl+zstd"
"""Encoding of a payload of records: see `payload`."""
UNIXFS = "unixfs"
"""Encoding of a payload that is a plain file or directory, without records."""

Source = tuple[str, int, int, int]
"""A run of records of one writer: writer (16 hex digits), pid, first seq, last seq."""

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_WRITER = re.compile("[0-9a-f]{16}")
_MAX_TIME = 253_402_300_799_999_999  # µs since 1970 of the last one in year 9999
_MAX_UINT = 2**63 - 1


def jump_index(index: int) -> int | None:
    """Return the index that manifest `index` jumps back to (None for 0): with `prev`, any index is O(log n) hops away.

    E. Myers, "An applicative random-access stack", 1983: write `index` as a sum of numbers 2^k - 1, the largest
    first; the jump goes over the last one.
    """
    if index <= 0:
        return None
    rest = index
    while True:
        step = (1 << (rest + 1).bit_length() - 1) - 1
        if step == rest:
            return index - step
        rest -= step


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The facts of one batch. Mappings given to it are not copied: leave them alone afterwards."""

    v: int = VERSION
    """Version of this format."""
    log: str
    """Name of the log: `ipfs-logs/<key>/<subsystem>/<drawn>`, the checkpoint's origin."""
    index: int
    """Number of the batch in its log, from 0: its leaf number."""
    prev: Cid | None
    """Manifest `index` - 1; None in the first one. Text in the block, not a link."""
    jump: Cid | None
    """Manifest `jump_index(index)`; None in the first one. Text in the block, not a link."""
    edge: bytes
    """RFC 6962 edge over all manifests before this one: the perfect subtrees' roots from left to right."""
    sealed: int
    """When the batch was sealed, in µs since 1970."""
    first: int
    """Time of the earliest record in µs since 1970; `sealed` if there is none."""
    last: int
    """Time of the latest record in µs since 1970; `sealed` if there is none."""
    records: int
    """How many records are in the payload."""
    dropped: Mapping[str, int]
    """How many were lost since the batch before, by reason."""
    payload: Cid
    """The payload: a raw block if it has at most 1 MiB, else the root of a UnixFS file; or that of a directory."""
    size: int
    """Bytes of the payload as it is stored; of a directory, those of all files in it."""
    raw: int
    """Bytes of the payload when it is decompressed."""
    encoding: str
    """How to read the payload: `JSONL` or `UNIXFS`."""
    root: bytes
    """Root of the salted tree over the records; `merkle.EMPTY_ROOT` if there is none."""
    meta: Mapping[str, Any]
    """What the subsystem promises of each of its batches."""
    stats: Mapping[str, Any]
    """What lets a query pass over the batch: levels, smallest and largest values, small sets."""
    sources: tuple[Source, ...]
    """Whose records these are, at most `MAX_SOURCES` runs."""
    evidence: tuple[Cid, ...]
    """Blocks that others signed about this log; in a new log, the head of the one that it follows."""
    _block: bytes | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_types(self)
        key_name_of(self.log)
        _check_chain(self)
        _check_times(self)
        _check_payload(self)
        _refuse_links((self.meta, self.stats), -1)
        _check_sources(self.sources)

    @classmethod
    def decode(cls, block: bytes) -> Manifest:
        """Read a block, which becomes a manifest with the CID of exactly these bytes.

        Raises:
            FormatError: it is not a manifest, or one of a version or with a key that this code does not know.
        """
        value = dagcbor.decode_map(block, "a manifest", version=VERSION, keys=_KEYS, most=MAX_BLOCK)
        value["prev"] = _cid_of_text(value["prev"])
        value["jump"] = _cid_of_text(value["jump"])
        value["sources"] = tuple(tuple(run) if isinstance(run, list) else run for run in _list(value, "sources"))
        value["evidence"] = tuple(_list(value, "evidence"))
        manifest = cls(**value)
        object.__setattr__(manifest, "_block", bytes(block))
        return manifest

    def encode(self) -> bytes:
        """Return the block.

        Raises:
            FormatError: `meta` or `stats` hold what DAG-CBOR cannot, or so much that the block has over `MAX_BLOCK`.
        """
        if self._block is not None:
            return self._block
        value = {key: getattr(self, key) for key in _KEYS}
        value["prev"] = self.prev and self.prev.text
        value["jump"] = self.jump and self.jump.text
        block = dagcbor.encode(value)
        if len(block) > MAX_BLOCK:
            raise FormatError(
                "a manifest is too long",
                expected=f"at most {MAX_BLOCK} bytes",
                found=len(block),
                where=f"{self.log} batch {self.index}",
                hint="shorten meta and stats: say `many` instead of a large set",
            )
        object.__setattr__(self, "_block", block)
        return block

    @property
    def cid(self) -> Cid:
        """The CID of the block: what the tree has as leaf number `index`."""
        return Cid.of(DAG_CBOR, self.encode())

    @property
    def edge_hashes(self) -> merkle.Edge:
        """`edge`, cut into hashes."""
        return tuple(self.edge[at : at + 32] for at in range(0, len(self.edge), 32))

    def edge_after(self) -> merkle.Edge:
        """Return the edge of the tree that ends with this manifest: that of the next one and of the checkpoint."""
        return merkle.edge_append(self.edge_hashes, self.index, merkle.leaf_hash(self.cid))


_KEYS = tuple(each.name for each in fields(Manifest) if not each.name.startswith("_"))


def _cid_of_text(value: object) -> Cid | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise FormatError("`prev` and `jump` are CIDs as text", found=type(value).__name__)
    return Cid.parse(value)


def _list(value: dict[str, Any], key: str) -> list[Any]:
    found = value[key]
    if not isinstance(found, list):
        raise FormatError(f"`{key}` is a list", found=type(found).__name__)
    return found


def _check_types(manifest: Manifest) -> None:
    """Check each field alone: exact types, for True is no number here and a Cid no byte string."""
    for key in ("v", "index", "records", "size", "raw", "sealed", "first", "last"):
        value = getattr(manifest, key)
        if type(value) is not int or (key not in _TIMES and not 0 <= value <= _MAX_UINT):
            raise FormatError("a number of a manifest is none", where=key, found=ascii(value))
    if manifest.v != VERSION:
        raise FormatError("not a version that is written here", expected=VERSION, found=manifest.v)
    for key in ("edge", "root"):
        if type(getattr(manifest, key)) is not bytes:
            raise FormatError("hashes are bytes", where=key, found=type(getattr(manifest, key)).__name__)
    for key in ("dropped", "meta", "stats"):
        if not isinstance(getattr(manifest, key), Mapping):
            raise FormatError("not a map", where=key, found=type(getattr(manifest, key)).__name__)
    if type(manifest.evidence) is not tuple or not all(
        type(cid) is Cid for cid in (manifest.payload, *manifest.evidence)
    ):
        raise FormatError("`payload` and `evidence` are links", found=ascii((manifest.payload, manifest.evidence)))
    for reason, count in manifest.dropped.items():
        if type(reason) is not str or type(count) is not int or not 0 <= count <= _MAX_UINT:
            raise FormatError("`dropped` counts by reason", found=f"{reason!a}: {count!a}")


_TIMES = ("sealed", "first", "last")


def _check_chain(manifest: Manifest) -> None:
    index = manifest.index
    if index >= MAX_SIZE:
        raise FormatError("a log has no batch with this number", found=index)
    for key, cid in (("prev", manifest.prev), ("jump", manifest.jump)):
        if (cid is None) != (index == 0):
            raise FormatError("only the first manifest points to none before it", where=key, found=f"index {index}")
        if cid is not None and (type(cid) is not Cid or cid.codec != DAG_CBOR):
            raise FormatError("not the CID of a manifest", where=key, found=ascii(cid))
    if jump_index(index) == index - 1 and manifest.jump != manifest.prev:
        raise FormatError("this manifest jumps to the one before it", expected=manifest.prev, found=manifest.jump)
    if len(manifest.edge) != 32 * index.bit_count():
        raise FormatError(
            "an edge has 32 bytes for each set bit of the index",
            expected=32 * index.bit_count(),
            found=len(manifest.edge),
            where=f"index {index}",
        )


def _check_times(manifest: Manifest) -> None:
    for key in _TIMES:
        if not 0 <= getattr(manifest, key) <= _MAX_TIME:
            raise FormatError("not a time in µs, 1970 to 9999", where=key, found=getattr(manifest, key))
    if manifest.first > manifest.last:
        raise FormatError("`first` is after `last`", expected=manifest.last, found=manifest.first)
    if manifest.records == 0 and not manifest.first == manifest.last == manifest.sealed:
        raise FormatError("without a record, `first` and `last` are `sealed`", expected=manifest.sealed)


def _check_payload(manifest: Manifest) -> None:
    if manifest.encoding not in (JSONL, UNIXFS):
        raise FormatError(
            "an encoding that this code does not know",
            expected=f"{JSONL} or {UNIXFS}",
            found=ascii(manifest.encoding),
            hint="upgrade ipfs_log_handlers to read it",
        )
    small_tree = manifest.encoding == UNIXFS and manifest.payload.codec == DAG_PB  # a directory may have no byte at all
    if not small_tree and manifest.payload.codec != (RAW if manifest.size <= CHUNK else DAG_PB):
        raise FormatError("a payload is one raw block up to 1 MiB, else a UnixFS file", found=manifest.payload)
    if len(manifest.root) != 32 or (manifest.root == merkle.EMPTY_ROOT) != (manifest.records == 0):
        raise FormatError("not a root for this number of records", found=f"{manifest.root.hex()}, {manifest.records}")
    if manifest.encoding == UNIXFS and (manifest.records or manifest.raw != manifest.size):
        raise FormatError("a plain file has no records, and is stored as it is", found=f"{manifest.raw} bytes")
    if manifest.encoding == JSONL and not manifest.raw >= 3 * manifest.records >= (3 if manifest.raw else 0):
        raise FormatError("records and bytes do not fit", found=f"{manifest.records} records, {manifest.raw} bytes")


def _refuse_links(value: object, depth: int) -> None:
    """Check that `meta` and `stats` hold no link: a daemon would look for it, without end, at each pin."""
    if depth > dagcbor.MAX_DEPTH:
        raise FormatError("`meta` or `stats` are nested too deep", expected=f"at most {dagcbor.MAX_DEPTH} levels")
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ():
        kind = type(item)
        if kind is Cid:
            raise FormatError("`meta` and `stats` hold no links", found=item, hint="write the CID as text")
        if kind not in _SCALARS:
            _refuse_links(item, depth + 1)


def _check_sources(sources: tuple[Source, ...]) -> None:
    if type(sources) is not tuple or len(sources) > MAX_SOURCES:
        raise FormatError("too many sources", expected=f"at most {MAX_SOURCES}", found=len(sources))
    for run in sources:
        if type(run) is not tuple or len(run) != 4 or not _is_run(*run):
            raise FormatError("not a source", expected="writer, pid, first seq, last seq", found=ascii(run))


def _is_run(writer: object, pid: object, first: object, last: object) -> bool:
    return (
        type(writer) is str
        and type(pid) is int
        and type(first) is int
        and type(last) is int
        and _WRITER.fullmatch(writer) is not None
        and 0 <= pid <= _MAX_UINT
        and 1 <= first <= last <= _MAX_UINT
    )
