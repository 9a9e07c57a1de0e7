"""Where things lie: what is a subsystem's directory, and what is somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipfs_log_handlers.home import layout
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes

SIGNS = ["spool", "batches", "shipped", "archived", "former", "quarantine", "head", "settings.json"]


@pytest.mark.parametrize("sign", SIGNS)
def test_a_directory_with_anything_of_ours_is_a_subsystem(home, sign):
    """Whatever is left of a subsystem, it is seen."""
    (home / "audit" / sign).mkdir(parents=True)

    assert ["audit"] == [subsystem_dir.name for subsystem_dir in HomeDir(home).subsystem_dirs()]


def test_other_directories_are_no_subsystems(home):
    """Directories without anything of ours, links, files and names that no subsystem has are left alone."""
    sample_homes.make(home, 1)
    (home / "src" / "head.d").mkdir(parents=True)
    (home / "empty").mkdir()
    (home / "Audit" / "spool").mkdir(parents=True)
    (home / "file").touch()
    (home / "requests" / "spool").mkdir(parents=True, exist_ok=True)
    os.symlink(home / "audit", home / "link")

    assert ["audit"] == [subsystem_dir.name for subsystem_dir in HomeDir(home).subsystem_dirs()]


def test_no_directory_has_no_subsystems(home):
    """A home that is not there, or is a file, has none."""
    assert [] == HomeDir(home).subsystem_dirs()
    home.touch()
    assert [] == HomeDir(home).subsystem_dirs()


def test_a_home_that_is_being_made_holds_nothing_else(home):
    """Every path that a subsystem or a log can have is known to the check for other things."""
    subsystem_dir, paths = HomeDir(home).subsystem_dir("audit"), []
    for owner in (subsystem_dir, subsystem_dir.current):
        properties = [name for name, value in vars(type(owner)).items() if isinstance(value, property)]
        found = [getattr(owner, name) for name in properties]
        paths += [path for path in found if isinstance(path, Path) and path.parent == subsystem_dir.path]

    assert {path.name for path in paths} == layout._PARTS
