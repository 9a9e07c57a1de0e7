"""Rotators: every file that logging rotates away is in the chain, and logging goes on whatever happens."""

from __future__ import annotations

import json
import logging
import logging.config
import logging.handlers
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader import archive_content
from ipfs_log_handlers.reader import archives as reading
from ipfs_log_handlers.rotator import Rotator, archiving
from ipfs_log_handlers.runtime.process import forget_home
from ipfs_log_handlers.testing import FakeDaemon
from tests.support import programs, sample_homes
from tests.support.archives import sealed, verified
from tests.support.logging_home import refuse


@pytest.fixture(autouse=True)
def _forget(home):
    yield
    forget_home(home)


def lines_of(home: Path) -> list[str]:
    """Return the lines in all archives, oldest first."""
    found = []
    for version in reading.versions(HomeDir(home)):
        with archive_content.opened(version) as get:
            found += get(version.root).decode().splitlines()
    return found


def log_to(handler: logging.Handler, numbers: range) -> None:
    """Log numbers through a handler of no logger."""
    for number in numbers:
        handler.handle(logging.LogRecord("t", 20, "", 0, "line %03d", (number,), None))


@pytest.mark.parametrize("kind", ["size", "time"])
def test_each_rotated_file_is_archived(home, tmp_path, kind):
    """Every line that was logged is in one archive or in the file at hand; the files are renamed as always."""
    path = tmp_path / "app.log"
    handler: logging.handlers.BaseRotatingHandler
    if kind == "size":
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=100, backupCount=2)
    else:
        handler = logging.handlers.TimedRotatingFileHandler(path, when="D", backupCount=2)
    rotator = handler.rotator = Rotator("wal", component="shop", home=home, keeper="none", metadata={"k": 1})
    for start in range(0, 50, 5):
        log_to(handler, range(start, start + 5))
        if kind == "time":
            assert isinstance(handler, logging.handlers.TimedRotatingFileHandler)
            handler.rolloverAt -= 1_000_000
    handler.close()

    every = [f"line {number:03}" for number in range(50)]
    assert every == lines_of(home) + path.read_text().splitlines()
    assert (rotator.archived, rotator.failed) == (len(reading.versions(HomeDir(home))), 0)
    assert rotator.archived >= 4
    assert 2 <= len(list(tmp_path.glob("app.log*"))) <= 3
    sample_homes.seal(home)
    metas = [each["meta"] for each in sealed(home, "wal")]
    assert {("app.log", "shop", "wal_partition")} == {(each["name"], each["component"], each["type"]) for each in metas}
    assert len({each["version"] for each in metas}) == len(metas)
    assert 0 == verified(home)


def test_disk_that_refuses_stops_no_logging(home, tmp_path, monkeypatch):
    """A file that cannot be archived is rotated all the same, counted, and the next one is archived again."""
    path = tmp_path / "app.log"
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=100, backupCount=100)
    rotator = handler.rotator = Rotator(home=home, keeper="none")
    with monkeypatch.context() as patch:
        refuse(patch, "fdatasync", OSError(28, "No space left on device"))
        log_to(handler, range(20))
    assert (0, 1) == (rotator.archived, rotator.failed)
    assert "No space left" in str(rotator.last_error)
    log_to(handler, range(20, 40))
    handler.close()

    kept = "".join(each.read_text() for each in tmp_path.glob("app.log*")).splitlines()
    assert [f"line {number:03}" for number in range(40)] == sorted(kept)
    assert lines_of(home)
    assert 1 == rotator.failed


def test_what_comes_then(home, tmp_path):
    """Another step in place of the rename is called with the two paths, when the file is archived."""
    seen: list[tuple[str, str, int]] = []
    rotator = Rotator(home=home, keeper="none", then=lambda source, to: seen.append((source, to, rotator.archived)))
    path = tmp_path / "app.log"
    path.write_text("x")
    rotator(str(path), "there")
    rotator(str(tmp_path / "missing"), "nowhere")

    assert [(str(path), "there", 1)] == seen
    assert 0 == rotator.failed


def configuration(path: Path, home: Path, **more: Any) -> dict[str, Any]:
    """Return a dictConfig that a JSON file could hold."""
    handler = {
        "()": "ipfs_log_handlers.rotator.archiving",
        "filename": str(path),
        "backupCount": 3,
        "archive": {"home": str(home), "component": "shop"},
    }
    made = {"handlers": {"f": {**handler, **more}}, "root": {"handlers": ["f"], "level": "INFO"}}
    return json.loads(json.dumps({"version": 1, "disable_existing_loggers": False, **made}))


@pytest.mark.parametrize(
    "more",
    [{"maxBytes": 100}, {"class": "logging.handlers.TimedRotatingFileHandler", "when": "S"}],
    ids=["size", "time"],
)
def test_by_configuration_alone(home, tmp_path, more):
    """A dictConfig of plain values is enough; at the end of the program everything is shipped."""
    with FakeDaemon() as daemon:
        config = configuration(tmp_path / "app.log", home, **more)
        config["handlers"]["f"]["archive"] |= {"kubo": daemon.url, "flush_timeout": 60.0}
        body = """
            logging.config.dictConfig(CONFIG)
            for number in range(30): log.info("line %03d", number)
            for each in logging.getLogger().handlers: each.doRollover()
        """
        programs.run(home, body, CONFIG=config).clean()
        blocks = set(daemon.store.blocks)

    found = reading.versions(HomeDir(home))
    assert [f"line {number:03}" for number in range(30)] == lines_of(home)
    assert {"shipped"} == {each.state for each in found}
    assert {each.root for each in found} <= blocks


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"class": "logging.FileHandler"}, "not a handler that rotates"),
        ({"class": "no.such.Handler"}, "no such handler"),
        ({"archive": {"subsystm": "wal"}}, "Rotator: no such keyword 'subsystm'; did you mean 'subsystem'?"),
        ({"archive": {"compnent": "x"}}, "Rotator: no such keyword 'compnent'; did you mean 'component'?"),
        ({"archive": 5}, "archive: not a mapping; expected one such as {'component': 'shop'}, found 5"),
        (
            {"archive": {"metadata": "x"}},
            "metadata: not a mapping; expected one such as {'component': 'shop'}, found 'x'",
        ),
        ({"archve": {}}, "archiving: no such keyword 'archve'; did you mean 'archive'?"),
        ({"maxbytes": 5}, "archiving: no such keyword 'maxbytes'; did you mean 'maxBytes'?"),
        ({"archive": {"subsystem": "wall"}}, "'wal' perhaps"),
    ],
)
def test_wrong_configuration(home, tmp_path, more, told):
    """What is wrong in a configuration is named, and no file is opened."""
    with pytest.raises(ValueError, match="handler 'f'") as caught:
        logging.config.dictConfig(configuration(tmp_path / "app.log", home, **more))

    assert isinstance(caught.value.__cause__, ConfigurationError)
    assert told in str(caught.value.__cause__)
    assert not (tmp_path / "app.log").exists()


def test_handler_that_takes_any_keyword(home, tmp_path):
    """A rotating handler of one's own gets whatever keywords it takes."""

    class Own(logging.handlers.RotatingFileHandler):
        def __init__(self, filename: Path, **more: Any) -> None:
            super().__init__(filename, delay=True)
            self.more = more

    made = archiving({"home": home}, **{"class": Own}, filename=tmp_path / "a", colour="red")
    made.close()

    assert isinstance(made, Own)
    assert {"colour": "red"} == made.more


def traced(function: Any) -> Any:
    """Wrap a function, as decorators of programs do."""

    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


class ByItself(logging.handlers.BaseRotatingHandler):
    """A handler that renames its file by itself, as those for several processes do."""

    def __init__(self, filename: Any) -> None:
        super().__init__(filename, "a", delay=True)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        """Return that it is always time."""
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Rotate, then log."""
        self.doRollover()
        super().emit(record)

    def doRollover(self) -> None:  # noqa: N802
        """Rename, without a word to anybody."""
        Path(self.baseFilename).replace(self.baseFilename + ".1")


class Uncooperative(logging.handlers.RotatingFileHandler):
    """A handler that has a way of its own to rename, where the standard library asks the rotator."""

    def rotate(self, source: str, dest: str) -> None:
        """Rename, without a word to anybody."""
        Path(source).replace(dest)


class Polite(logging.handlers.RotatingFileHandler):
    """A handler that does more, and asks all the same."""

    @traced
    def doRollover(self) -> None:  # noqa: N802
        """Rotate."""
        super().doRollover()

    def rotate(self, source: str, dest: str) -> None:
        """Rename, as configured."""
        for one, other in [(source, dest)]:
            super().rotate(one, other)


@pytest.mark.parametrize("kind", [ByItself, Uncooperative])
def test_a_handler_that_never_asks_its_rotator_is_refused(home, tmp_path, kind):
    """What would never be archived is an error at once, and no file is opened."""
    with pytest.raises(ConfigurationError, match="without calling its rotator"):
        archiving({"home": home}, **{"class": kind}, filename=tmp_path / "a.log")
    assert not (tmp_path / "a.log").exists()


def test_a_subclass_that_asks_its_rotator_is_served(home, tmp_path):
    """A handler may override the rotation, as long as it goes through to the rotator."""
    handler = archiving({"home": home}, **{"class": Polite}, filename=tmp_path / "a.log", maxBytes=100, backupCount=2)
    log_to(handler, range(50))
    handler.close()
    assert isinstance(handler.rotator, Rotator)
    assert (True, 0) == (handler.rotator.archived > 1, handler.rotator.failed)


def test_a_rotation_without_the_rotator_is_counted(home, tmp_path):
    """A handler that keeps no old files never asks: each rotation counts as failed, and says why."""
    handler = archiving({"home": home}, filename=tmp_path / "a.log", maxBytes=100)
    log_to(handler, range(20))
    handler.close()
    assert isinstance(handler.rotator, Rotator)
    assert (0, True) == (handler.rotator.archived, handler.rotator.failed > 1)
    assert "backupCount" in str(handler.rotator.last_error)


def test_references_in_a_configuration_are_resolved(home, tmp_path, monkeypatch):
    """`cfg://` inside the keywords of the archive is what it names."""
    config = configuration(tmp_path / "app.log", home, maxBytes=100)
    config["parts"] = ["shop"]
    config["handlers"]["f"]["archive"]["component"] = "cfg://parts[0]"
    config["handlers"]["f"]["archive"]["metadata"] = {"part": "cfg://parts[0]"}
    made = logging.config.DictConfigurator(config)
    handler = made.configure_handler(made.config["handlers"]["f"])
    log_to(handler, range(20))
    handler.close()
    assert {"shop"} == {version.meta["component"] for version in reading.versions(HomeDir(home))}


def test_factory_makes_the_handler_that_was_asked_for(home, tmp_path):
    """The factory takes the class itself as well as its name, and the size-based one by default."""
    by_class = archiving(
        {"home": home}, **{"class": logging.handlers.TimedRotatingFileHandler}, filename=tmp_path / "a", delay=True
    )
    default = archiving({"home": home}, filename=tmp_path / "b", delay=True)

    assert type(by_class) is logging.handlers.TimedRotatingFileHandler
    assert type(default) is logging.handlers.RotatingFileHandler
    for each in (by_class, default):
        each.close()
