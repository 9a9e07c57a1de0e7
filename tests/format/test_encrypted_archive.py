"""Encrypt files and directories as they are read, and open them again: the bytes, their limits and their damage."""

from __future__ import annotations

import io
import os

import pytest

from ipfs_log_handlers.errors import CiphertextError, FormatError
from ipfs_log_handlers.format import car, encrypted_archive, unixfs
from ipfs_log_handlers.format.cid import DAG_PB, RAW, Cid
from ipfs_log_handlers.format.directory import Directory, Link
from ipfs_log_handlers.format.encrypted_archive import EncryptedArchive
from ipfs_log_handlers.format.encryption import padme
from tests.support.encrypted import ALICE, ALICE_KEY, BOB

MIB = 1 << 20


def _encrypted(blocks: list[tuple[Cid, bytes]], kind: str = "file") -> tuple[EncryptedArchive, bytes]:
    """Return what was encrypted, and the bytes of the payload."""
    stored: dict[Cid, bytes] = {}
    made = encrypted_archive.encrypt(blocks, kind, ALICE_KEY, stored.__setitem__)
    payload = b"".join(unixfs.read(made.root, stored.__getitem__, max_bytes=made.size))
    assert list(stored)[-1] == made.root == list(unixfs.build([payload]))[-1][0]
    assert len(payload) == made.size
    return made, payload


def _frames(payload: bytes, identity: str = ALICE) -> bytes:
    out = io.BytesIO()
    assert encrypted_archive.decrypt([payload[:7], payload[7:]], identity, out) == len(out.getvalue())
    return out.getvalue()


def _content(frames: bytes, raw: int) -> bytes:
    return b"".join(encrypted_archive.contents([frames], raw=raw, size=len(frames)))


@pytest.mark.parametrize("size", [0, 1, 4096, MIB, 2 * MIB + 5])
def test_a_file(size: int) -> None:
    """Its bytes come back; the payload has as many as Padmé allows, and the blocks that Kubo would make of it."""
    data = os.urandom(size)
    blocks = list(unixfs.build([data]))
    made, payload = _encrypted(blocks)
    frames = _frames(payload)
    assert (made.content, made.raw) == (blocks[-1][0], size)
    assert encrypted_archive.kind_of(frames[:64]) == "file"
    assert padme(len(frames)) == len(frames)
    assert _content(frames, size) == data
    assert data[:16] not in payload or size < 16


def test_a_directory_is_a_car_whose_last_block_is_its_root() -> None:
    """Each block is in it once, and the empty block, which the header names, is the first."""
    leaf = Cid.of(RAW, b"hello")
    node = Directory.of([Link("a", leaf, 5), Link("b", leaf, 5)]).encode()
    root = Cid.of(DAG_PB, node)
    made, payload = _encrypted([(leaf, b"hello"), (leaf, b"hello"), (root, node)], "directory")
    frames = _frames(payload)
    content = _content(frames, made.raw)
    empty = Cid.of(RAW, b"")
    assert encrypted_archive.kind_of(frames[:64]) == "directory"
    assert car.decode(content) == ((empty,), [(empty, b""), (leaf, b"hello"), (root, node)])
    assert (made.content, made.raw) == (root, len(content))


@pytest.mark.parametrize("at", [0, 30, 150, -1, -17])
def test_damage_is_found(at: int) -> None:
    """A changed byte, a missing end, or the key of another person: nothing is taken for the content."""
    _, payload = _encrypted(list(unixfs.build([b"x" * 100_000])))
    changed = bytearray(payload)
    changed[at] ^= 1
    for data, identity in ((bytes(changed), ALICE), (payload[:-1], ALICE), (payload, BOB)):
        with pytest.raises(CiphertextError):
            encrypted_archive.decrypt([data], identity, io.BytesIO(), where="x")


def test_it_inflates_to_what_the_manifest_says() -> None:
    """Not to more, not to less; a rounded number is enough where the true one is not known."""
    made, payload = _encrypted(list(unixfs.build([bytes(100_000)])))
    frames = _frames(payload)
    assert len(_content(frames, padme(made.raw))) == made.raw
    for raw in (made.raw - 1, 2 * made.raw):
        with pytest.raises(FormatError):
            _content(frames, raw)


@pytest.mark.parametrize(
    "beginning", [b"", b"\x52\x2a\x4d\x18", b"\x52\x2a\x4d\x18\4\0\0\0link", b"\x50\x2a\x4d\x18\4\0\0\0file"]
)
def test_a_kind_that_is_not_known(beginning: bytes) -> None:
    """Other bytes than the kinds that are known are refused."""
    with pytest.raises(FormatError, match="begins with its kind"):
        encrypted_archive.kind_of(beginning)


def test_an_error_of_the_caller_is_not_hidden() -> None:
    """An exception while a block is read or stored is raised as it is, not as one of encryption."""

    def failing():
        yield Cid.of(RAW, b"x"), b"x"
        raise FileNotFoundError("gone")

    def full(cid: Cid, block: bytes) -> None:
        raise OSError(28, "full")

    with pytest.raises(FileNotFoundError, match="gone"):
        encrypted_archive.encrypt(failing(), "file", ALICE_KEY, dict[Cid, bytes]().__setitem__)
    with pytest.raises(OSError, match="full"):
        encrypted_archive.encrypt(unixfs.build([os.urandom(3 * MIB)]), "file", ALICE_KEY, full)

    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "full")

    _, payload = _encrypted(list(unixfs.build([b"x"])))
    with pytest.raises(OSError, match="full"):
        encrypted_archive.decrypt([payload], ALICE, Full())
    with pytest.raises(FormatError, match="not a recipient"):
        encrypted_archive.encrypt([], "file", "age1x", dict[Cid, bytes]().__setitem__)
