"""Batches of several logs in one directory: each goes to the directory of its log, and of its history."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ipfs_log_handlers.home import disk, head
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir
from ipfs_log_handlers.keeper import new_log, restored
from tests.support import sample_homes


@pytest.fixture
def set_back(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SubsystemDir, list[str], list[str]]:
    """Sign batches 2 and 3 of a log again, as a machine does that was set back unseen; begin another log then.

    Returns:
        The subsystem, whose former directory has batches 0 to 2 as they were signed first and whose current directory
        has batches 2 and 3 as they were signed later; and the CIDs of the manifests of the first and the later history.
    """

    def seal(numbers: range) -> None:
        for number in numbers:
            sample_homes.log(home, range(number, number + 1), records=1)
            new_log._sealed_here.clear()
            sample_homes.seal(home)

    def cids(batches: Batches) -> list[str]:
        return [batches.facts(index).cid.text for index in batches.indexes()]

    subsystem_dir, backup = sample_homes.subsystem_dir(home), tmp_path / "backup"
    seal(range(2))
    subprocess.run(["cp", "-a", str(home), str(backup)], check=True)
    seal(range(2, 3))
    current = LogDir.current_of(subsystem_dir)
    first = cids(current.sealed_batches)
    shutil.copytree(current.batches, tmp_path / "first")
    shutil.copy2(current.head, tmp_path / "head")
    with monkeypatch.context() as patched:
        patched.setattr(head, "is_original", lambda *_: True)
        subprocess.run(["cp", "-a", f"{backup}/.", str(home)], check=True)
        seal(range(3, 5))
    later = cids(current.sealed_batches)
    assert first[:2] == later[:2]
    assert first[2] != later[2]

    name = current.name()
    assert name is not None
    former = subsystem_dir.next_former(name[-8:])
    former.path.mkdir(parents=True)
    current.batches.rename(tmp_path / "later")
    current.head.unlink()
    shutil.copytree(tmp_path / "first", former.batches)
    shutil.copy2(tmp_path / "head", former.head)
    new_log._sealed_here.clear()
    seal(range(5, 6))
    assert name != current.name()
    for index in (2, 3):
        source = Batches(tmp_path / "later").file(index)
        shutil.copy2(source, current.sealed_batches.file(index))
    return subsystem_dir, first, later


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["files", "pack"])
def test_two_histories_of_one_log_stay_apart(set_back, packed):
    """Batch 3 has a free number in the directory of the first history, and does not follow its batch 2."""
    subsystem_dir, first, later = set_back
    current = LogDir.current_of(subsystem_dir)
    if packed:
        (current.batches / "index").unlink()
        assert [2, 3] == current.sealed_batches.pack([2, 3])
    restored.sort_batches(subsystem_dir, keep=current.name())

    histories = [
        {index: log_dir.sealed_batches.facts(index).cid.text for index in log_dir.sealed_batches.indexes()}
        for log_dir in LogDir.former_of(subsystem_dir)
    ]
    assert [dict(enumerate(first)), {2: later[2], 3: later[3]}] == histories
    assert [0] == current.sealed_batches.indexes()


def test_a_disk_that_refuses_to_move_a_batch_is_told(set_back, monkeypatch):
    """A file that cannot be moved is no damaged batch: the keeper must try again."""
    subsystem_dir, *_ = set_back
    current = LogDir.current_of(subsystem_dir)

    def refuse(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(disk, "rename", refuse)
    with pytest.raises(FileNotFoundError):
        restored.sort_batches(subsystem_dir, keep=current.name())
