"""Defaults from the environment, and the home of a program that names none."""

from __future__ import annotations

import pwd
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

from ipfs_log_handlers import IPFSHandler, IPFSProcessor
from ipfs_log_handlers.config import Batch, Settings, default_home, homes_directory, program_name
from ipfs_log_handlers.errors import ConfigurationError, HomeError
from ipfs_log_handlers.manager import DatasetsManager
from ipfs_log_handlers.rotator import Rotator
from tests.support.programs import environment


class TestDefaults:
    def test_defaults_come_from_the_environment(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home, stores and token come from the environment where the configuration says nothing."""
        monkeypatch.setenv("IPFS_LOGS_HOME", str(tmp_path / "h"))
        monkeypatch.setenv("IPFS_LOGS_KUBO", "http://127.0.0.1:5001, http://127.0.0.1:5002/")
        monkeypatch.setenv("IPFS_LOGS_TOKEN", "bearer:x")
        found = Settings.parse({"kubo": None, "home": None})
        assert (tmp_path / "h", 2, "bearer:x") == (found.home, len(found.kubo), found.token)
        assert () == Settings.parse({"kubo": ""}).kubo

    @pytest.mark.parametrize(
        "made", [IPFSHandler, IPFSProcessor, DatasetsManager, Rotator], ids=lambda made: made.__name__
    )
    @pytest.mark.parametrize(
        ("variable", "value", "message"),
        [
            ("KUBO", "foo", "IPFS_LOGS_KUBO: not the address of a store; found 'foo', perhaps http://foo:5001"),
            ("KUBO", "http://h:0", ("IPFS_LOGS_KUBO: http://h: the port of a store is not a port number; "
                                    "expected 1 to 65535")),
            ("KUBO", "auto auto", "IPFS_LOGS_KUBO: a store is twice in the list; found auto, auto"),
            ("TOKEN", "bearer:", ("IPFS_LOGS_TOKEN: nothing after bearer:; expected bearer:SECRET, "
                                  "basic:USER:PASSWORD, env:NAME or file:PATH")),
            ("HOME", "~no such user/x", ("IPFS_LOGS_HOME: the home directory for ~ is unknown; "
                                         "found '~no such user/x'. Give an absolute path.")),
        ],
    )  # fmt: skip
    def test_a_wrong_variable_is_named(
        self, monkeypatch: pytest.MonkeyPatch, made: Callable[[], object], variable: str, value: str, message: str
    ) -> None:
        """An error in the environment names the variable, in every class that reads it."""
        monkeypatch.setenv(f"IPFS_LOGS_{variable}", value)
        with pytest.raises(ConfigurationError) as caught:
            made()
        assert message == str(caught.value)

    def test_a_home_from_the_environment_that_is_no_directory_names_the_variable(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A home that cannot be one is reported under the keyword or the variable that named it."""
        home.touch()
        monkeypatch.setenv("IPFS_LOGS_HOME", str(home))
        for keywords, named in (({}, "IPFS_LOGS_HOME"), ({"home": home}, "home")):
            with pytest.raises(HomeError, match=f"^{named}: {home}: this is not a directory"):
                IPFSHandler("logs", **keywords)  # type: ignore[arg-type]

    def test_empty_variables_count_as_unset(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty variable says as much as none."""
        for name in ("HOME", "KUBO", "TOKEN"):
            monkeypatch.setenv(f"IPFS_LOGS_{name}", "")
        found = Settings.parse({})
        assert (default_home(), (), None) == (found.home, found.kubo, found.token)

    def test_the_home_is_named_for_the_program(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 28: the default home carries the program's name."""
        main = ModuleType("__main__")
        monkeypatch.setitem(sys.modules, "__main__", main)
        assert "python" == program_name()
        main.__file__ = "/x/../my prog$.py"
        assert "my_prog_" == program_name()
        assert "my_prog_" == default_home().name
        assert "ipfs-logs" == default_home().parent.name

    @pytest.mark.parametrize(
        ("script", "name"),
        [
            ("/x/shop.pyz/__main__.py", "shop"),
            ("shop.d/__main__.py", "shop"),
            ("__main__.py", "here"),
            ("/x/shop/__main__.pyz/__main__.py", "shop"),
            ("/x/.pyz/__main__.py", "pyz"),
            ("<stdin>", "python"),
        ],
    )
    def test_zipapps_and_directories_that_are_run_do_not_share_a_home(
        self, script: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A `__main__.py` is named for what it lies in, not for itself."""
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        main = ModuleType("__main__")
        main.__file__ = script
        monkeypatch.setitem(sys.modules, "__main__", main)
        assert name == program_name()

    def test_a_zipapp_logs_into_a_home_of_its_name(self, tmp_path: Path) -> None:
        """Two zipapps of one user have two homes."""
        for name in ("one", "two"):
            source = tmp_path / name
            source.mkdir()
            (source / "__main__.py").write_text(
                "from ipfs_log_handlers.config import default_home\nprint(default_home())"
            )
            zipapp.create_archive(source, tmp_path / f"{name}.pyz")
        state = str(tmp_path / "state")
        shown = [
            subprocess.run(
                [sys.executable, tmp_path / f"{name}.pyz"],
                env=environment(XDG_STATE_HOME=state),
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for name in ("one", "two")
        ]
        assert [f"{state}/ipfs-logs/one", f"{state}/ipfs-logs/two"] == shown

    def test_the_state_directory_of_systemd_counts_then_that_of_xdg(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first of several state directories of a service is taken; what is no absolute path does not count."""
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
        assert tmp_path / "xdg" / "ipfs-logs" == homes_directory()
        monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/shop:{tmp_path}/other")
        assert tmp_path / "shop" / "ipfs-logs" / program_name() == Settings.parse({}).home
        monkeypatch.setenv("STATE_DIRECTORY", f":shop:{tmp_path}/other")
        assert tmp_path / "other" / "ipfs-logs" == homes_directory()
        monkeypatch.setenv("STATE_DIRECTORY", "shop")
        monkeypatch.setenv("XDG_STATE_HOME", "state")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert homes_directory().is_relative_to(tmp_path)

    def test_a_user_without_a_home_directory_is_told_what_to_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither HOME nor an entry for the user: the error names the variable; a configured home needs none."""

        def unknown(_: int) -> NoReturn:
            raise KeyError("uid not found")

        monkeypatch.setattr(pwd, "getpwuid", unknown)
        for name in ("HOME", "XDG_STATE_HOME", "STATE_DIRECTORY", "IPFS_LOGS_HOME"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ConfigurationError, match="IPFS_LOGS_HOME"):
            IPFSHandler("logs")
        with pytest.raises(ConfigurationError, match="IPFS_LOGS_HOME"):
            default_home()
        assert Path("/srv/logs") == Settings.parse({"home": "/srv/logs"}).home

    def test_a_home_is_made_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A home is made absolute where it is named: a later chdir does not move it."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", "/u")
        assert tmp_path / "x" == Settings.parse({"home": "x"}).home
        assert Path("/u/x") == Settings.parse({"home": "~/x"}).home
        monkeypatch.setenv("IPFS_LOGS_HOME", "~/y")
        assert Path("/u/y") == Settings.parse({}).home

    def test_the_batch_size_of_the_subsystem_is_the_default(self) -> None:
        """A batch policy takes any of its three numbers; the subsystem's own holds where none is given."""
        found = Settings.parse({"batch": {"seconds": 2}})
        assert (None, 2) == (found.batch.records, found.batch.seconds)
        assert 70 == found.with_records(70).batch.records
        assert 5 == Settings.parse({"batch": Batch(records=5)}).with_records(70).batch.records
