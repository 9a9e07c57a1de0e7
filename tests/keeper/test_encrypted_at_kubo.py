"""What a real Kubo has of an encrypted log: nothing in clear, and enough to read it with the keys alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyrage

from ipfs_log_handlers import open_dataset, open_home
from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.format import encrypted_archive, line, payload
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.spool.archiver import ArchiveMetadata
from tests.support import sample_homes
from tests.support.archives import archiver
from tests.support.encrypted import ALICE, ALICE_KEY
from tests.support.logging_home import lines, put_segment, record

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


def test_one_tenant_is_erased_and_the_others_are_read_from_it(home: Path, kubo_daemon) -> None:
    """Nothing of a record and no value is in the repository; a reader elsewhere is told what was erased by policy."""
    daemon = kubo_daemon()
    tenants = ("acme-industries", "globex-corporation", "initech-limited")
    records = b"".join(
        line.record(record(seq, event=f"quagga {seq} came in", tenant_id=tenants[seq % 3])) for seq in range(1, 31)
    )
    encrypt = Encrypt(recipients=(ALICE_KEY,), scope="tenant_id")
    put_segment(HomeDir(home).subsystem_dir("audit"), records, encrypt=encrypt)
    sample_homes.ship(home, daemon.url)
    (shredded,) = open_home(home).shred_keys(scope="acme-industries", reason="asked for")
    assert shredded.batches == 1
    sample_homes.ship(home, daemon.url)
    head, key = sample_homes.head_of(home), sample_homes.key_of(home)

    secrets = _windows(records)
    looked = 0
    for file in (path for path in (daemon.repo / "blocks").rglob("*") if path.is_file()):
        data = file.read_bytes()
        looked += len(data)
        assert not _windows(data) & secrets, file
    assert looked > 5_000

    for key_directory in (home / "keys", None):
        gaps: list[Any] = []
        source: dict[str, Any] = {"kubo": daemon.url, "keys": [key], "identity": ALICE, "key_directory": key_directory}
        with open_dataset(head, on_gap=gaps.append, **source) as dataset:
            seqs = sorted(record["seq"] for record in dataset)
        erased = [(gap.kind, gap.records) for gap in gaps if gap.kind == "erased"]
        assert erased == [("erased", 10)]
        assert seqs == ([seq for seq in range(1, 31) if seq % 3] if key_directory else [])
        assert len(gaps) == (1 if key_directory else 3)
