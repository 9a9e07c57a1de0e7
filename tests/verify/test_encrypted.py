"""Encrypted batches are verified without a key as far as that goes; what a dishonest writer signs is found with one."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import open_home
from ipfs_log_handlers.format import encryption, merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, log_name
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.encryption import EXTENSION
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.kid import Kid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import disk, head
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.head import HeadState
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.cli import run
from tests.support.encrypted import ALICE, ALICE_KEY, KID, clear_manifest, payload_of

KEY = SecretKey.generate(bytes(range(32)))
LOG = log_name(KEY.name, "audit", "00000000")
LINES = [
    b'{"time":"2026-03-05T12:05:%02d.000000Z","level":"info","logger":"t","event":"e","pid":7,"seq":%d}' % (seq, seq)
    for seq in range(1, 6)
]
Change = Callable[[Manifest], Manifest]


def _signed(path: Path, manifest: Manifest, ciphertext: bytes) -> None:
    """Make a home with one signed batch."""
    home = HomeDir(path)
    subsystem_dir = home.subsystem_dir("audit")
    for directory in (path, subsystem_dir.path):
        disk.ensure_directory(directory)
    home.key.write_text(KEY.text + "\n")
    home.key.chmod(0o600)
    note = Checkpoint(LOG, 1, merkle.edge_root(manifest.edge_after())).signed(KEY)
    block = Head(log=LOG, index=0, manifest=manifest.cid, checkpoint=note).encode()
    cid = Cid.of(DAG_CBOR, block)
    blocks = [(manifest.cid, manifest.encode()), (cid, block), (manifest.payload, ciphertext)]
    Batches(subsystem_dir.current.batches).write(0, manifest.cid, cid, blocks)
    state = HeadState(log=LOG, index=0, block=block, records=manifest.records)
    head.store(subsystem_dir.current.head, state)


def _hidden(ciphertext: bytes, **claims: Any) -> Manifest:
    first, last = 1_772_712_301_000_000, 1_772_712_305_000_000
    clear = clear_manifest(ciphertext, LINES, log=LOG, first=first, last=last, meta={}, stats={})
    return encryption.hide(replace(clear, **claims), KID, ALICE_KEY)


def _encrypted(*, index: int = 0) -> bytes:
    return encryption.encrypt(payload_of(LINES, index=index, log=LOG), ALICE_KEY)


def _problems(path: Path, identity: str | None = None) -> list[tuple[str, str]]:
    (report,) = open_home(path).verify(identity=identity or ())
    return [(problem.field, problem.found) for problem in report.problems]


def _read(path: Path) -> int:
    (path.parent / "alice").write_text(ALICE)
    return run("cat", "--identity", path.parent / "alice", "-o", "json", home=path).code


def test_an_honest_writer(home: Path) -> None:
    """The batch of these tests is right as it is."""
    ciphertext = _encrypted()
    _signed(home, _hidden(ciphertext), ciphertext)
    assert (_problems(home), _problems(home, ALICE), _read(home)) == ([], [], 0)


def test_the_payload_of_another_batch(home: Path) -> None:
    """The tree and the signature hold, and yet the ciphertext is that of batch 1: only its key tells."""
    ciphertext = _encrypted(index=1)
    _signed(home, _hidden(ciphertext), ciphertext)
    assert _problems(home) == []
    ((field, found),) = _problems(home, ALICE)
    assert (field, found) == ("payload", f"the payload of another batch: {LOG} batch 1")
    assert _read(home) == 3


def test_the_key_of_another_period(home: Path) -> None:
    """A key that shall erase another month, or that was erased with it, is found without any key."""
    ciphertext = _encrypted()
    manifest = _hidden(ciphertext)
    members = {**manifest.ext[EXTENSION], "kid": "audit/2026-02"}
    _signed(home, replace(manifest, ext={EXTENSION: members}), ciphertext)
    ((field, found),) = _problems(home)[:1]
    assert field == "encryption"
    assert found == "the batch was sealed in another period than that of its key: audit/2026-02"
    assert _read(home) == 3
    assert str(KID) == str(Kid(subsystem="audit", period="2026-03"))


@pytest.mark.parametrize("at", [40, 170, -1])
def test_damaged_before_it_was_signed(home: Path, at: int) -> None:
    """A damaged age header, or other damage, of hidden claims that were signed as they are."""
    ciphertext = _encrypted()
    manifest = _hidden(ciphertext)
    hidden = bytearray(manifest.ext[EXTENSION]["hidden"])
    hidden[at] ^= 1
    members = {**manifest.ext[EXTENSION], "hidden": bytes(hidden)}
    _signed(home, replace(manifest, ext={EXTENSION: members}), ciphertext)
    assert _problems(home) == []
    ((field, found),) = _problems(home, ALICE)
    assert field == "payload"
    assert found.startswith("the encrypted bytes are damaged" if at == -1 else "the age header is damaged")
    assert _read(home) == 3


def test_claims_that_are_not_those_of_the_records(home: Path) -> None:
    """Hidden metadata is counted again like that in clear."""
    ciphertext = _encrypted()
    _signed(home, _hidden(ciphertext, stats={"levels": {"error": 5}}, raw=sum(map(len, LINES)) + 5), ciphertext)
    assert [field for field, _ in _problems(home, ALICE)] == ["stats.levels"]


@pytest.mark.slow
def test_each_byte_is_verified_without_a_key(home: Path) -> None:
    """Whatever byte of the batch file is changed, a reader who cannot open it finds that."""
    ciphertext = _encrypted()
    _signed(home, _hidden(ciphertext), ciphertext)
    file = next(home.rglob("000000.car"))
    content = file.read_bytes()
    for at in random.Random(1).sample(range(len(content)), 60):
        file.write_bytes(bytes([*content[:at], content[at] ^ 1 << at % 8, *content[at + 1 :]]))
        assert _problems(home), at
    file.write_bytes(content)
    assert _problems(home) == []
