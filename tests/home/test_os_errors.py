"""What the system refuses is said in words, with the file, its owner and the next step."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ipfs_log_handlers.home.os_errors import explain_os_error


def refused(number: int, path: object = None) -> OSError:
    """Return an error as the system raises it."""
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_has_its_file_and_no_number(number):
    """Whatever the system says, the sentence begins with the file, and neither `[Errno …]` nor quotes are in it."""
    said = explain_os_error(refused(number, "/srv/logs/keeper.lock"))
    assert said.startswith("/srv/logs/keeper.lock: ")
    assert "Errno" not in said
    assert "'" not in said.replace("system's", "").replace("Can't", "")


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EROFS, "read-only file system. Make it writable, or work on a copy of the home."),
        (errno.ENOSPC, "no space left on device. Free some space on that disk."),
        (errno.ELOOP, "This is a symbolic link"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "`ipfs-logs doctor`"),
    ],
)
def test_a_usual_error_has_a_next_step(number, hint):
    """The sentence ends with what to do."""
    assert hint in explain_os_error(refused(number, "/x"))


def test_what_is_denied_names_the_owner_and_this_user(tmp_path, monkeypatch):
    """A file of another user says whose it is, with its mode, and who asked."""
    path = tmp_path / "writer.key"
    path.touch(mode=0o600)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    said = explain_os_error(refused(errno.EACCES, path))
    assert said.startswith(f"{path}: permission denied. It belongs to user ")
    assert f"(mode {path.stat().st_mode & 0o777:04o}), and this is user 54321: run this as " in said
    assert owner != 54_321


def test_a_file_that_cannot_be_looked_at_names_the_directory_above(tmp_path, monkeypatch):
    """Below a closed directory the nearest one that can be seen is named."""
    monkeypatch.setattr(os, "geteuid", lambda: 54_321)
    said = explain_os_error(refused(errno.EACCES, tmp_path / "home" / "audit" / "head"))
    assert f". {tmp_path} belongs to user " in said


def test_an_own_file_without_permission_says_how_to_get_it(tmp_path):
    """A file of this user's own is a matter of its mode."""
    path = tmp_path / "head"
    path.touch(mode=0o200)
    assert "It has mode 0200: give yourself the permission (chmod u+rwX)." in explain_os_error(
        refused(errno.EACCES, path)
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("odd"), "odd"),
        (OSError(), "OSError"),
        (refused(errno.ENOSPC), os.strerror(errno.ENOSPC)),
        (refused(errno.ENOENT, b"/a/\xff"), "/a/\udcff: no such file or directory"),
    ],
    ids=str,
)
def test_an_error_without_a_file_is_its_reason(error, said):
    """Nothing is made up; a path of bytes is shown as Python shows it."""
    assert explain_os_error(error) == said


def test_a_path_object_is_a_path():
    """`Path` as the file of an error."""
    assert explain_os_error(refused(errno.ENOENT, Path("/a"))) == "/a: no such file or directory"
