"""Batches are written, shrunk and deleted; a crash or a full disk leaves each as it was, or as it will be."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest

from ipfs_log_handlers.home.batches import Batches
from tests.support import oracle
from tests.support.logging_home import refuse, seal_home
from tests.support.programs import run


class TestNames:
    @pytest.mark.parametrize(
        ("index", "name"),
        [(0, "000/000000.car"), (999, "000/000999.car"), (1000, "001/001000.car"), (1_234_567, "1234/1234567.car")],
    )
    def test_padded(self, tmp_path: Path, index: int, name: str) -> None:
        """Home, names: `<index // 1000>/<index>.car`, padded to 3 and 6 digits, compared as numbers."""
        batches = Batches(tmp_path)
        assert tmp_path / name == batches.file(index)
        batches.file(index).parent.mkdir()
        batches.file(index).touch()
        assert [index] == batches.indexes()

    def test_other_files(self, tmp_path: Path) -> None:
        """A file in the wrong place, or of another name, is no batch."""
        for name in ("000/001000.car", "000/1.car", "000/000001.car.tmp", "x/000000.car", "000001.car"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert [] == Batches(tmp_path).indexes()
        assert [] == Batches(tmp_path / "missing").indexes()


class TestFiles:
    def test_above_the_head(self, batches: Batches) -> None:
        """Home rule 7: what lies above the head is deleted before its index is built anew."""
        batches.remove_above(0)
        assert [0] == batches.indexes()

    @pytest.mark.parametrize("step", ["write", "fsync"])
    def test_full_disk(self, batches: Batches, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        """Home rule 7: a batch that could not be written and synced whole leaves no file."""
        facts = batches.facts(1)
        blocks = list(batches.blocks(1))
        refuse(monkeypatch, step, OSError(errno.ENOSPC, "full"))
        with pytest.raises(OSError, match="full"):
            batches.write(2, facts.cid, facts.head_cid, blocks)
        assert [0, 1] == batches.indexes()

    def test_private(self, batches: Batches) -> None:
        """Home rule 29: batches are 0600 in directories of 0700."""
        assert 0o600 == batches.file(0).stat().st_mode & 0o777
        assert 0o700 == batches.file(0).parent.stat().st_mode & 0o777


class TestRetention:
    def test_strip(self, batches: Batches, home: Path) -> None:
        """Home rule 23: a payload goes by replacing its CAR at once; manifest and head block stay; the chain holds."""
        facts, before = batches.facts(0), batches.file(0).stat().st_size
        freed = batches.strip(0)
        assert before - freed == batches.file(0).stat().st_size
        assert facts == batches.facts(0)
        assert not batches.has_payload(0, facts.manifest.payload)
        (log,) = oracle.read_home(home)["logs"]
        assert [None, 1] == [each.lines and len(each.lines) for each in log.batches]

    def test_strip_fails(self, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 23: on a disk that refuses, the batch stays as it was."""
        data = batches.file(0).read_bytes()
        refuse(monkeypatch, "write", OSError(errno.EIO, "broken"))
        with pytest.raises(OSError, match="broken"):
            batches.strip(0)
        assert data == batches.file(0).read_bytes()
        assert [batches.file(0), batches.file(1)] == sorted(batches.file(0).parent.iterdir())

    def test_killed_as_it_strips(self, batches: Batches, home: Path) -> None:
        """Home rule 23: a keeper killed as it strips leaves the batch whole, and the next one removes its leftover."""
        data = batches.file(0).read_bytes()
        ended = run(
            home,
            """
            from pathlib import Path
            from ipfs_log_handlers.home.batches import Batches
            os.rename = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
            Batches(Path(HOME) / "logs" / "batches").strip(0)
            """,
        )
        assert -signal.SIGKILL == ended.code
        assert 1 == len(list(batches.path.rglob("*.tmp")))
        seal_home(home)
        assert [] == list(batches.path.rglob("*.tmp"))
        assert data == batches.file(0).read_bytes()

    def test_strip_without_room(self, batches: Batches, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 22: on a disk without room for even the smaller file, the batch is cut behind what stays."""
        facts, before = batches.facts(0), batches.file(0).stat().st_size
        refuse(monkeypatch, "write", OSError(errno.ENOSPC, "full"))
        freed = batches.strip(0)
        monkeypatch.undo()
        assert before - freed == batches.file(0).stat().st_size
        assert facts == batches.facts(0)
        assert [batches.file(0), batches.file(1)] == sorted(batches.file(0).parent.iterdir())
        (log,) = oracle.read_home(home)["logs"]
        assert [None, 1] == [each.lines and len(each.lines) for each in log.batches]
