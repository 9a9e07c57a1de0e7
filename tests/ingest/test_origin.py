"""Where a record comes from stands in it on request, the same by the fast path, the slow path and in structlog."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.handlers
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import structlog

from ipfs_log_handlers import IPFSHandler, IPFSProcessor
from tests.support import forked, programs
from tests.support.logging_home import durable, handler_of, logging_to

ALL = ["source", "thread", "process", "task", "host"]
KEYS = ["file", "line", "function", "thread", "process", "task", "host"]


def origins(home: Path) -> list[dict[str, Any]]:
    """Return the origin of each record of a home."""
    return [{key: record[key] for key in KEYS if key in record} for record in durable(home)]


def line_of(text: str) -> int:
    """Return the number of the first line of this file that has a text."""
    return 1 + Path(__file__).read_text().splitlines().index(text)


def log_three_ways(log: logging.Logger) -> None:
    """Log a plain record, one that only the slow path takes, and a plain one again."""
    for fields in ({"a": 1}, {"a": object()}, {"a": 2}):
        log.info("x", extra=fields)


LINE = line_of('        log.info("x", extra=fields)')


def test_nothing_is_included_by_default(home: Path) -> None:
    """Without `include` a record says nothing of its origin."""
    with logging_to(home) as log:
        log_three_ways(log)
    assert [{}] * 3 == origins(home)


@pytest.mark.parametrize(
    ("include", "keys"),
    [
        ("source", ["file", "line", "function"]),
        (["thread"], ["thread"]),
        (["process"], ["process"]),
        (["task"], ["task"]),
        (["host"], ["host"]),
        (["host", "source"], ["file", "line", "function", "host"]),
        (ALL, KEYS),
    ],
)
def test_each_part_can_be_included_by_itself(home: Path, include: Any, keys: list[str]) -> None:
    """`include` names what is wanted, in any order; the keys stand before the caller's fields, always in one order."""
    with logging_to(home, include=include) as log:
        log_three_ways(log)
    for record in durable(home):
        assert ["time", "level", "logger", "event", *keys, "a", "pid", "seq"] == list(record)


def test_fast_and_slow_path_say_the_same(home: Path) -> None:
    """File, line, function, thread, process and host are those of the call, whichever path its record takes."""
    with logging_to(home, include=ALL) as log:
        log_three_ways(log)
        assert "handle" in vars(handler_of(log))  # the fast path has its place
    expected = {"file": __file__, "line": LINE, "function": "log_three_ways", "thread": "MainThread"}
    expected |= {"process": "MainProcess", "task": None, "host": os.uname().nodename}
    assert [expected] * 3 == origins(home)


def test_threads_have_their_names(home: Path) -> None:
    """Each record names the thread that logged it."""
    with logging_to(home, include="thread") as log:
        log.info("warm")
        threads = [threading.Thread(target=log_three_ways, args=(log,), name=f"worker {n}") for n in range(2)]
        for thread in threads:
            thread.start()
            thread.join()
    names = [record["thread"] for record in durable(home)]
    assert ["MainThread", *["worker 0"] * 3, *["worker 1"] * 3] == names


def test_tasks_have_their_names(home: Path) -> None:
    """Inside a task of asyncio a record names it, on every Python; outside the name is null."""

    async def work(name: str) -> None:
        asyncio.current_task().set_name(name)  # type: ignore[union-attr]
        log_three_ways(log)

    with logging_to(home, include=["task"]) as log:
        log.info("before")
        asyncio.run(work("mira's"))
    assert [None, *["mira's"] * 3] == [record["task"] for record in durable(home)]


def test_a_record_from_a_queue_names_the_thread_that_logged_it(home: Path) -> None:
    """What the caller's thread was is in the record already; the listener's thread does not take its place."""
    waiting: queue.Queue[logging.LogRecord] = queue.Queue()
    with logging_to(home, include=["thread", "source"]) as log:
        front = logging.Logger("front")
        front.addHandler(logging.handlers.QueueHandler(waiting))
        listener = logging.handlers.QueueListener(waiting, handler_of(log))
        listener.start()
        log_three_ways(front)
        listener.stop()
    assert [("MainThread", LINE)] * 3 == [(record["thread"], record["line"]) for record in durable(home)]


def test_a_field_of_such_a_name_is_kept_beside(home: Path) -> None:
    """A caller's `file` or `host` gets a trailing `_` where the record has its own, and stays where it has not."""
    fields = {"file": "mine", "host": "mine", "task": 5}
    with logging_to(home / "one", include=["source", "host"]) as log:
        for _ in range(2):
            log.info("x", extra=fields)
    with logging_to(home / "two") as log:
        log.info("x", extra=fields)
    for record in durable(home / "one"):
        assert ("mine", "mine", 5) == (record["file_"], record["host_"], record["task"])
    [record] = durable(home / "two")
    assert fields == {name: record[name] for name in fields}


def test_records_without_those_attributes_are_kept(home: Path) -> None:
    """What a record does not know is null."""
    with logging_to(home, include=ALL) as log:
        record = logging.makeLogRecord({"msg": "x", "name": "t"})
        for name in ("pathname", "lineno", "funcName", "threadName", "processName", "taskName"):
            vars(record).pop(name, None)
        handler_of(log).handle(record)
    [origin] = origins(home)
    assert {"host": os.uname().nodename} == {key: value for key, value in origin.items() if value is not None}


def test_names_can_be_redacted(home: Path) -> None:
    """What is included is hidden like a field, if it is named."""
    with logging_to(home, include=["host", "source"], redact=["host"]) as log:
        log_three_ways(log)
    assert {("[redacted]", LINE)} == {(record["host"], record["line"]) for record in durable(home)}


# -- structlog


def logger(home: Path, **settings: Any) -> Any:
    """Make a structlog logger that records its events."""
    processor = IPFSProcessor("logs", home=home, keeper="none", **settings)
    return structlog.wrap_logger(
        None,
        processors=[processor, structlog.testing.LogCapture()],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )


def test_a_structlog_event_says_where_it_was_logged(home: Path) -> None:
    """The call into structlog is found behind structlog's own frames."""
    log = logger(home, include=ALL)
    log.info("x")
    expected = {"file": __file__, "function": "test_a_structlog_event_says_where_it_was_logged", "thread": "MainThread"}
    expected |= {"process": "MainProcess", "task": None, "host": os.uname().nodename}  # type: ignore[dict-item]
    [origin] = origins(home)
    assert line_of('    log.info("x")') == origin.pop("line")
    assert expected == origin


def test_an_event_that_structlog_runs_in_an_executor_says_where_it_was_logged(home: Path) -> None:
    """`ainfo` runs processors in another thread; file, line and function are still the caller's."""
    log = logger(home, include=["source"])

    async def work() -> None:
        await log.ainfo("x")

    asyncio.run(work())
    [origin] = origins(home)
    assert {"file": __file__, "line": line_of('        await log.ainfo("x")'), "function": "work"} == origin


def test_a_task_that_logs_with_structlog_has_its_name(home: Path) -> None:
    """Inside a task the event names it."""
    log = logger(home, include=["task"])

    async def work() -> None:
        asyncio.current_task().set_name("mira's")  # type: ignore[union-attr]
        log.info("x")

    asyncio.run(work())
    assert [{"task": "mira's"}] == origins(home)


# -- other processes

CHILD = """
import logging, logging.handlers, multiprocessing, os, sys
from ipfs_log_handlers import IPFSHandler

def work(records, include):
    log = logging.getLogger("worker")
    log.propagate = False
    log.setLevel(1)
    log.handlers = [logging.handlers.QueueHandler(records)]
    for _ in range(3):
        log.info("from a worker", extra={"real_pid": os.getpid()})

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    records = spawn.Queue()
    handler = IPFSHandler("logs", home=sys.argv[1], keeper="none", include=sys.argv[2:])
    log = logging.getLogger("own")
    log.setLevel(1)
    log.addHandler(handler)
    log.info("own")
    log.info("own")
    listener = logging.handlers.QueueListener(records, handler)
    listener.start()
    worker = spawn.Process(target=work, args=(records, None), name="worker 1")
    worker.start()
    worker.join()
    listener.stop()
    log.info("own", extra={"logged_pid": 5})
"""


def test_a_record_that_another_process_logged_names_it(home: Path, tmp_path: Path) -> None:
    """`pid` is the process that wrote the record down, `logged_pid` the one that logged it, where that is another."""
    script = tmp_path / "forwarding.py"
    script.write_text(CHILD)
    done = subprocess.run([sys.executable, script, home, "process"], env=programs.environment(), capture_output=True)
    assert (0, b"") == (done.returncode, done.stderr)
    records = durable(home)
    forwarded = [record for record in records if "real_pid" in record]
    assert 3 == len(forwarded)
    for record in forwarded:
        assert record["real_pid"] == record["logged_pid"] != record["pid"]
        assert "worker 1" == record["process"]
    own = [record for record in records if record not in forwarded]
    assert [None, None, 5] == [record.get("logged_pid") for record in own]
    assert {"MainProcess"} == {record["process"] for record in own}


def test_a_field_named_logged_pid_is_kept_beside(home: Path) -> None:
    """A caller's field of that name gets a trailing `_` in a record that another process logged."""
    with logging_to(home) as log:
        for process in (os.getpid(), 1, None):
            record = logging.makeLogRecord({"msg": "x", "process": process, "logged_pid": "mine"})
            handler_of(log).handle(record)
    named = [(record.get("logged_pid"), record.get("logged_pid_")) for record in durable(home)]
    assert [("mine", None), (1, "mine"), ("mine", None)] == named


def test_a_forked_child_is_its_own_origin(home: Path) -> None:
    """After a fork the child's records are its own, by the fast path, too."""
    with logging_to(home) as log:
        log.info("parent")
        log.info("parent")

        def work() -> None:
            for _ in range(3):
                log.info("child")
            (home.parent / "child").write_text(str(os.getpid()))

        assert forked.run_in_child(work)
    records = durable(home)
    child = int((home.parent / "child").read_text())
    assert {child} == {record["pid"] for record in records if record["event"] == "child"}
    assert not any("logged_pid" in record for record in records)


@pytest.mark.parametrize("made", [IPFSHandler, IPFSProcessor])
def test_the_setting_takes_names_from_a_configuration_file(home: Path, made: Any) -> None:
    """A list as JSON and YAML give it, once each, whatever the order."""
    handler = made("logs", home=home, keeper="none", include=json.loads('["host", "source", "host"]'))
    assert ("source", "host") == handler._recorder._settings.include
    handler.close()
