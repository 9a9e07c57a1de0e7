"""Where things lie: what is a subsystem's directory, and what is somebody else's."""

from __future__ import annotations

import os

import pytest

from ipfs_log_handlers.home.layout import Home
from tests.reading import homes

SIGNS = ["spool", "batches", "shipped", "archived", "former", "quarantine", "head", "settings.json"]


@pytest.mark.parametrize("sign", SIGNS)
def test_a_directory_with_anything_of_ours_is_a_room(home, sign):
    """Whatever is left of a subsystem, it is seen."""
    (home / "audit" / sign).mkdir(parents=True)

    assert ["audit"] == [room.name for room in Home(home).rooms()]


def test_other_directories_are_no_rooms(home):
    """Directories without anything of ours, links, files and names that no subsystem has are left alone."""
    homes.make(home, 1)
    (home / "src" / "head.d").mkdir(parents=True)
    (home / "empty").mkdir()
    (home / "Audit" / "spool").mkdir(parents=True)
    (home / "file").touch()
    (home / "requests" / "spool").mkdir(parents=True, exist_ok=True)
    os.symlink(home / "audit", home / "link")

    assert ["audit"] == [room.name for room in Home(home).rooms()]


def test_no_directory_has_no_rooms(home):
    """A home that is not there, or is a file, has none."""
    assert [] == Home(home).rooms()
    home.touch()
    assert [] == Home(home).rooms()
