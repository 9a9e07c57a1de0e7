"""Golden bytes of the IPLD floor: CIDs, DAG-CBOR blocks, a CAR, UnixFS nodes."""

from __future__ import annotations

from collections.abc import Iterator

from ipfs_log_handlers.format import car, dagcbor, unixfs
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, RAW, Cid
from tests.vectors import dump

MIB = 1 << 20

BLOCKS = {"empty": b"", "hello": b"hello world", "zeros": bytes(100)}


def _nested(depth: int) -> list[object]:
    return [_nested(depth - 1)] if depth > 1 else []


PAYLOAD = Cid.of(RAW, b"payload")
VALUES: dict[str, object] = {
    "nothing": None,
    "smallest int": -(2**64),
    "largest int": 2**64 - 1,
    "minus zero": -0.0,
    "deepest list": _nested(32),
    "link": PAYLOAD,
    "head": {
        "v": 1,
        "log": "ipfs-logs/0123456789abcdef/audit/01234567",
        "index": 41,
        "manifest": Cid.of(DAG_CBOR, b"manifest"),
        "checkpoint": b"origin\n42\nroot\n",
    },
    "key order": {"b": 1, "aa": 2, "a": 3, "": 4, "ä": 5, "ab": 6, "k" * 24: 7, "k" * 23: 8, "l" * 23: 9},
    "facts": {
        "payload": PAYLOAD,
        "prev": PAYLOAD.text,
        "edge": bytes(range(64)),
        "meta": {"retention": 365, "gdpr": True, "note": "Prüfung"},
        "stats": {"latency": {"min": 0.25, "max": 1.5e3}, "levels": {"info": 97, "error": 3}},
        "sources": [["0123456789abcdef", 4711, 1, 100]],
    },
}

SIZES = (MIB + 1, 2 * MIB, 3 * MIB - 1)


def pattern(size: int) -> Iterator[bytes]:
    """Yield the bytes of a test file: its n-th MiB is n as 8 bytes, big-endian, repeated; the last one is cut."""
    for n in range(-(-size // MIB)):
        whole = n.to_bytes(8, "big") * (MIB // 8)
        yield whole[: size - n * MIB]


def files() -> dict[str, bytes]:
    """Build them all."""
    vectors = {"cid": _cids(), "dagcbor": _dagcbor(), "car": _car(), "unixfs": [_unixfs(size) for size in SIZES]}
    return {"ipld.json": dump(vectors)}


def _cids() -> list[dict[str, object]]:
    cases = [(codec, name) for codec in (RAW, DAG_PB, DAG_CBOR) for name in BLOCKS]
    return [
        {"codec": codec, "block": BLOCKS[name].hex(), "binary": cid.hex(), "text": cid.text}
        for codec, name in cases
        for cid in [Cid.of(codec, BLOCKS[name])]
    ]


def _dagcbor() -> dict[str, dict[str, str]]:
    blocks = {name: dagcbor.encode(value) for name, value in VALUES.items()}
    return {name: {"hex": block.hex(), "cid": Cid.of(DAG_CBOR, block).text} for name, block in blocks.items()}


def _car() -> dict[str, object]:
    blocks = [(Cid.of(RAW, block), block) for block in BLOCKS.values()]
    roots = [blocks[2][0], blocks[0][0]]
    return {"roots": [cid.text for cid in roots], "hex": car.encode(roots, blocks).hex()}


def _unixfs(size: int) -> dict[str, object]:
    blocks = list(unixfs.build(pattern(size)))
    return {"size": size, "blocks": [cid.text for cid, _ in blocks], "root": blocks[-1][1].hex()}
