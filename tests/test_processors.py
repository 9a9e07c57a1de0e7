from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from ipfs_log_handlers import IPFSProcessor
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.recorder import Recorder
from tests.odd import ODD_NAMES, BadRepr, odd_value
from tests.workshop import durable


@pytest.fixture
def make(home: Path) -> Iterator[Callable[..., IPFSProcessor]]:
    """Makes processors that write to one home and start no thread."""
    made = list[IPFSProcessor]()

    def new(subsystem: str | None = "logs", **more: Any) -> IPFSProcessor:
        one = IPFSProcessor(subsystem, home=home, **{"keeper": "none", **more})
        made.append(one)
        return one

    yield new
    for each in made:
        each.close()
        assert 0 == each._recorder.failed
    HomeProcess._all.pop(home, None)


def logger(*processors: Any) -> Any:
    """A structlog logger with these processors, and nothing behind them."""
    end: Any = structlog.testing.LogCapture()
    return structlog.wrap_logger(None, processors=[*processors, end])


class TestProcessor:
    def test_record(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """An event dict becomes the same record as a LogRecord: time, level, logger, event, fields, pid, seq."""
        logger(make()).warning("hello", user="ä", nested={"a": [1, 2.5]})
        (record,) = durable(home)
        assert ["time", "level", "logger", "event", "user", "nested", "pid", "seq"] == list(record)
        assert ("warning", "hello", "ä") == (record["level"], record["event"], record["user"])

    def test_passed_on_unchanged(self, make: Callable[..., IPFSProcessor]) -> None:
        """Pitfall 25: the very dict that came in goes on, unchanged."""
        given = {"event": "e", "level": "info", "time": 5, "subsystem": "wal", "exc_info": True, "a": [1]}
        before = dict(given)
        assert given is make(None)(None, "info", given)
        assert before == given

    @pytest.mark.parametrize("name", [name for name in ODD_NAMES if name != "lying class"])
    def test_odd(self, make: Callable[..., IPFSProcessor], home: Path, name: str) -> None:
        """Pitfall 26: whatever stands in an event dict, under whatever key, the record is kept and passed on."""
        made = make()
        for key in ("value", "event", "level", "logger", "exception", "stack", "exc_info", "stack_info", 5, None):
            given: dict[Any, Any] = {"event": "e", "after": 1, key: odd_value(name)}
            assert given is made(None, "info", given)
        assert [1] * 10 == [each["after"] for each in durable(home)]

    @pytest.mark.parametrize(
        ("method", "level"),
        [("info", "info"), ("exception", "error"), ("warn", "warn"), ("msg", "msg"), ("own", "own")],
    )
    def test_levels(self, make: Callable[..., IPFSProcessor], home: Path, method: str, level: str) -> None:
        """The level is the event's own, else that of the method."""
        made = make()
        made(None, method, {"event": "e"})
        made(None, method, {"event": "e", "level": "Critical"})
        assert [level, "critical"] == [each["level"] for each in durable(home)]

    def test_least_level(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """What is below the processor's level is passed on, and not recorded."""
        made = make(level="WARNING")
        for method in ("debug", "info", "warning", "error", "exception", "critical"):
            assert {"event": method} == made(None, method, {"event": method})
        assert ["warning", "error", "exception", "critical"] == [each["event"] for each in durable(home)]

    def test_clashes(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 30: a key with a name of ours gets a trailing `_`."""
        make()(None, "info", {"event": "e", "pid": 1, "time": 2, "seq": 3})
        (record,) = durable(home)
        assert (1, 2, 3) == (record["pid_"], record["time_"], record["seq_"])

    def test_routing(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Without a subsystem an event goes by its field, its name, its logger, else to `logs`."""
        made = make(None)
        made(None, "info", {"event": "audit.event", "n": 1})
        made(None, "info", {"event": "x", "subsystem": "wal", "n": 2})
        made(None, "info", {"event": "x", "subsystem": "/etc", "n": 3})
        made(logging.getLogger("audit.y"), "info", {"event": "x", "n": 4})
        assert [[1, 4], [2], [3]] == [[each["n"] for each in durable(home, name)] for name in ("audit", "wal", "logs")]

    def test_redaction(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 35: what is to be hidden is hidden on the disk, and goes on in the chain as it was."""
        given = {"event": "e", "password": "hush"}
        assert "hush" == make(redact="password")(None, "info", given)["password"]
        assert "[redacted]" == durable(home)[0]["password"]


class TestExceptions:
    def failing(self, log: Any) -> None:
        """Log an exception that is being handled."""
        try:
            raise ValueError("größer")
        except ValueError:
            log.exception("e")

    @pytest.mark.parametrize(
        "before", [[], [structlog.processors.format_exc_info], [structlog.processors.ExceptionRenderer()]], ids=range(3)
    )
    def test_text(self, make: Callable[..., IPFSProcessor], home: Path, before: list[Any]) -> None:
        """Pitfall 31: the traceback is there wherever in the chain the processor stands."""
        self.failing(logger(*before, make()))
        assert durable(home)[0]["exception"].endswith("ValueError: größer")

    def test_structured(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 31: a traceback that a processor made a structure of is kept as a field; `exception` is text."""
        self.failing(logger(structlog.processors.dict_tracebacks, make()))
        (record,) = durable(home)
        assert "exception" not in record
        assert "größer" == record["exception_"][0]["exc_value"]

    @pytest.mark.parametrize("told", [True, False, None, (None, None, None), "x", 5])
    def test_none(self, make: Callable[..., IPFSProcessor], home: Path, told: Any) -> None:
        """Pitfall 31: `exc_info` without an exception records none."""
        make()(None, "error", {"event": "e", "exc_info": told})
        assert "exception" not in durable(home)[0]

    def test_given(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 31: an instance or a tuple is an exception too."""
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as error:
            for told in (error, sys.exc_info()):
                make()(None, "error", {"event": "e", "exc_info": told})
        assert 2 == len([each for each in durable(home) if each["exception"].endswith("by zero")])

    def test_stack(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 31: a stack that structlog rendered is text in the record."""
        logger(structlog.processors.StackInfoRenderer(), make()).info("e", stack_info=True)
        assert "test_stack" in durable(home)[0]["stack"]


class TestGuest:
    def test_never_raises(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pitfall 12: what even a substitute cannot be written for is counted, and the event goes on."""
        made = IPFSProcessor("logs", home=home, keeper="none")
        monkeypatch.setattr(Recorder, "take", None)
        given = {"event": BadRepr()}
        assert given is made(None, "info", given)
        assert 1 == made._recorder.failed
        assert {"a record was lost: TypeError": 1} == made._recorder.home.failures
        made.close()
        HomeProcess._all.pop(home)

    def test_shutdown(self, make: Callable[..., IPFSProcessor]) -> None:
        """`logging.shutdown` knows the processor, though it is attached to no logger."""
        made = make()
        made(None, "info", {"event": "e"})
        assert made._shutdown in [reference() for reference in logging._handlerList]  # type: ignore[attr-defined]
        logging.shutdown([reference for reference in logging._handlerList if reference() is made._shutdown])  # type: ignore[attr-defined]
        assert not made._recorder._occupant.open

    def test_after_close(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Pitfall 5: flush and close in every order; later events are durable."""
        made = make()
        for step in (made.flush, made.close, made.close, made.flush):
            step()
            made(None, "info", {"event": "e"})
        assert 4 == len(durable(home))

    def test_beside_a_handler(self, make: Callable[..., IPFSProcessor], home: Path) -> None:
        """Handlers and processors of one subsystem share one writer."""
        one, two = make(), make()
        one(None, "info", {"event": "1"})
        two(None, "info", {"event": "2"})
        assert [1, 2] == [each["seq"] for each in durable(home)]
        assert 1 == len(list((home / "logs" / "spool").iterdir()))
