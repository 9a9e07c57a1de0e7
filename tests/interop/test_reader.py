"""The reader in Go, which follows docs/formats.md, prints what ours reads, and refuses what ours refuses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.format import car
from ipfs_log_handlers.home import acts
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper.acts import record_act
from ipfs_log_handlers.reader.lines import with_subsystem
from tests.support import gateways, sample_homes
from tests.support.forged_logs import FORGERIES, Forged, stored_lines
from tests.support.logging_home import logging_to, seal_home
from tests.support.many_batches import seal_batches
from tests.support.odd_values import ODD_NAMES, odd_value

pytestmark = pytest.mark.slow  # the Go program is built at first


def read(program: Path, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run the reader."""
    return subprocess.run([program, *map(str, arguments)], capture_output=True, timeout=60)


def ours(home: Path, *subsystems: str) -> bytes:
    """Return the records of some subsystems as our reader gives them, a line each."""
    lines = ((line, subsystem) for subsystem in subsystems for line in stored_lines(home, subsystem))
    return b"".join(with_subsystem(line, subsystem) + b"\n" for line, subsystem in lines)


class TestSameRecords:
    def test_an_exported_file(self, go_reader: Path, home: Path, tmp_path: Path) -> None:
        """Every record is the same, byte for byte: odd values, a record of megabytes, an archive between, two logs."""
        with logging_to(home, "audit") as logger:
            for name in ODD_NAMES:
                logger.info("odd", extra={"value": odd_value(name)})
            logger.info("a\nb\x00\x1b[31m\u2028\u202e😀")
            logger.info(os.urandom(1 << 20).hex())
        seal_home(home)
        sample_homes.make(home, 40)
        open_home(home).archive(__file__)
        sample_homes.make(home, 10, "wal")
        open_home(home).export_car(tmp_path / "log.car")

        done = read(go_reader, sample_homes.key_of(home), tmp_path / "log.car")

        assert (0, b"") == (done.returncode, done.stderr)
        lines = ours(home, *sorted(status["subsystem"] for status in sample_homes.status(home)))
        assert 50 + len(ODD_NAMES) < lines.count(b"\n")
        assert lines == done.stdout

    def test_a_file_with_pruned_batches(self, go_reader: Path, home: Path, tmp_path: Path) -> None:
        """The act in the log says which payloads were given up; the manifests are there as raw blocks."""
        sample_homes.make(home, 40)
        (former,) = LogDir.all_of(sample_homes.subsystem_dir(home))
        record_act(HomeDir(home), "audit", acts.draw("prune", reason="old", batches=((str(former.name()), ((0, 0),)),)))
        lines = ours(home, "audit")
        former.sealed_batches.strip(0)
        open_home(home).export_car(tmp_path / "log.car")

        done = read(go_reader, sample_homes.key_of(home), tmp_path / "log.car")

        assert (0, b"") == (done.returncode, done.stderr)
        assert done.stdout
        assert lines.endswith(done.stdout)
        assert lines != done.stdout

    def test_a_gateway(self, go_reader: Path, home: Path) -> None:
        """From the CID of the head, blocks come from a gateway; a batch without records is read, too."""
        seal_batches(home, 12)
        with gateways.gateway(gateways.blocks_of(home)) as served:
            done = read(
                go_reader,
                sample_homes.key_of(home),
                next(status["head"] for status in sample_homes.status(home)),
                served.url,
            )
        assert (0, b"") == (done.returncode, done.stderr)
        assert ours(home, "logs") == done.stdout

    def test_a_part_of_a_log(self, go_reader: Path, home: Path, tmp_path: Path) -> None:
        """A file without the first batches is verified by the edge of its first manifest."""
        sample_homes.make(home, 60)
        since = list(open_home(home).batches())[3].first
        (log,) = open_home(home).export_car(tmp_path / "part.car", since=since).logs
        done = read(go_reader, sample_homes.key_of(home), tmp_path / "part.car")
        assert (0, b"") == (done.returncode, done.stderr)
        assert 0 < log.first
        assert done.stdout
        assert ours(home, "audit").endswith(done.stdout)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_refused(go_reader: Path, home: Path, tmp_path: Path, forgery: str) -> None:
    """What the key has not signed, and what it has signed but is not so, is refused, and no record is printed."""
    sample_homes.make(home, 6, records=2)
    reason, forge = FORGERIES[forgery]
    forged = Forged(home)
    key, blocks = sample_homes.key_of(home), forged.blocks
    file = tmp_path / "log.car"
    file.write_bytes(car.encode([forged.head(forged.chain)], blocks.items()))
    assert 0 == read(go_reader, key, file).returncode
    file.write_bytes(car.encode([forge(forged)], blocks.items()))

    done = read(go_reader, key, file)

    assert (1, b"") == (done.returncode, done.stdout)
    assert reason in done.stderr.decode()


def test_a_damaged_block_is_refused(go_reader: Path, home: Path, tmp_path: Path) -> None:
    """Each of some changed bytes of a file is found."""
    sample_homes.make(home, 20)
    open_home(home).export_car(tmp_path / "log.car")
    whole = (tmp_path / "log.car").read_bytes()
    for at in range(0, len(whole), len(whole) // 40):
        (tmp_path / "bad.car").write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        done = read(go_reader, sample_homes.key_of(home), tmp_path / "bad.car")
        assert (True, b"") == (done.returncode > 0, done.stdout)
