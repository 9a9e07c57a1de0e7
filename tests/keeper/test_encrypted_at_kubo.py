"""What a real Kubo has of an encrypted log: nothing in clear, and enough to read it with the keys alone."""

from __future__ import annotations

from pathlib import Path

import pyrage

from ipfs_log_handlers import open_dataset
from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.format import encrypted_archive, payload
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.spool.archiver import ArchiveMetadata
from tests.support import sample_homes
from tests.support.archives import archiver
from tests.support.encrypted import ALICE, ALICE_KEY
from tests.support.logging_home import lines, put_segment

ENCRYPT = Encrypt(recipients=(ALICE_KEY,))
CONTENT = b"quagga zebra okapi\n" * 100


def _windows(data: bytes) -> set[bytes]:
    return {data[at : at + 8] for at in range(len(data) - 7)}


def test_no_eight_bytes_of_records_or_archives_are_in_its_repository(home: Path, kubo_daemon, tmp_path: Path) -> None:
    """All files of the daemon are searched; then records and archive are read from it, without the home."""
    daemon = kubo_daemon()
    records = lines(1, 40)
    put_segment(HomeDir(home).subsystem_dir("audit"), records, encrypt=ENCRYPT)
    about = ArchiveMetadata(name="orders-of-okapi", metadata={"customer": "zebra-77"})
    archiver(home, "audit", encrypt=ENCRYPT).put_bytes(CONTENT, about)
    sample_homes.ship(home, daemon.url)
    head, key = sample_homes.head_of(home), sample_homes.key_of(home)
    manifests = list(LogDir.current_of(sample_homes.subsystem_dir(home)).manifests())
    (wrapped,) = home.glob("keys/periods/audit/*.age")
    secret = pyrage.decrypt(wrapped.read_bytes(), [pyrage.x25519.Identity.from_str(ALICE)]).decode().split()[-1]

    secrets = _windows(records) | _windows(CONTENT) | _windows(b"orders-of-okapi") | _windows(b"zebra-77")
    looked = 0
    for file in (path for path in (daemon.repo / "blocks").rglob("*") if path.is_file()):
        data = file.read_bytes()
        looked += len(data)
        assert not _windows(data) & secrets, file
    assert looked > sum(manifest.size for manifest in manifests)

    with open_dataset(head, kubo=daemon.url, keys=[key], identity=secret) as dataset:
        assert [record["seq"] for record in dataset] == list(range(1, 41))
    (archived,) = [manifest for manifest in manifests if manifest.encoding == "unixfs+zstd+age"]
    encrypted = daemon.rpc(f"cat?arg={archived.cid}/payload&offline=true")
    with (tmp_path / "frames").open("wb") as out:
        size = encrypted_archive.decrypt([encrypted], secret, out)
    frames = (tmp_path / "frames").read_bytes()
    assert b"".join(payload.frames([frames], raw=len(CONTENT), size=size)) == CONTENT
