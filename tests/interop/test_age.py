"""The program `age` opens what we encrypt, with the identity of a recipient alone; and we open what it encrypts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.errors import CiphertextError
from ipfs_log_handlers.format import encryption, payload
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.batch import open_batch
from ipfs_log_handlers.spool.archiver import ArchiveMetadata
from tests.support import sample_homes
from tests.support.archives import archiver
from tests.support.encrypted import ALICE, ALICE_KEY, BOB
from tests.support.logging_home import lines, put_segment

pytestmark = pytest.mark.slow  # the Go program is built at first
ENCRYPT = Encrypt(recipients=(ALICE_KEY,))


def _run(age: Path, *arguments: object, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([age, *map(str, arguments)], input=data, capture_output=True, timeout=60)


@pytest.fixture
def encrypted(home: Path) -> Path:
    """Return a home with a batch of encrypted records and an encrypted archive; the identities are beside it."""
    put_segment(HomeDir(home).subsystem_dir("audit"), lines(1, 5), encrypt=ENCRYPT)
    archiver(home, "audit", encrypt=ENCRYPT).put_bytes(bytes(range(256)) * 9000, ArchiveMetadata(name="big"))
    sample_homes.seal(home)
    for name, identity in (("alice", ALICE), ("bob", BOB)):
        (home.parent / name).write_text(f"{identity}\n")
    return home


def _payloads(home: Path) -> dict[str, bytes]:
    """Return the payloads by their encodings."""
    found = {}
    batches = sample_homes.batches_of(home)
    for index in batches.credible_indexes():
        with open_batch(batches, index) as batch:
            manifest = batch.manifest()
            found[manifest.encoding] = b"".join(batch.payload(manifest))
    return found


def test_age_opens_a_period_and_with_it_records_and_archives(age: Path, encrypted: Path) -> None:
    """First the wrapped key of the period, then each payload; what it prints are zstd frames."""
    (wrapped,) = encrypted.glob("keys/periods/audit/*.age")
    period = _run(age, "-d", "-i", encrypted.parent / "alice", wrapped)
    assert (period.returncode, period.stderr) == (0, b"")
    assert _run(age, "-d", "-i", encrypted.parent / "bob", wrapped).returncode != 0
    (encrypted.parent / "period").write_bytes(period.stdout)
    opened = {}
    for encoding, data in _payloads(encrypted).items():
        done = _run(age, "-d", "-i", encrypted.parent / "period", data=data)
        assert (done.returncode, done.stderr) == (0, b"")
        opened[encoding] = b"".join(payload.frames([done.stdout], raw=1 << 24, size=len(done.stdout)))
    assert [line.count(b"seq") for line in opened["jsonl+zstd+age"].splitlines()] == [1] * 5
    assert opened["unixfs+zstd+age"] == bytes(range(256)) * 9000


def test_we_open_what_age_encrypts(age: Path) -> None:
    """A file of `age -r` is opened by our reader, and its damage is found."""
    data = bytes(range(256)) * 1000
    done = _run(age, "-r", ALICE_KEY, data=data)
    assert done.returncode == 0
    assert encryption.decrypt(done.stdout, ALICE) == data
    with pytest.raises(CiphertextError):
        encryption.decrypt(done.stdout[:-1], ALICE)
