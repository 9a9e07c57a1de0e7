"""A second opinion: reads a home, or a Kubo daemon from a head CID on, verifies every claim, returns the records.

Nothing of the package is used here: CBOR, CARs, trees, notes and lines are read by code of its own, so that a mistake
in the package's codecs or its own `verify` does not hide itself. What does not hold is an AssertionError.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import struct
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Batch", "Link", "Log", "exactly_once", "inflate", "read_daemon", "read_home", "sealed_records", "spooled"]


class Link(str):
    """A CID in a block."""

    __slots__ = ()


@dataclass
class Batch:
    """One verified batch."""

    cid: str
    manifest: dict[str, Any]
    head: dict[str, Any]
    head_cid: str
    lines: list[bytes] | None
    """None where the payload has left the home."""


@dataclass
class Log:
    """One verified chain."""

    subsystem: str
    batches: list[Batch] = field(default_factory=list)
    consumed: Mapping[str, int] = field(default_factory=dict)

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records, in log order, each with the writer that its batch names for it as `_writer`."""
        return [record for batch in self.batches for record in _records(batch)]

    @property
    def head_cid(self) -> str:
        """CID of the newest head block."""
        return self.batches[-1].head_cid


# -- what a test asks


def read_home(home: Path) -> dict[str, list[Log]]:
    """Every log of a home, verified; by subsystem, former logs first."""
    found: dict[str, list[Log]] = {}
    verifier = _verifier(home / "writer.key")
    for subsystem_dir in sorted(home.iterdir()):
        if not (subsystem_dir / "spool").is_dir() and not (subsystem_dir / "batches").is_dir():
            continue
        log_dirs = [*sorted((subsystem_dir / "former").glob("*")), subsystem_dir]
        logs = [log for log_dir in log_dirs if (log := _shelf(subsystem_dir.name, log_dir, verifier)) is not None]
        _no_seq_twice(logs)
        found[subsystem_dir.name] = logs
    return found


def sealed_records(home: Path, subsystem: str | None = None) -> list[dict[str, Any]]:
    """Return the records in the chains of a home."""
    logs = read_home(home)
    return [
        record for name, each in logs.items() if subsystem in {None, name} for log in each for record in log.records
    ]


def spooled(home: Path) -> list[dict[str, Any]]:
    """Return the records that are durable and in no batch yet."""
    found = []
    for subsystem_dir in sorted(home.iterdir()):
        if not (subsystem_dir / "spool").is_dir():
            continue
        consumed = _head_file(subsystem_dir)[1] if (subsystem_dir / "head").exists() else {}
        for path in sorted((subsystem_dir / "spool").glob("*.seg")):
            lines = path.read_bytes()[consumed.get(path.stem, 0) :].split(b"\n")[:-1]
            found += [json.loads(line[9:]) for line in lines if line[8:9] == b" " and _crc_holds(line)]
    return found


def read_daemon(get: Callable[[str], bytes], head_cid: str, verifier: Ed25519PublicKey | None = None) -> Log:
    """Read the chain of a head CID with nothing but a function that gets blocks, as a reader elsewhere does."""
    batches: list[Batch] = []
    cid = str(_cbor(_block(get, head_cid))["manifest"])
    while cid:
        manifest = _cbor(_block(get, cid))
        batches.append(Batch(cid, manifest, {}, "", _payload(manifest, {}, get)))
        cid = manifest["prev"] or ""
    batches.reverse()
    batches[-1].head_cid = head_cid
    batches[-1].head = _cbor(_block(get, head_cid))
    log = Log(batches[0].manifest["log"].split("/")[2], batches)
    _verify(log, verifier)
    return log


def inflate(data: bytes) -> bytes:
    """Return what `zstd -d` prints."""
    inflated: bytes = zstd.decompress(data)
    return inflated


def exactly_once(expected: Iterable[Any], found: Iterable[Any]) -> None:
    """Each of `expected` is in `found` once, and nothing else is."""
    want, have = Counter(expected), Counter(found)
    missing, extra = want - have, have - want
    assert not missing, f"{sum(missing.values())} of {sum(want.values())} are missing: {list(missing)[:5]}"
    assert not extra, f"{sum(extra.values())} too many: {list(extra)[:5]}"


# -- a home


def _shelf(subsystem: str, log_dir: Path, verifier: Ed25519PublicKey) -> Log | None:
    if not (log_dir / "head").exists():
        assert not list((log_dir / "batches").rglob("*.car")) or log_dir.name != subsystem, "batches without a head"
        return None
    (block, consumed) = _head_file(log_dir)
    newest = _cbor(block)
    log = Log(subsystem, [_batch(log_dir, index) for index in range(newest["index"] + 1)], consumed)
    assert log.batches[-1].head == newest
    for batch in log.batches:
        _check_note(batch.head, log.batches[: batch.manifest["index"] + 1], verifier)
    _verify(log, verifier)
    return log


def _head_file(log_dir: Path) -> tuple[bytes, dict[str, int]]:
    line = (log_dir / "head").read_bytes()
    assert line[-1:] == b"\n"
    assert _crc_holds(line[:-1])
    members = json.loads(line[9:])
    block = base64.b64decode(members["block"])
    assert members["cid"] == _cid_text(_cid(0x71, block))
    return block, members["consumed"]


def _batch(log_dir: Path, index: int) -> Batch:
    path = log_dir / "batches" / f"{index // 1000:03}" / f"{index:06}.car"
    roots, blocks = _car(path.read_bytes()) if path.exists() else _in_packs(path.parent, index)
    if path.with_suffix(".payload.car").exists():
        blocks |= _car(path.with_suffix(".payload.car").read_bytes())[1]
    manifest = _cbor(blocks[roots[0]])
    head = _cbor(blocks[roots[1]])
    assert manifest["index"] == index == head["index"]
    assert head["manifest"] == roots[0]
    lines = _payload(manifest, blocks, None)
    return Batch(roots[0], manifest, head, roots[1], lines)


def _in_packs(directory: Path, index: int) -> tuple[list[str], dict[str, bytes]]:
    """Find a batch in the packs of its directory: its manifest and its head block, and all blocks of that pack."""
    for path in sorted(directory.glob("pack-*.car")):
        status = path.stat()
        manifests, heads, blocks = _pack(path, (status.st_ino, status.st_size, status.st_mtime_ns))
        if index in manifests:
            return [manifests[index], heads[manifests[index]]], dict(blocks)
    raise AssertionError(f"batch {index} is neither a file nor in a pack of {directory}")


@functools.lru_cache(maxsize=16)
def _pack(path: Path, identity: tuple[int, ...]) -> tuple[dict[int, str], dict[str, str], dict[str, bytes]]:
    """Read a pack up to where it is cut: manifests by number, head blocks by their manifest, all blocks."""
    del identity  # what tells a changed pack from the one that was read before
    roots, blocks = _car(path.read_bytes(), may_be_cut=True)
    values = {cid: _cbor(block) for cid, block in blocks.items() if _cid_bytes(cid)[1] == 0x71}
    assert not values or roots[0] in values
    manifests = {value["index"]: cid for cid, value in values.items() if "payload" in value}
    return manifests, {str(value["manifest"]): cid for cid, value in values.items() if "checkpoint" in value}, blocks


def _verifier(path: Path) -> Ed25519PublicKey:
    kind, kind2, _name, _key_id, secret = path.read_text().strip().split("+", 4)
    assert (kind, kind2) == ("PRIVATE", "KEY")
    assert path.stat().st_mode & 0o777 == 0o600
    return Ed25519PrivateKey.from_private_bytes(base64.b64decode(secret)[1:]).public_key()


# -- a chain


def _verify(log: Log, verifier: Ed25519PublicKey | None) -> None:
    leaves: list[bytes] = []
    jumps: list[int] = []
    for index, batch in enumerate(log.batches):
        manifest = batch.manifest
        assert manifest["v"] == 1
        assert manifest["index"] == index
        assert manifest["log"] == log.batches[0].manifest["log"]
        assert manifest["prev"] == (log.batches[index - 1].cid if index else None)
        jumps.append(_jump(index, jumps))
        assert manifest["jump"] == (log.batches[jumps[index]].cid if index else None)
        assert manifest["edge"] == b"".join(_edge(leaves))
        leaves.append(hashlib.sha256(b"\0" + _cid_bytes(batch.cid)).digest())
        _check_batch(batch)
    if verifier is not None:
        _check_note(log.batches[-1].head, log.batches, verifier)
    _no_seq_twice([log])


def _check_batch(batch: Batch) -> None:
    manifest, lines = batch.manifest, batch.lines
    told = sum(last - first + 1 for _, _, first, last in manifest["sources"])
    assert told == manifest["records"] == manifest["meta"].get("record_count")
    if lines is None:
        return
    assert len(lines) == manifest["records"]
    if manifest["encoding"] == "unixfs":
        return
    assert sum(map(len, lines)) + len(lines) == manifest["raw"]
    records = _records(batch)
    levels = manifest["stats"]["levels"]
    assert levels == "many" or levels == dict(Counter(record["level"] for record in records))


def _records(batch: Batch) -> list[dict[str, Any]]:
    """Return the records with their writers; assert that the manifest names these writers, in this order."""
    records = [json.loads(line) for line in batch.lines or ()]
    runs = [(w, pid, seq) for w, pid, first, last in batch.manifest["sources"] for seq in range(first, last + 1)]
    if batch.lines is not None:
        assert [(pid, seq) for _, pid, seq in runs] == [(record["pid"], record["seq"]) for record in records]
        for record, (writer, _, _) in zip(records, runs, strict=True):
            record["_writer"] = writer
    return records


def _no_seq_twice(logs: Iterable[Log]) -> None:
    newest: dict[str, int] = defaultdict(int)
    for log in logs:
        for batch in log.batches:
            for writer, _, first, last in batch.manifest["sources"]:
                assert first > newest[writer], f"{writer} {first} comes after {newest[writer]}"
                newest[writer] = last


def _jump(index: int, jumps: list[int]) -> int:
    """Myers' list, built from below: join the last two jumps when they are equally long."""
    if index == 0:
        return 0
    before = index - 1
    once = jumps[before]
    twice = jumps[once]
    return twice if before and before - once == once - twice else before


def _check_note(head: Mapping[str, Any], batches: list[Batch], verifier: Ed25519PublicKey) -> None:
    body, _, signatures = head["checkpoint"].decode().partition("\n\n")
    origin, size, root = body.split("\n")
    leaves = [hashlib.sha256(b"\0" + _cid_bytes(batch.cid)).digest() for batch in batches]
    assert origin == head["log"] == batches[0].manifest["log"]
    assert int(size) == len(batches) == head["index"] + 1
    assert base64.b64decode(root) == _root(leaves)
    dash, name, blob = signatures.rstrip("\n").split(" ")
    assert dash == "\N{EM DASH}"
    assert name == "/".join(origin.split("/")[:2])
    verifier.verify(base64.b64decode(blob)[4:], (body + "\n").encode())


def _edge(leaves: list[bytes]) -> list[bytes]:
    found, at = [], 0
    for bit in reversed(range(len(leaves).bit_length())):
        if len(leaves) >> bit & 1:
            found.append(_root(leaves[at : at + (1 << bit)]))
            at += 1 << bit
    return found


def _root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + _root(leaves[:split]) + _root(leaves[split:])).digest()


# -- a payload


def _payload(
    manifest: Mapping[str, Any], blocks: Mapping[str, bytes], get: Callable[[str], bytes] | None
) -> list[bytes] | None:
    cid = str(manifest["payload"])
    if cid not in blocks and get is None:
        return None
    data = _file(cid, lambda each: blocks[each] if get is None else _block(get, each))
    assert len(data) == manifest["size"]
    if manifest["encoding"] == "unixfs":
        assert hashlib.sha256(b"").digest() == manifest["root"]
        return []
    magic, length = struct.unpack_from("<II", data)
    assert magic == 0x184D2A50
    salt, log, index = _cbor(data[8 : 8 + length])
    assert (log, index) == (manifest["log"], manifest["index"])
    text = inflate(data[8 + length :])
    assert not text or text[-1:] == b"\n"
    lines = text.split(b"\n")[:-1]
    salts = hashlib.shake_256(b"ipfs-log/record-salt/v1\n" + salt).digest(16 * len(lines))
    leaves = [hashlib.sha256(b"\0" + salts[16 * at : 16 * at + 16] + line).digest() for at, line in enumerate(lines)]
    assert manifest["root"] == _root(leaves)
    return lines


def _file(cid: str, get: Callable[[str], bytes]) -> bytes:
    """Return a raw block, a UnixFS file of one level (no test makes more), or all files of a directory."""
    raw = _cid_bytes(cid)
    if raw[1] == 0x55:
        return get(cid)
    assert raw[1] == 0x70
    node, at, parts = get(cid), 0, []
    while at < len(node) and node[at] == 0x12:  # PBLinks
        length, at = _varint(node, at + 1)
        link = node[at : at + length]
        at += length
        assert link[:2] == b"\x0a\x24"
        parts.append(_file(_cid_text(link[2:38]), get))
    return b"".join(parts)


# -- bytes


def _crc_holds(line: bytes) -> bool:
    covered = line[9:] if line[8:9] == b" " else line[8:]
    return line[:8] == b"%08x" % zlib.crc32(covered)


def _cid(codec: int, block: bytes) -> bytes:
    return bytes((1, codec, 0x12, 0x20)) + hashlib.sha256(block).digest()


def _cid_text(cid: bytes) -> str:
    return "b" + base64.b32encode(cid).decode().rstrip("=").lower()


def _cid_bytes(text: str) -> bytes:
    return base64.b32decode(text[1:].upper() + "=" * (-(len(text) - 1) % 8))


def _block(get: Callable[[str], bytes], cid: str) -> bytes:
    block = get(cid)
    assert _cid_bytes(cid) == _cid(_cid_bytes(cid)[1], block), f"{cid} is not the hash of its block"
    return block


def _car(data: bytes, *, may_be_cut: bool = False) -> tuple[list[str], dict[str, bytes]]:
    length, at = _varint(data, 0)
    header = _cbor(data[at : at + length])
    assert header["version"] == 1
    at += length
    blocks = {}
    while at < len(data):
        length, at = _varint(data + bytes(9) if may_be_cut else data, at)
        cid, block = data[at : at + 36], data[at + 36 : at + length]
        if may_be_cut and (len(cid) < 36 or cid != _cid(cid[1], block)):
            break
        assert cid == _cid(cid[1], block)
        blocks[_cid_text(cid)] = block
        at += length
    return [str(each) for each in header["roots"]], blocks


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


def _cbor(data: bytes) -> Any:
    value, end = _item(data, 0)
    assert end == len(data)
    return value


def _item(data: bytes, at: int) -> tuple[Any, int]:
    major, info, at = data[at] >> 5, data[at] & 31, at + 1
    if major == 7 and info == 27:
        return struct.unpack(">d", data[at : at + 8])[0], at + 8
    if info >= 24:
        width = 1 << info - 24
        info, at = int.from_bytes(data[at : at + width], "big"), at + width
    if major == 0:
        return info, at
    if major == 1:
        return -1 - info, at
    if major == 2:
        return data[at : at + info], at + info
    if major == 3:
        return data[at : at + info].decode(), at + info
    if major == 6:
        assert info == 42
        link, at = _item(data, at)
        return Link(_cid_text(link[1:])), at
    if major == 7:
        return {20: False, 21: True, 22: None}[info], at
    found = []
    for _ in range(info * (major - 3)):
        value, at = _item(data, at)
        found.append(value)
    return (found, at) if major == 4 else (dict(zip(found[::2], found[1::2], strict=True)), at)
