"""Encode and decode the manifest: the description of one batch, and its place in the chain.

A manifest is a block of canonical DAG-CBOR. Its CID is leaf number `index` of the tree that the checkpoint signs, and
`edge` is that tree before this leaf. `payload` and `evidence` are links, so that pinning a manifest pins them; `prev`
and `jump` are text, so that a pin does not include all earlier batches. The size of the payload is in the manifest, so
that a reader knows how much it must read.

A manifest from another machine may be hostile: a block that is not exactly as `Manifest` says is refused, also for an
unknown version or an unknown key. Only the keys inside `ext` may be unknown (docs/formats.md, "How a field is added").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import dagcbor, merkle
from ipfs_log_handlers.format.checkpoint import MAX_SIZE, key_name_of
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, RAW, Cid
from ipfs_log_handlers.format.encoding import JSONL, UNIXFS, Encoding, encoding_of

__all__ = ["JSONL", "MAX_BLOCK", "MAX_SOURCES", "MAX_TIME", "UNIXFS", "Manifest", "Source", "jump_index"]

VERSION = 1
"""Version of this format; no other version is read."""
MAX_BLOCK = 16 * 1024
"""Bytes of a manifest; a longer one is neither written nor read."""
MAX_SOURCES = 64
"""Runs of records in `sources`; a batch is sealed when the next run does not fit."""
CHUNK = 1 << 20
"""Bytes of a payload up to which it is one raw block."""

Source = tuple[str, int, int, int]
"""A run of records of one writer: writer (16 hex digits), pid, first seq, last seq."""

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})
_WRITER = re.compile("[0-9a-f]{16}")
MAX_TIME = 253_402_300_799_999_999
"""µs since 1970: the last moment of the year 9999."""
_MAX_UINT = 2**63 - 1
"""Largest count, size or sequence number: other languages read it as a signed integer of 64 bits."""
_EXT = "ext"
"""The optional key of a manifest: a map of namespaced keys, which a reader may ignore."""
_EXT_KEY = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}")


def jump_index(index: int) -> int | None:
    """Return the index that manifest `index` jumps back to, None for 0.

    With `prev` and these jumps, any manifest is reached in O(log n) hops.

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
    """The description of one batch. Mappings given to it are not copied: do not change them afterwards.

    Raises:
        FormatError: the fields do not make a manifest of this version.
    """

    v: int = VERSION
    """Version of this format."""
    log: str
    """Name of the log: `ipfs-logs/<key>/<subsystem>/<8 hex digits>`, the checkpoint's origin."""
    index: int
    """Number of the batch in its log, from 0: the leaf number in the tree."""
    prev: Cid | None
    """CID of manifest `index` - 1; None in the first manifest. Text in the block, not a link."""
    jump: Cid | None
    """CID of manifest `jump_index(index)`; None in the first manifest. Text in the block, not a link."""
    edge: bytes
    """RFC 6962 edge over all earlier manifests: roots of the perfect subtrees from left to right, 32 bytes each."""
    sealed: int
    """Time at which the batch was sealed, in µs since 1970."""
    first: int
    """Time of the earliest record in µs since 1970; `sealed` in a batch without records."""
    last: int
    """Time of the latest record in µs since 1970; `sealed` in a batch without records."""
    records: int
    """Number of records in the payload."""
    dropped: Mapping[str, int]
    """Number of records that were lost since the previous batch, by reason."""
    payload: Cid
    """CID of the payload: one raw block of at most 1 MiB, else the root of a UnixFS file or directory."""
    size: int
    """Bytes of the payload as stored; of a directory, the bytes of all files in it."""
    raw: int
    """Bytes of the decompressed payload."""
    encoding: str
    """Encoding of the payload: a name in `encoding.ENCODINGS`."""
    root: bytes
    """Root of the salted tree over the records; `merkle.EMPTY_ROOT` in a batch without records."""
    meta: Mapping[str, Any]
    """Metadata that the subsystem defines for its batches."""
    stats: Mapping[str, Any]
    """Zone map, with which a query skips the batch: levels, smallest and largest values, small sets."""
    sources: tuple[Source, ...]
    """Writers of the records: at most `MAX_SOURCES` runs, in the order of the records."""
    evidence: tuple[Cid, ...]
    """Links to signed notes about this log; in the first manifest of a new log, the checkpoint of the log before it."""
    ext: Mapping[str, Any] = field(default_factory=dict)
    """Additions that a reader may ignore, by namespaced key, `<name>/<key>`. Not in the block while it is empty."""
    _block: bytes | None = field(init=False, default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_types(self)
        key_name_of(self.log)
        _check_chain(self)
        _check_times(self)
        _check_payload(self)
        _refuse_links((self.meta, self.stats, self.ext), -1)
        _check_sources(self.sources)
        _check_ext(self.ext)

    @classmethod
    def decode(cls, block: bytes) -> Manifest:
        """Decode a block to a manifest whose CID is that of exactly these bytes.

        Raises:
            FormatError: the block is not a manifest, or has a version or a key that this code does not know.
        """
        value = dagcbor.decode_map(
            block, "a manifest", version=VERSION, keys=_KEYS, optional=(_EXT,), max_bytes=MAX_BLOCK
        )
        if value.get(_EXT) == {}:
            raise FormatError("an empty `ext` is left out", expected="no key `ext`", found="an empty map")
        is_same = value["jump"] == value["prev"]  # every second `jump` is `prev`
        value["prev"] = _cid_of_text(value["prev"])
        value["jump"] = value["prev"] if is_same else _cid_of_text(value["jump"])
        value["sources"] = tuple(tuple(run) if isinstance(run, list) else run for run in _list(value, "sources"))
        value["evidence"] = tuple(_list(value, "evidence"))
        manifest = cls(**value)
        object.__setattr__(manifest, "_block", bytes(block))
        return manifest

    def encode(self, max_bytes: int = MAX_BLOCK) -> bytes:
        """Return the block.

        Args:
            max_bytes: bytes that a block may have which was not decoded or encoded before.

        Raises:
            FormatError: `meta`, `stats` or `ext` contain a value that DAG-CBOR does not have, or make the block longer
                than `max_bytes`.
        """
        if self._block is not None:
            return self._block
        value = {key: getattr(self, key) for key in _KEYS}
        value["prev"] = self.prev and self.prev.text
        value["jump"] = self.jump and self.jump.text
        if self.ext:
            value[_EXT] = self.ext
        block = dagcbor.encode(value)
        if len(block) > max_bytes:
            raise FormatError(
                "a manifest is too long",
                expected=f"at most {max_bytes} bytes",
                found=len(block),
                where=f"{self.log} batch {self.index}",
                hint="shorten meta and stats: say `many` instead of a large set",
            )
        object.__setattr__(self, "_block", block)
        return block

    @property
    def cid(self) -> Cid:
        """The CID of the block: leaf number `index` of the tree."""
        return Cid.of(DAG_CBOR, self.encode())

    @property
    def edge_hashes(self) -> merkle.Edge:
        """`edge`, cut into hashes."""
        return tuple(self.edge[at : at + 32] for at in range(0, len(self.edge), 32))

    @property
    def payload_encoding(self) -> Encoding:
        """The encoding of the payload."""
        return encoding_of(self.encoding)

    def edge_after(self) -> merkle.Edge:
        """Return the edge of the tree that ends with this manifest: the edge of the next manifest."""
        return merkle.edge_append(self.edge_hashes, self.index, merkle.leaf_hash(self.cid))


_KEYS = (
    "v", "log", "index", "prev", "jump", "edge", "sealed", "first", "last", "records", "dropped", "payload", "size",
    "raw", "encoding", "root", "meta", "stats", "sources", "evidence",
)  # fmt: skip
"""The keys of version 1, which each manifest has. They never change: a reader refuses a block with one more or less."""


def _cid_of_text(value: object) -> Cid | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise FormatError("`prev` and `jump` are CIDs as text", found=type(value).__name__)
    return Cid.parse(value)


def _list(value: dict[str, Any], key: str) -> list[Any]:
    items = value[key]
    if not isinstance(items, list):
        raise FormatError(f"`{key}` is a list", found=type(items).__name__)
    return items


def _check_types(manifest: Manifest) -> None:
    """Check the type of each field exactly: `True` is not a number here, and a `Cid` is not a byte string."""
    for key in ("v", "index", "records", "size", "raw", "sealed", "first", "last"):
        value = getattr(manifest, key)
        if type(value) is not int or (key not in _TIMES and not 0 <= value <= _MAX_UINT):
            raise FormatError("not a whole number", expected="0 to 2^63 - 1", found=ascii(value), where=key)
    if manifest.v != VERSION:
        raise FormatError("a manifest of another version", expected=VERSION, found=manifest.v)
    for key in ("edge", "root"):
        if type(getattr(manifest, key)) is not bytes:
            raise FormatError("hashes are bytes", where=key, found=type(getattr(manifest, key)).__name__)
    for key in ("dropped", "meta", "stats", _EXT):
        if not _is_map(getattr(manifest, key)):
            raise FormatError("not a map", where=key, found=type(getattr(manifest, key)).__name__)
    if type(manifest.evidence) is not tuple or not all(
        type(cid) is Cid for cid in (manifest.payload, *manifest.evidence)
    ):
        raise FormatError("`payload` and `evidence` are links", found=ascii((manifest.payload, manifest.evidence)))
    for reason, count in manifest.dropped.items():
        if type(reason) is not str or type(count) is not int or not 0 <= count <= _MAX_UINT:
            raise FormatError("`dropped` is not a map of reasons to counts", found=f"{reason!a}: {count!a}")


def _is_map(value: object) -> TypeGuard[Mapping[Any, Any]]:
    # To ask an abstract class takes ten times as long as the first comparison.
    return type(value) is dict or isinstance(value, Mapping)


_TIMES = ("sealed", "first", "last")
"""The keys of moments in µs since 1970."""


def _check_chain(manifest: Manifest) -> None:
    index = manifest.index
    if index >= MAX_SIZE:
        raise FormatError("the number of a batch is too large", expected=f"less than {MAX_SIZE}", found=index)
    for key, cid in (("prev", manifest.prev), ("jump", manifest.jump)):
        if (cid is None) != (index == 0):
            raise FormatError("only the first manifest has no `prev` and `jump`", where=key, found=f"index {index}")
        if cid is not None and (type(cid) is not Cid or cid.codec != DAG_CBOR):
            raise FormatError("not the CID of a manifest", where=key, found=ascii(cid))
    if jump_index(index) == index - 1 and manifest.jump != manifest.prev:
        raise FormatError("`jump` of this index is `prev`", expected=manifest.prev, found=manifest.jump)
    if len(manifest.edge) != 32 * index.bit_count():
        raise FormatError(
            "an edge has 32 bytes for each set bit of the index",
            expected=32 * index.bit_count(),
            found=len(manifest.edge),
            where=f"index {index}",
        )


def _check_times(manifest: Manifest) -> None:
    for key in _TIMES:
        if not 0 <= getattr(manifest, key) <= MAX_TIME:
            raise FormatError("not a time in µs, 1970 to 9999", where=key, found=getattr(manifest, key))
    if manifest.first > manifest.last:
        raise FormatError("`first` is after `last`", expected=manifest.last, found=manifest.first)
    if manifest.records == 0 and not manifest.first == manifest.last == manifest.sealed:
        raise FormatError("without a record, `first` and `last` are `sealed`", expected=manifest.sealed)


def _check_payload(manifest: Manifest) -> None:
    encoding = encoding_of(manifest.encoding)
    small_tree = encoding.small_trees and manifest.payload.codec == DAG_PB
    if not small_tree and manifest.payload.codec != (RAW if manifest.size <= CHUNK else DAG_PB):
        raise FormatError("a payload is one raw block up to 1 MiB, else a UnixFS file", found=manifest.payload)
    if len(manifest.root) != 32 or (manifest.root == merkle.EMPTY_ROOT) != (manifest.records == 0):
        raise FormatError("not a root for this number of records", found=f"{manifest.root.hex()}, {manifest.records}")
    encoding.check(manifest.records, manifest.size, manifest.raw)


def _refuse_links(value: object, depth: int) -> None:
    """Check that a map contains no link: a daemon would search for its block, without end, at each pin."""
    if depth > dagcbor.MAX_DEPTH:
        raise FormatError("a map is nested too deep", expected=f"at most {dagcbor.MAX_DEPTH} levels")
    for item in value.values() if _is_map(value) else value if isinstance(value, (list, tuple)) else ():
        kind = type(item)
        if kind is Cid:
            raise FormatError("`meta`, `stats` and `ext` contain no links", found=item, hint="write the CID as text")
        if kind not in _SCALARS:
            _refuse_links(item, depth + 1)


def _check_ext(ext: Mapping[str, Any]) -> None:
    for key in ext:
        if type(key) is not str or _EXT_KEY.fullmatch(key) is None:
            raise FormatError("not a key of `ext`", expected="<name>/<key>, as example.org/colour", found=ascii(key))


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
