"""The decoders of bytes that others made, each with true examples of its format.

A decoder has two ways out, whatever the bytes: a value, or an error of the package. Where a format has one encoding for
each value, a value that was decoded must encode to the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyrage

from ipfs_log_handlers.errors import LogStoreError
from ipfs_log_handlers.format import (
    car,
    dagcbor,
    directory,
    encrypted_archive,
    key_change,
    key_export,
    line,
    moment,
    payload,
    record,
    tlog_proof,
    trust_policy,
    unixfs,
)
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, VerifierKey
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.encryption import EXTENSION, decrypt, reveal
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.home_head import HomeHead, LogHead
from ipfs_log_handlers.format.index_page import PageRoot
from ipfs_log_handlers.format.ipns_record import IpnsRecord, name_of_key
from ipfs_log_handlers.format.kid import Kid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.proof import Bundle
from ipfs_log_handlers.format.snapshot import Node, Snapshot, blocks_of
from ipfs_log_handlers.home.absent_payloads import AbsentPayloads
from ipfs_log_handlers.home.imported_logs import MirroredHead
from tests.support.encrypted import ALICE, ALICE_KEY, encrypted_batch
from tests.vectors import FOLDER
from tests.vectors.build_chain import KEY, LINES, LOG, RAW_SIZE, START, heads, manifests, payload_of

__all__ = ["MOST_BYTES", "TARGETS", "Target"]

MOST_BYTES = 1 << 16
"""Bytes of the longest input."""
_ARCHIVED_BYTES = 3000
"""Bytes of the archived file, but for those of its kind."""
ENCRYPTED, _ = encrypted_batch()
"""An encrypted manifest, and its payload."""


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder."""

    decode: Callable[[bytes], Any]
    """Reads the bytes."""
    seeds: Callable[[], Sequence[bytes]]
    """Gives true examples."""
    encode: Callable[[Any], bytes] | None = None
    """Writes a value that was read; `None`: the format has several encodings of a value."""

    def run(self, data: bytes) -> bool:
        """Decode bytes; return whether they have a value. Anything but a value or an error of the package is raised."""
        try:
            value = self.decode(data)
        except LogStoreError:
            return False
        if self.encode is not None:
            again = self.encode(value)
            assert again == data, f"{data!r} was read as {value!r}, which is written as {again!r}"
        return True


def _text(decode: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Let a decoder of text read bytes, of which each is a character."""
    return lambda data: decode(data.decode("latin-1"))


def _lines_of(data: bytes) -> list[bytes]:
    return list(payload.lines([data], log=LOG, index=1, raw=RAW_SIZE, size=len(data)))


def _tree(data: bytes) -> list[object]:
    """Read a file whose root is `data`, and whose other blocks are all the same."""
    root, leaf = Cid.of(0x70, data), Cid.of(RAW, b"leaf")

    def get(cid: Cid) -> bytes:
        return data if cid == root else b"leaf" if cid == leaf else b""

    return [*directory.walk(root, get)]


def _car() -> Iterator[bytes]:
    chain, head = manifests()[1], heads()[1]
    yield car.encode(
        [chain.cid, head.cid],
        [(chain.cid, chain.encode()), (head.cid, head.encode()), (Cid.of(RAW, payload_of(1)), payload_of(1))],
    )
    yield car.encode([Cid.of(RAW, b"")], [(Cid.of(RAW, b""), b"")])


def _home_head() -> HomeHead:
    logs = [LogHead(LOG, 3, heads()[3].cid), LogHead(LOG.replace("audit", "wal"), 0, heads()[0].cid)]
    return HomeHead.sign(KEY, counter=7, time=START, logs=logs)


def _key_changes() -> list[bytes]:
    new = SecretKey.generate(bytes(32))
    change = key_change.sign(Checkpoint.parse(heads()[4].checkpoint), KEY, new, START)
    return [key_change.join([change])]


def _ipns() -> list[bytes]:
    made = IpnsRecord(value=Cid.of(DAG_CBOR, b"\xa0"), sequence=1, validity=START, ttl=5_000_000_000)
    return [made.signed(KEY)]


def _snapshots() -> list[bytes]:
    *_, (_, root) = blocks_of(LOG, heads()[-1].cid, [manifest.cid for manifest in manifests()])
    return [root]


def _nodes() -> list[bytes]:
    cids = [Cid.of(DAG_CBOR, b"%d" % number) for number in range(256)]
    return [next(block for _, block in blocks_of(LOG, heads()[-1].cid, cids))]


def _bundle() -> bytes:
    return (FOLDER / "bundle.proof").read_bytes()


def _page_root() -> list[bytes]:
    _, blocks = car.decode((FOLDER / "index.page").read_bytes())
    return [blocks[0][1]]


def _files() -> list[bytes]:
    blocks = [block for cid, block in unixfs.build([bytes(100)], chunk=10, width=4) if cid.codec != RAW]
    link = directory.Link("name", Cid.of(RAW, b"leaf"), 4)
    return [*blocks, directory.Directory((link,)).encode(), directory.Symlink("target").encode()]


def _reveal_claims(claims: bytes) -> Manifest:
    """Open a manifest in which somebody who knows the public key has hidden these bytes."""
    recipients = [pyrage.x25519.Recipient.from_str(ALICE_KEY)]
    members = {**ENCRYPTED.ext[EXTENSION], "hidden": pyrage.encrypt(claims, recipients)}
    return reveal(replace(ENCRYPTED, ext={EXTENSION: members}), ALICE)


def _claims() -> list[bytes]:
    return [decrypt(ENCRYPTED.ext[EXTENSION]["hidden"], ALICE)]


def _archive(frames: bytes) -> bytes:
    """Read the frames that were encrypted for an archived file."""
    kind = encrypted_archive.kind_of(frames[:64])
    return b"".join(encrypted_archive.contents([frames], raw=len(kind) + _ARCHIVED_BYTES, size=len(frames)))


def _archives() -> list[bytes]:
    blocks: dict[Cid, bytes] = {}
    content = unixfs.build([bytes(_ARCHIVED_BYTES + len("file"))])
    made = encrypted_archive.encrypt(content, "file", ALICE_KEY, blocks.__setitem__)
    out = io.BytesIO()
    encrypted_archive.decrypt(unixfs.read(made.root, blocks.__getitem__, max_bytes=made.size), ALICE, out)
    return [out.getvalue()]


TARGETS: dict[str, Target] = {
    "dagcbor": Target(dagcbor.decode, lambda: [m.encode() for m in manifests()[:3]], dagcbor.encode),
    "manifest": Target(Manifest.decode, lambda: [m.encode() for m in manifests()]),
    "encrypted_manifest": Target(lambda data: reveal(Manifest.decode(data), ALICE), lambda: [ENCRYPTED.encode()]),
    "hidden_claims": Target(_reveal_claims, _claims),
    "kid": Target(_text(Kid.parse), lambda: [b"audit/2026-03", b"audit/2026-W10.2"], lambda kid: str(kid).encode()),
    "head": Target(Head.decode, lambda: [head.encode() for head in heads()[:3]], Head.encode),
    "checkpoint": Target(Checkpoint.parse, lambda: [head.checkpoint for head in heads()[:3]]),
    "signed_note": Target(
        lambda data: Checkpoint.open(data, KEY.verifier), lambda: [head.checkpoint for head in heads()[:3]]
    ),
    "verifier_key": Target(
        _text(VerifierKey.parse), lambda: [KEY.verifier.text.encode()], lambda key: str(key.text).encode("latin-1")
    ),
    "trust_policy": Target(trust_policy.parse_policy, lambda: [f"log {KEY.verifier.text} https://a/\n".encode()]),
    "key_change": Target(key_change.split, _key_changes),
    "key_export": Target(key_export.decode, lambda: [key_export.encode(KEY)]),
    "home_head": Target(HomeHead.decode, lambda: [_home_head().encode()], HomeHead.encode),
    "ipns_record": Target(IpnsRecord.parse, _ipns),
    "ipns_signed": Target(lambda data: IpnsRecord.open(data, name_of_key(KEY.verifier.public)), _ipns),
    "mirrored_head": Target(
        MirroredHead.decode, lambda: [MirroredHead(head).encode() for head in heads()[:2]], MirroredHead.encode
    ),
    "absent_payloads": Target(
        AbsentPayloads.decode, lambda: [AbsentPayloads.of([0, 1, 7], [5]).encode()], AbsentPayloads.encode
    ),
    "snapshot": Target(Snapshot.decode, _snapshots, Snapshot.encode),
    "snapshot_node": Target(Node.decode, _nodes, Node.encode),
    "bundle": Target(Bundle.decode, lambda: [_bundle()], Bundle.encode),
    "tlog_proof": Target(
        tlog_proof.TlogProof.decode,
        lambda: [(FOLDER / "bundle.tlog-proof").read_bytes()],
        tlog_proof.TlogProof.encode,
    ),
    "car": Target(car.decode, lambda: [*_car()], lambda read: car.encode(*read)),
    "car_places": Target(lambda data: list(car.scan(data)), lambda: [*_car()]),
    "payload": Target(_lines_of, lambda: [payload_of(1)]),
    "payload_text": Target(
        lambda data: payload.text([data], log=LOG, index=1, raw=RAW_SIZE, size=len(data)), lambda: [payload_of(1)]
    ),
    "encrypted_archive": Target(_archive, _archives),
    "file_tree": Target(_tree, _files),
    "tree_block": Target(directory.decode, _files, lambda node: bytes(node.encode())),
    "index_page": Target(PageRoot.decode, _page_root),
    "line": Target(line.decode, lambda: [line.record(LINES[0])[:-1], line.header(LINES[1])[:-1]]),
    "lines": Target(line.records, lambda: [line.record(LINES[0]) + line.record(LINES[1])]),
    "record": Target(record.decode, lambda: list(LINES[:3])),
    "cid": Target(_text(Cid.parse), lambda: [manifests()[0].cid.text.encode()]),
    "moment": Target(_text(moment.micros), lambda: [b"2026-01-02T03:04:05.000006Z"]),
}
"""Each decoder, by name."""
