"""Build and read snapshots: a tree of links to all manifests of a log, so that one CID stands for the whole log.

All blocks are canonical DAG-CBOR. A node, `{v, level, links}`, always has 256 links: a node of level 0 links
manifests, a node of level k nodes of level k - 1. The root, `{v, log, head, size, links}`, links the head block and
whatever is in no node of a higher level: with `size` written in base 256, first the nodes of the highest level, as many
as the first digit says, and at last the manifests, as many as the last digit says. So no node changes when the log
grows: one more batch makes one new root, and a new node of a level only where 256 below it have become complete.

The links are real, so that a daemon that pins the root copies manifests, payloads and head. A manifest whose payload
was given up is linked as a raw block: the CID has the same hash, and a daemon copies the manifest without looking for
the payload. The links prove nothing: the binary CIDs of the manifests are the leaves of the tree that the checkpoint in
the head block signs, and `check_signed` compares both.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import dagcbor, merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, key_name_of
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.head import Head

__all__ = ["FAN_OUT", "MAX_BLOCK", "Node", "Snapshot", "blocks_of", "check_signed", "read_manifests"]

VERSION: Final = 1
"""Version of this format; no other version is read."""
FAN_OUT: Final = 256
"""Links of a node."""
MAX_BLOCK: Final = 48 * 1024
"""Bytes of a root or node; a longer one is not read."""
MAX_LEVELS: Final = 4
"""Digits of the largest `size` in base 256: a log with more batches has no snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """256 links to the manifests of one part of a log, or to the nodes one level below."""

    v: int = VERSION
    """Version of this format."""
    level: int
    """0: the links are manifests; else they are nodes of the level below."""
    links: tuple[Cid, ...]
    """The links, oldest first."""

    def __post_init__(self) -> None:
        _check_version(self.v)
        if type(self.level) is not int or not 0 <= self.level < MAX_LEVELS - 1:
            raise FormatError("not the level of a node", expected=f"0 to {MAX_LEVELS - 2}", found=ascii(self.level))
        _check_links(self.links, FAN_OUT, FAN_OUT if self.level == 0 else 0)

    @classmethod
    def decode(cls, block: bytes) -> Node:
        """Read a block.

        Raises:
            FormatError: it is not a node, or one of a version or with a key that this code does not know.
        """
        value = dagcbor.decode_map(block, "a node of a snapshot", version=VERSION, keys=_NODE_KEYS, max_bytes=MAX_BLOCK)
        return cls(**{**value, "links": _tuple(value["links"])})

    def encode(self) -> bytes:
        """Return the block."""
        return dagcbor.encode({"v": self.v, "level": self.level, "links": list(self.links)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The root of a snapshot: a log up to one of its heads."""

    v: int = VERSION
    """Version of this format."""
    log: str
    """Name of the log."""
    head: Cid
    """The head block of the newest batch in the snapshot."""
    size: int
    """Number of batches."""
    links: tuple[Cid, ...]
    """Complete nodes from the highest level down, then the manifests that are in no complete node."""

    def __post_init__(self) -> None:
        _check_version(self.v)
        key_name_of(self.log)
        if type(self.size) is not int or not 0 < self.size < FAN_OUT**MAX_LEVELS:
            raise FormatError(
                "not the size of a snapshot", expected=f"1 to {FAN_OUT**MAX_LEVELS - 1}", found=ascii(self.size)
            )
        _check_links((self.head,), 1)
        digits = _digits(self.size)
        _check_links(self.links, sum(digits), digits[-1])

    @classmethod
    def decode(cls, block: bytes) -> Snapshot:
        """Read a block.

        Raises:
            FormatError: it is not a root, or one of a version or with a key that this code does not know.
        """
        value = dagcbor.decode_map(block, "a snapshot", version=VERSION, keys=_ROOT_KEYS, max_bytes=MAX_BLOCK)
        return cls(**{**value, "links": _tuple(value["links"])})

    def encode(self) -> bytes:
        """Return the block."""
        value = {"v": self.v, "log": self.log, "head": self.head, "size": self.size, "links": list(self.links)}
        return dagcbor.encode(value)

    @property
    def cid(self) -> Cid:
        """The CID of the root: the CID of the snapshot."""
        return Cid.of(DAG_CBOR, self.encode())


_NODE_KEYS: Final = ("v", "level", "links")
_ROOT_KEYS: Final = ("v", "log", "head", "size", "links")


def _check_version(version: object) -> None:
    if type(version) is not int or version != VERSION:
        raise FormatError("not a version that this code writes", expected=VERSION, found=ascii(version))


def _check_links(links: object, count: int, manifests: int = 0) -> None:
    """Check the number of links, and that only the last ones, to manifests, may be raw."""
    if type(links) is not tuple or len(links) != count:
        raise FormatError("not as many links as a snapshot has here", expected=count, found=_count(links))
    for number, cid in enumerate(links):
        codecs = (DAG_CBOR, RAW) if number >= count - manifests else (DAG_CBOR,)
        if type(cid) is not Cid or cid.codec not in codecs:
            raise FormatError("a link of a snapshot leads to DAG-CBOR", found=ascii(cid))


def _count(links: object) -> object:
    return len(links) if isinstance(links, (tuple, list)) else type(links).__name__


def _tuple(links: object) -> object:
    return tuple(links) if isinstance(links, list) else links


def _digits(size: int) -> list[int]:
    """Return the digits of a number in base 256, the highest first, without zeros in front."""
    return list(size.to_bytes((size.bit_length() + 7) // 8, "big"))


def blocks_of(
    log: str, head: Cid, manifests: Sequence[Cid], given_up: Container[int] = ()
) -> Iterator[tuple[Cid, bytes]]:
    """Yield all blocks of a snapshot, each after those that it links; the last one is the root.

    The same log up to the same head gives the same blocks.

    Args:
        log: name of the log.
        head: CID of the head block of the newest manifest.
        manifests: CIDs of all manifests, oldest first.
        given_up: numbers of the batches whose payloads were given up.

    Raises:
        FormatError: there is no manifest, or there are too many.
    """
    tops: list[list[Cid]] = []
    below = [cid.as_codec(RAW) if index in given_up else cid for index, cid in enumerate(manifests)]
    level = 0
    while True:
        whole = len(below) // FAN_OUT * FAN_OUT
        tops.append(below[whole:])
        if not whole:
            break
        above = []
        for start in range(0, whole, FAN_OUT):
            block = Node(level=level, links=tuple(below[start : start + FAN_OUT])).encode()
            above.append(Cid.of(DAG_CBOR, block))
            yield above[-1], block
        below = above
        level += 1
    links = tuple(cid for top in reversed(tops) for cid in top)
    root = Snapshot(log=log, head=head, size=len(manifests), links=links)
    yield root.cid, root.encode()


def read_manifests(root: Snapshot, get: Callable[[Sequence[Cid]], Iterable[bytes]]) -> list[Cid]:
    """Read the CIDs of all manifests of a snapshot, oldest first; nothing is believed before `check_signed`.

    Args:
        root: the root.
        get: returns the blocks of some CIDs in their order, each hashed.

    Raises:
        FormatError: a block is not a node, or not one of this level.
    """
    digits = _digits(root.size)
    links = iter(root.links)
    found: list[Cid] = []
    for level, count in zip(range(len(digits) - 1, -1, -1), digits, strict=True):
        cids = [next(links) for _ in range(count)]
        for below in range(level - 1, -1, -1):
            cids = [cid for block in get(cids) for cid in _node(block, below).links]
        found += cids
    return [cid.as_codec(DAG_CBOR) for cid in found]


def _node(block: bytes, level: int) -> Node:
    node = Node.decode(block)
    if node.level != level:
        raise FormatError("a node of a snapshot is at another level", expected=level, found=node.level)
    return node


def check_signed(root: Snapshot, head: Head, manifests: Sequence[Cid]) -> None:
    """Check that a snapshot has exactly the manifests that the checkpoint of its head covers.

    The signature itself is not checked here: `Head.verify` does that.

    Raises:
        VerificationError: log, size, newest manifest or the root of the tree over the manifests differ.
    """
    claim = Checkpoint.parse(head.checkpoint)
    for field, expected, found in (
        ("log", head.log, root.log),
        ("size", claim.size, root.size),
        ("manifests", root.size, len(manifests)),
        ("the newest manifest", head.manifest.text, manifests[-1].text if manifests else "none"),
    ):
        if expected != found:
            raise VerificationError(f"a snapshot differs from its head: {field}", expected=expected, found=found)
    tree_root = merkle.root([merkle.leaf_hash(cid) for cid in manifests])
    if tree_root != claim.root:
        raise VerificationError(
            "a snapshot has other manifests than its head has signed",
            expected=claim.root.hex(),
            found=tree_root.hex(),
            where=root.log,
        )
