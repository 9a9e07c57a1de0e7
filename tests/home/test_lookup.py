"""A home is found, and a directory of something else, or one that cannot be read, is not taken for an empty one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.lookup import check_home, default_homes, is_home, only_home
from ipfs_log_handlers.home.writable import why_not_made
from tests.support import sample_homes


def test_an_empty_directory_passes_and_is_no_home_yet(home):
    """Hidden files and what `mkfs` leaves do not count."""
    (home / "lost+found").mkdir(parents=True)
    (home / ".hidden").touch()
    check_home(HomeDir(home))
    assert not is_home(HomeDir(home))


def test_a_home_passes_and_is_one(home):
    """A log lies there."""
    sample_homes.log(home, range(1))
    check_home(HomeDir(home))
    assert is_home(HomeDir(home))


def test_other_files_are_no_home(tmp_path):
    """A directory with files of something else is named."""
    (tmp_path / "notes").touch()
    with pytest.raises(HomeError, match=r"is not a home of ipfs-logs"):
        check_home(HomeDir(tmp_path))


def test_a_subsystem_that_cannot_be_read_is_refused_not_left_out(home, monkeypatch):
    """A directory of another user in the home is an error: it would look as if nothing was logged."""
    sample_homes.log(home, range(1))
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != home / "audit")
    with pytest.raises(PermissionError) as caught:
        check_home(HomeDir(home))
    assert (caught.value.errno, caught.value.filename) == (errno.EACCES, str(home / "audit"))


class TestMissing:
    def test_a_home_that_can_be_made_is_just_missing(self, tmp_path):
        """Nothing is in its way."""
        with pytest.raises(HomeError, match=r"nothing was logged here yet: there is no home at .*/a/b\. If a program"):
            check_home(HomeDir(tmp_path / "a" / "b"))
        assert why_not_made(tmp_path / "a" / "b") is None

    def test_below_a_file_none_can_be_made(self, tmp_path):
        """The file is named."""
        (tmp_path / "file").touch()
        with pytest.raises(HomeError, match=f"it cannot be made: {tmp_path}/file is not a directory"):
            check_home(HomeDir(tmp_path / "file" / "home"))

    def test_below_a_directory_of_another_user_none_can_be_made(self, tmp_path, monkeypatch):
        """The directory and the user are named."""
        monkeypatch.setattr(os, "access", lambda *_: False)
        assert f"user {os.geteuid()} may not write to {tmp_path}" == why_not_made(tmp_path / "home")

    def test_on_a_read_only_file_system_none_can_be_made(self, tmp_path, monkeypatch):
        """The file system is named."""
        real = os.statvfs(tmp_path)
        monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:8], os.ST_RDONLY, real[9])))
        assert f"{tmp_path} is on a read-only file system" == why_not_made(tmp_path / "home")


def test_the_only_home_is_found_and_none_or_several_are_said(tmp_path, monkeypatch):
    """Files between homes are no homes."""
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    where = tmp_path / "ipfs-logs"
    assert default_homes() == []
    with pytest.raises(HomeError, match="nothing was logged here yet: there is no home under"):
        only_home()
    (where / "one").mkdir(parents=True)
    (where / "file").touch()
    assert only_home() == where / "one"
    (where / "two").mkdir()
    with pytest.raises(HomeError, match=f"there are 2 homes; .*: {where}/one, {where}/two"):
        only_home()
