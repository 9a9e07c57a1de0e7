"""`open_home`, and how the home is found that a command means."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ipfs_log_handlers
from ipfs_log_handlers import (
    ConfigurationError,
    HomeError,
    api,
    open_home,
)
from ipfs_log_handlers.api import find_home
from ipfs_log_handlers.config import homes_directory
from tests.support import sample_homes


class TestOpenHome:
    def test_the_front_door_imports_it_when_it_is_used(self):
        """`ipfs_log_handlers.open_home` is the function of `api`, which `import ipfs_log_handlers` does not load."""
        assert ipfs_log_handlers.open_home is api.open_home
        program = "import sys, ipfs_log_handlers; print('ipfs_log_handlers.api' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"

    def test_an_unknown_name_of_the_front_door_is_an_attribute_error(self):
        """A misspelt name is refused as Python refuses it."""
        with pytest.raises(AttributeError, match="has no attribute 'open_hom'"):
            ipfs_log_handlers.open_hom  # type: ignore[attr-defined]  # noqa: B018

    def test_without_a_path_it_is_the_home_that_this_program_logs_to(self, two, monkeypatch):
        """`IPFS_LOGS_HOME` names it, as for a handler."""
        monkeypatch.setenv("IPFS_LOGS_HOME", str(two.path))
        assert open_home() == two

    def test_a_missing_directory_is_refused_unless_it_may_come_later(self, home):
        """Every method finds nothing in a home that is still missing, and finds it when it is there."""
        with pytest.raises(HomeError, match="there is no home at"):
            open_home(home)
        later = open_home(home, must_exist=False)
        assert ((), [], [], ()) == (later.status(), list(later.batches()), list(later.verify()), later.archives())
        assert later.openmetrics() == "# EOF\n"
        sample_homes.make(home, 3)
        assert [status.durable for status in later.status()] == [3]

    def test_a_directory_of_something_else_is_refused_in_both_ways(self, tmp_path):
        """A directory in which no log lies is not a home."""
        (tmp_path / "notes.txt").touch()
        for must_exist in (True, False):
            with pytest.raises(HomeError, match="is not a home of ipfs-logs"):
                open_home(tmp_path, must_exist=must_exist)

    def test_a_malformed_path_is_a_configuration_error(self):
        """An empty path is none."""
        with pytest.raises(ConfigurationError, match="home"):
            open_home("")

    def test_it_writes_nothing(self, two):
        """Opening a home and reading its status leave every file as it was."""
        before = {path: path.stat().st_mtime_ns for path in two.path.rglob("*")}
        open_home(two.path).status()
        assert before == {path: path.stat().st_mtime_ns for path in two.path.rglob("*")}

    def test_the_only_home_is_found_and_several_are_listed(self, tmp_path, monkeypatch):
        """`find_home` takes the variable, else the only home of the user."""
        monkeypatch.delenv("IPFS_LOGS_HOME", raising=False)
        monkeypatch.delenv("STATE_DIRECTORY", raising=False)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        with pytest.raises(HomeError, match="there is no home under"):
            find_home()
        sample_homes.make(homes_directory() / "one", 1)
        assert find_home() == homes_directory() / "one"
        sample_homes.make(homes_directory() / "two", 1)
        with pytest.raises(HomeError, match="there are 2 homes"):
            find_home()
        monkeypatch.setenv("IPFS_LOGS_HOME", str(tmp_path / "named"))
        assert find_home() == tmp_path / "named"
