"""Make homes that somebody prepared to harm a reader: signed batches that lie about their size, files that are none."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ipfs_log_handlers.format import merkle, unixfs
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, log_name
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.payload import Encoder, prefix
from ipfs_log_handlers.home import disk, head
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import HomeDir

__all__ = ["KINDS", "claim_batches", "put_kind", "signed_batch"]

KEY = SecretKey.generate(bytes(range(32)))
WRITER = "0" * 16


def signed_batch(
    path: Path, pieces: Iterable[bytes], *, records: int, raw: int, index: int = 0, **claims: Any
) -> HomeDir:
    """Make a home with one signed batch, whatever it holds.

    Args:
        path: the home.
        pieces: the bytes that its payload inflates to.
        records: number of records that the manifest claims.
        raw: bytes of lines that the manifest claims.
        index: number of the batch.
        claims: other members of the manifest.
    """
    home = HomeDir(path)
    subsystem_dir = home.subsystem_dir("audit")
    for directory in (path, subsystem_dir.path):
        disk.ensure_directory(directory)
    home.key.write_text(KEY.text + "\n")
    home.key.chmod(0o600)
    log, salt = log_name(KEY.name, "audit", "00000000"), bytes(32)
    encoder = Encoder(1)
    data = b"".join((prefix(salt, log, index), *map(encoder.add, pieces), encoder.finish()))
    blocks = list(unixfs.build([data]))
    now = int(time.time() * 1e6)
    members = {
        "log": log, "index": index, "prev": None, "jump": None, "edge": b"", "sealed": now, "first": now, "last": now,
        "records": records, "dropped": {}, "payload": blocks[-1][0], "size": len(data), "raw": raw,
        "encoding": "jsonl+zstd", "root": bytes(32), "meta": {}, "stats": {}, "sources": ((WRITER, 1, 1, records),),
        "evidence": (),
    }  # fmt: skip
    manifest = Manifest(**{**members, **claims})
    note = Checkpoint(log, index + 1, merkle.edge_root(manifest.edge_after())).signed(KEY)
    block = Head(log=log, index=index, manifest=manifest.cid, checkpoint=note).encode()
    cid = Cid.of(DAG_CBOR, block)
    Batches(subsystem_dir.current.batches).write(
        index, manifest.cid, cid, [(manifest.cid, manifest.encode()), (cid, block), *blocks]
    )
    head.store(subsystem_dir.current.head, HeadState(log=log, index=index, block=block, records=records))
    return home


def claim_batches(home: HomeDir, newest: int) -> None:
    """Sign a head that names a batch which is not there."""
    paths = home.subsystem_dir("audit").current
    state = head.load(paths.head)
    assert state is not None
    note = Checkpoint(state.log, newest + 1, bytes(32)).signed(KEY)
    block = Head(log=state.log, index=newest, manifest=state.head.manifest, checkpoint=note).encode()
    head.store(paths.head, HeadState(log=state.log, index=newest, block=block, records=1))


KINDS = ("pipe", "socket", "directory", "link", "dangling link", "loop", "device", "empty", "huge", "garbage", "nested")
"""What can stand in the place of a file."""


def put_kind(kind: str, path: Path, outside: Path) -> None:
    """Put something else in the place of a file.

    Args:
        kind: one of `KINDS`.
        path: the file; what is there is removed.
        outside: a file out of the home, to which links lead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        _put_socket(path)
    elif kind == "directory":
        (path / "inner.tmp").mkdir(parents=True)
    elif kind == "link":
        path.symlink_to(outside)
    elif kind == "dangling link":
        path.symlink_to(outside.with_name("missing"))
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")  # a device itself needs root; the first thing to be refused is the link
    elif kind == "empty":
        path.touch(mode=0o600)
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(1 << 40)
        path.chmod(0o600)
    elif kind == "garbage":
        path.write_bytes(b"\0\xff\x1b[2J" * 1000)
        path.chmod(0o600)
    else:
        path.write_bytes(b"[" * 1_000_000)
        path.chmod(0o600)


def _put_socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # the path of a socket has a limit of some 100 bytes
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)
