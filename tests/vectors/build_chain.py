"""Golden bytes of a log: manifests, heads, checkpoints, proofs, the salted tree of a batch.

The two zstd frames (`frame-1.zst`, `frame-9.zst`: the same lines at both levels) are kept, not built: another zstd may
give other bytes, and no CID of a log depends on which one made them.
"""

from __future__ import annotations

import json
from typing import Any

from ipfs_log_handlers.format import merkle, payload, unixfs
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, log_name
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import JSONL, UNIXFS, Manifest, jump_index
from tests.vectors import FOLDER, dump

BATCHES = 17
START = 1_767_225_600_000_000
KEY = SecretKey.generate(bytes(range(32)))
LOG = log_name(KEY.name, "audit", "01234567")
LINES = tuple(
    json.dumps(
        {
            "time": f"2026-01-01T00:00:{n:02}.000001Z",
            "level": ("info", "warning", "error")[n % 3],
            "logger": "audit",
            "event": "audit.event",
            "action": ("login", "read", "löschen")[n % 3],
            "user_id": f"user-{n * n % 7}",
            "pid": 4711,
            "seq": n + 1,
        },
        ensure_ascii=False,
    ).encode()
    for n in range(20)
)
RAW_SIZE = sum(len(line) + 1 for line in LINES)
FILE_SIZE = 5 * unixfs.CHUNK // 2


def salt_of(index: int) -> bytes:
    """Return the salt of a batch of this log."""
    return index.to_bytes(8, "big") * 4


def payload_of(index: int) -> bytes:
    """Return the payload of a batch of records: level 1 and 9 by turns."""
    return payload.prefix(salt_of(index), LOG, index) + (FOLDER / f"frame-{(1, 9)[index % 2]}.zst").read_bytes()


def manifests() -> list[Manifest]:
    """Build the chain: without a record first, then records; number 5 is a file, number 16 names what stood before."""
    chain: list[Manifest] = []
    for index in range(BATCHES):
        jump = jump_index(index)
        sealed = START + index * 10_000_000
        edge = b"".join(chain[-1].edge_after()) if chain else b""
        place: dict[str, Any] = {
            "log": LOG,
            "index": index,
            "prev": chain[-1].cid if chain else None,
            "jump": None if jump is None else chain[jump].cid,
            "edge": edge,
            "sealed": sealed,
            "evidence": (Cid.of(RAW, b"evidence"),) if index == 16 else (),
        }
        chain.append(Manifest(**place, **_content(index, sealed)))
    return chain


def _content(index: int, sealed: int) -> dict[str, Any]:
    if index in (0, 5):
        return _nothing(sealed) if index == 0 else _file(sealed)
    tree = merkle.RecordTree(salt_of(index))
    tree.add(LINES)
    block = payload_of(index)
    return {
        "first": START,
        "last": START + 19_000_000,
        "records": len(LINES),
        "dropped": {"disk_full": index, "too_large": 1} if index % 4 == 0 else {},
        "payload": Cid.of(RAW, block),
        "size": len(block),
        "raw": RAW_SIZE,
        "encoding": JSONL,
        "root": tree.root(),
        "meta": {"type": "audit_log", "version": "1.0", "record_count": 20, "event_types": ["audit.event"]},
        "stats": {"levels": {"info": 7, "warning": 7, "error": 6}, "latency": {"min": 0.25, "max": 1.5e3}},
        "sources": (("0123456789abcdef", 4711, 20 * index + 1, 20 * index + 20),),
    }


def _nothing(sealed: int) -> dict[str, Any]:
    block = payload.prefix(salt_of(0), LOG, 0)
    return {
        "first": sealed,
        "last": sealed,
        "records": 0,
        "dropped": {"disk_full": 3},
        "payload": Cid.of(RAW, block),
        "size": len(block),
        "raw": 0,
        "encoding": JSONL,
        "root": merkle.EMPTY_ROOT,
        "meta": {},
        "stats": {},
        "sources": (),
    }


def _file(sealed: int) -> dict[str, Any]:
    *_, (root, _) = unixfs.build([bytes(FILE_SIZE)])
    return {
        **_nothing(sealed),
        "dropped": {},
        "payload": root,
        "size": FILE_SIZE,
        "raw": FILE_SIZE,
        "encoding": UNIXFS,
        "meta": {"type": "file", "name": "zeros.bin"},
    }


def heads() -> list[Head]:
    """Build the head block after each batch."""
    built = []
    for manifest in manifests():
        root = merkle.edge_root(manifest.edge_after())
        note = Checkpoint(LOG, manifest.index + 1, root).signed(KEY)
        built.append(Head(log=LOG, index=manifest.index, manifest=manifest.cid, checkpoint=note))
    return built


def files() -> dict[str, bytes]:
    """Build the one file; `foreign/tlog` verifies the claims in it."""
    chain = manifests()
    tree = merkle.RecordTree(salt_of(1))
    tree.add(LINES)
    vectors = {
        "seed": KEY.seed.hex(),
        "secret": KEY.text,
        "verifier": KEY.verifier.text,
        "log": LOG,
        "manifests": [manifest.encode().hex() for manifest in chain],
        "cids": [manifest.cid.text for manifest in chain],
        "heads": [head.encode().hex() for head in heads()],
        "records": {
            "salt": salt_of(1).hex(),
            "lines": [line.decode() for line in LINES],
            "salts": [tree.salt(n).hex() for n in range(tree.size)],
            "root": tree.root().hex(),
            "proofs": [[each.hex() for each in tree.proof(n)] for n in range(0, tree.size, 3)],
        },
        "prefix": payload.prefix(salt_of(1), LOG, 1).hex(),
        **claims([bytes(manifest.cid) for manifest in chain]),
    }
    return {"chain.json": dump(vectors)}


def claims(leaves: list[bytes]) -> dict[str, object]:
    """Make a checkpoint for each size of a log with these leaves, and every proof in it, from edges alone."""
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    edges: list[merkle.Edge] = [()]
    for size, leaf in enumerate(hashes):
        edges.append(merkle.edge_append(edges[-1], size, leaf))

    def read(index: int) -> tuple[merkle.Edge, bytes]:
        return edges[index], hashes[index]

    def proof(size: int, number: int, nodes: tuple[bytes, ...]) -> dict[str, object]:
        return {"size": size, "number": number, "hashes": [node.hex() for node in nodes]}

    sizes = range(1, len(leaves) + 1)
    return {
        "leaves": [leaf.hex() for leaf in leaves],
        "checkpoints": [Checkpoint(LOG, n, merkle.edge_root(edges[n])).signed(KEY).decode() for n in sizes],
        "inclusion": [proof(n, m, merkle.inclusion_from_edges(m, n, read)) for n in sizes for m in range(n)],
        "consistency": [proof(n, m, merkle.consistency_from_edges(m, n, read)) for n in sizes for m in range(1, n + 1)],
    }
