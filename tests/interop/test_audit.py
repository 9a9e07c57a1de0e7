"""The shell program of docs/audit.md accepts a log that is right, prints its records, and refuses forgeries."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.format import car
from tests.kubo.daemon import Daemon
from tests.support import page_tools, pages, sample_homes
from tests.support.forged_logs import FORGERIES, Forged, stored_lines
from tests.support.logging_home import logging_to

PAGE = Path(__file__).resolve().parents[2] / "docs" / "audit.md"
FOUND = {
    "another key": "the head is not signed",
    "another text": "the head is not signed",
    "a batch left out": "is not batch",
    "another root": "the records have another root",
    "another number": "other records",
}
"""What the program says of each forgery that it looks for."""


def audit(daemon: Daemon, directory: Path, head: object, key: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program of the page, with the blocks of a daemon."""
    (script,) = (block.body for block in pages.blocks(PAGE) if (block.note, block.value) == ("file", "audit.sh"))
    (directory / "audit.sh").write_text(script, encoding="utf-8")
    path = os.pathsep.join([str(daemon.binary.parent), os.environ["PATH"], str(page_tools.directory())])
    return subprocess.run(
        ["sh", "audit.sh", str(head), key],
        cwd=directory,
        env={**os.environ, "PATH": path, "IPFS_PATH": str(daemon.repo)},
        capture_output=True,
        timeout=120,
    )


def put(daemon: Daemon, file: Path) -> None:
    """Give a daemon the blocks of a CAR file."""
    daemon.cli("dag", "import", "--pin-roots=false", str(file))


@pytest.mark.slow
def test_a_whole_log(kubo: Daemon, home: Path, tmp_path: Path) -> None:
    """Odd characters are printed as they were logged; an archive of several blocks is checked."""
    with logging_to(home, "audit") as logger:
        logger.info("a\nb\x00\x1b[31m\u2028\u202e😀\\n  ", extra={"value": "  x "})
    sample_homes.make(home, 6, records=3)
    (tmp_path / "file").write_bytes(os.urandom(1_500_000))
    open_home(home).archive(tmp_path / "file")
    sample_homes.seal(home)
    open_home(home).export_car(tmp_path / "log.car")
    put(kubo, tmp_path / "log.car")

    done = audit(kubo, tmp_path, sample_homes.head_of(home), sample_homes.key_of(home))

    assert 0 == done.returncode, done.stderr
    assert b"".join(line + b"\n" for line in stored_lines(home, "audit")) == done.stdout
    batches = sum(1 for _ in open_home(home).batches(["audit"]))
    assert f": {batches} batches, signed by ipfs-logs/" in done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("forgery", FOUND)
def test_a_forgery_is_refused(kubo: Daemon, home: Path, tmp_path: Path, forgery: str) -> None:
    """What the key has not signed, or has signed but is not so, ends with 3 and says why."""
    sample_homes.make(home, 6, records=2)
    forged = Forged(home)
    head = FORGERIES[forgery][1](forged)
    (tmp_path / "log.car").write_bytes(car.encode([head], forged.blocks.items()))
    put(kubo, tmp_path / "log.car")

    done = audit(kubo, tmp_path, head, sample_homes.key_of(home))

    assert 3 == done.returncode
    assert FOUND[forgery] in done.stderr.decode()
