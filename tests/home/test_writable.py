"""A place that cannot be a home is refused when a handler is made; one that can be is made at the first record."""

from __future__ import annotations

import logging
import logging.config
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler, IPFSProcessor
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.runtime.process import HomeProcess
from tests.support import programs
from tests.support.logging_home import durable, logging_to


def below_a_file(path: Path) -> Path:
    """Return a path below a file."""
    (path / "file").touch()
    return path / "file" / "a" / "home"


def below_a_link_to_nothing(path: Path) -> Path:
    """Return a path below a link that leads nowhere."""
    (path / "link").symlink_to(path / "nowhere")
    return path / "link" / "home"


def below_a_circle_of_links(path: Path) -> Path:
    """Return a path below a link to itself."""
    (path / "link").symlink_to(path / "link")
    return path / "link" / "home"


def with_a_name_too_long(path: Path) -> Path:
    """Return a path whose name no file system takes."""
    return path / ("x" * 300)


def a_file(path: Path) -> Path:
    """Return the path of a file."""
    (path / "home").touch()
    return path / "home"


def a_link(path: Path) -> Path:
    """Return the path of a link to a directory."""
    (path / "elsewhere").mkdir()
    (path / "home").symlink_to(path / "elsewhere")
    return path / "home"


KINDS = [below_a_file, below_a_link_to_nothing, below_a_circle_of_links, with_a_name_too_long, a_file, a_link]


class TestConstruction:
    """What can be checked is refused as the handler is made, and nothing is written by that."""

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("way", ["handler", "processor", "dictConfig", "environment"])
    def test_a_home_that_cannot_be_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[Path], Path], way: str
    ) -> None:
        """The error names the keyword or variable, and the path."""
        where = kind(tmp_path)
        named = "home"

        def make() -> Any:
            if way == "handler":
                return IPFSHandler("logs", home=where)
            if way == "processor":
                return IPFSProcessor("logs", home=where)
            if way == "environment":
                return IPFSHandler("logs")
            return logging.config.DictConfigurator(
                {"version": 1, "handlers": {"a": {"class": "ipfs_log_handlers.IPFSHandler", "home": str(where)}}}
            ).configure()

        if way == "environment":
            named = "IPFS_LOGS_HOME"
            monkeypatch.setenv(named, str(where))
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises((HomeError, ValueError)) as caught:
            make()
        error = caught.value if isinstance(caught.value, HomeError) else caught.value.__cause__
        assert isinstance(error, HomeError)
        assert str(error).startswith(f"{named}: {tmp_path}")
        assert before == sorted(tmp_path.rglob("*"))
        assert where not in HomeProcess._all

    @pytest.mark.parametrize("depth", ["home", "a/b/home"])
    def test_where_this_user_may_not_write_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: str
    ) -> None:
        """The directory that would have to be written is named."""
        monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path) != tmp_path)
        with pytest.raises(HomeError, match=f"user {os.geteuid()} may not write to {tmp_path}"):
            IPFSHandler("logs", home=tmp_path / depth)

    @pytest.mark.parametrize("exists", [False, True])
    def test_a_read_only_file_system_is_refused(
        self, home: Path, monkeypatch: pytest.MonkeyPatch, *, exists: bool
    ) -> None:
        """Root may write anywhere but there."""
        if exists:
            home.mkdir()
        real = os.statvfs(home.parent)
        monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:8], os.ST_RDONLY, real[9])))
        with pytest.raises(HomeError, match="read-only file system"):
            IPFSHandler("logs", home=home)

    def test_a_home_whose_spool_can_be_written_is_taken(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An administrator may have made the directories, and keeps the home itself closed."""
        (home / "logs" / "spool").mkdir(parents=True)
        monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path) != home)
        with logging_to(home) as logger:
            logger.info("kept")
        assert 1 == len(durable(home))
        with pytest.raises(HomeError, match=f"may not write to {home}"):
            IPFSHandler("wal", home=home)

    def test_a_home_that_can_be_made_is_made_at_the_first_record(self, tmp_path: Path) -> None:
        """Until then there is not even its parent."""
        with logging_to(tmp_path / "a" / "home") as logger:
            assert not (tmp_path / "a").exists()
            logger.info("kept")
        assert 1 == len(durable(tmp_path / "a" / "home"))


@pytest.mark.parametrize("made", ["IPFSHandler('logs', home=HOME)", "Behind(IPFSProcessor('logs', home=HOME))"])
def test_a_first_record_without_a_descriptor_is_reported_and_the_next_one_is_kept(home: Path, made: str) -> None:
    """Where no file can be opened, no module can be imported: the program hears of it in one line, and goes on."""
    body = """
        import os, resource
        from ipfs_log_handlers import IPFSHandler, IPFSProcessor
        class Behind(logging.Handler):
            def __init__(self, processor):
                super().__init__()
                self.processor = processor
            def emit(self, record):
                self.processor(None, "info", {"event": record.getMessage()})
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        logger = logging.getLogger("app")
        logger.setLevel(logging.INFO)
        logger.addHandler(eval(made))
        held = []
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        logger.info("lost")
        for descriptor in held:
            os.close(descriptor)
        logger.info("kept")
    """
    ended = programs.run(home, body, made=made)
    assert (0, 1) == (ended.code, len(ended.err.splitlines())), ended.err
    assert "(EMFILE)" in ended.err
    assert ["kept"] == [record["event"] for record in programs.adopted(home)]
