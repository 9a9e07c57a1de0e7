"""The accelerator writes the lines of Python, byte for byte, and leaves to Python what it does not know."""

from __future__ import annotations

import datetime as dt
import errno
import inspect
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler, Subsystem
from ipfs_log_handlers.accelerator.state import ACCELERATOR, PURE
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.ingest.recorder import Recorder
from ipfs_log_handlers.ingest.tracing import OPENTELEMETRY
from ipfs_log_handlers.spool import writer_segments
from tests.support import forked, programs
from tests.support.logging_home import durable, handler_of, logging_to
from tests.support.record_pairs import Pair, pair, random_record
from tests.support.syscall_faults import environment


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """Two handlers, with and without the accelerator."""
    with pair(tmp_path, monkeypatch) as made:
        yield made


def record(
    text: str = "x", arguments: tuple[Any, ...] = (), changed: dict[Any, Any] | None = None, **fields: Any
) -> logging.LogRecord:
    """Return a record as a logger makes it, with fields and changed attributes."""
    made = logging.LogRecord("t", logging.INFO, "program.py", 7, text, arguments, None)
    made.__dict__.update(fields)
    made.__dict__.update(changed or {})
    return made


@pytest.fixture
def _without_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, OPENTELEMETRY, raising=False)


def no_look_at_the_home(handler: logging.Handler) -> None:
    """Leave out the look at the directory of the home, which Python takes once a second."""
    handler._recorder._writers["logs"].segments.check_home_at = float("inf")  # type: ignore[attr-defined]


def taken_by_python(handler: logging.Handler, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets the records which take the slow path."""
    slow: list[object] = []
    monkeypatch.setattr(Recorder, "take_record", lambda _, logged, __: slow.append(logged))
    return slow


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize("count", [15_000, pytest.param(300_000, marks=pytest.mark.soak)])
def test_random_records_have_the_bytes_of_python(both: Pair, hostile: bool, count: int) -> None:
    """Fields of all kinds, messages with and without arguments, levels, times: the same lines."""
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    pool = [random_record(rng, hostile=hostile) for _ in range(count)]
    for each in pool:
        both.handle(each)
    accelerated, pure = both.lines()
    different = [(mine, other) for mine, other in zip(accelerated, pure, strict=True) if mine != other]
    assert not different, f"seed {seed}: {len(different)} lines, such as {different[0]}"
    assert len(accelerated) == count + 1


@pytest.mark.usefixtures("_without_tracing")
def test_plain_records_do_not_enter_python(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first record of a handler, and of a level, goes through Python; then only records that are not plain."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        handler.handle(record())
        handler.handle(record())
        slow = taken_by_python(handler, monkeypatch)
        plain = record("%s %d", ("a", 1), value={"a": [1, 2.5, None, True, "é"]}, event="said")
        no_look_at_the_home(handler)
        in_python: list[object] = []
        sys.setprofile(lambda frame, event, _: in_python.append(frame.f_code.co_name) if event == "call" else None)
        handler.handle(plain)
        sys.setprofile(None)
        handler.handle(record(value=float("nan")))
    assert in_python == []
    assert [str(each.value) for each in slow] == ["nan"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "unusual",
    [
        {"exc_info": (ValueError, ValueError("x"), None)}, {"exc_text": "Traceback"}, {"stack_info": "Stack"},
        {"msg": '{"a": 1}'}, {"msg": 5}, {"msg": "%d", "args": ("x",)}, {"args": {"a": 1}},
        {"msg": "%(a)s", "args": {"a": 1}}, {"levelname": "Ärger", "levelno": 33},
        {"process": 1}, {"process": None}, {"process": -2}, {"process": -1},
        {"process": 0}, {"process": 1 << 70}, {"thread": None}, {"created": 5}, {"created": -1.5}, {"created": 1e300},
        {"created": float("nan")}, {"levelname": "\x1b[1mINFO\x1b[0m"}, {"levelno": 1 << 80},
        {"name": "\x1b[1mt"}, {"name": None}, {"message": "x", "args": None}, {"message": "x"}, {"asctime": "now"},
        {"event": "x"}, {"event": 5}, {"event": {"a": 1}}, {"event": None}, {"event": "said", "message": "x"},
        {"time": 1}, {"level": "info"}, {"pid": 7}, {"deep": [[[[[[[[1]]]]]]]]}, {5: 1}, {"": ""},
        {"surrogate\udc80": 1}, {"key\x1b": 1}, {"value": "\x1b"}, {"value": {"time": 1, "event": 2}},
        {"long": "x" * 10_000}, {"\x00" * 600: "\x00" * 6000},
    ],
    ids=repr,
)  # fmt: skip
def test_unusual_records_have_the_bytes_of_python(both: Pair, unusual: dict[Any, Any]) -> None:
    """Each attribute that a program may change, twice: what is cached must not change the second record."""
    for _ in range(2):
        both.handle(record(changed=unusual))
        both.handle(record(value=1))
    accelerated, pure = both.lines()
    assert accelerated == pure
    assert len(accelerated) == 5


def test_containers_inside_one_another(both: Pair) -> None:
    """Each depth up to 100 levels."""
    value: Any = 1
    for depth in range(100):
        value = [value] if depth % 2 else {"a": value}
        both.handle(record(value=value))
    accelerated, pure = both.lines()
    assert accelerated == pure


def test_records_of_an_open_telemetry_program(both: Pair) -> None:
    """Ids of a span are in the line: of the active one, and of one that the instrumentation has noted."""
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("t")
    for _ in range(2):
        both.handle(record(value=1))
        both.handle(record(otelTraceID="0" * 31 + "1", otelSpanID="2" * 16, otelTraceSampled=True, value=1))
        both.handle(record(otelTraceID="0", otelSpanID="0", value=1))
        with tracer.start_as_current_span("work"):
            both.handle(record(value=1))
            both.handle(record(trace_id="own"))
    accelerated, pure = both.lines()
    assert accelerated == pure
    assert sum(b'"trace_id"' in line for line in accelerated) == 6


def test_a_missing_or_moved_attribute(both: Pair) -> None:
    """A program may delete an attribute of a record, or set it again at another place."""
    for name in ("module", "thread", "process", "exc_text", "args"):
        for again in (False, True):
            changed = record(value=1)
            before = changed.__dict__.pop(name)
            if again:
                changed.__dict__[name] = before
            both.handle(changed)
    accelerated, pure = both.lines()
    assert accelerated == pure


def test_required_fields(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that lacks a field of its event is counted as incomplete, with and without the accelerator."""
    subsystem = Subsystem(
        name="orders", type="orders", events={"placed": ("order", "message"), "named": ("module",), "own": ("event",)}
    )
    with pair(tmp_path, monkeypatch, subsystem=subsystem) as both:
        for _ in range(3):
            for attributes in ({}, {"order": 1}, {"order": 1, "event": "placed"}, {"event": "placed"}):
                both.handle(record("placed", **attributes))
                both.handle(record("%s", ("placed",), **attributes))
                both.handle(record("other", **attributes))
                both.handle(record("named", **attributes))
                both.handle(record("said", event="own"))
        accelerated, pure = both.lines()
        assert accelerated == pure
        incomplete = [handler._recorder._writers["orders"].incomplete for handler in (both.accelerated, both.pure)]
        assert incomplete[0] == incomplete[1] > 0


@pytest.mark.parametrize("values", [{}, {"at": dt.date(2020, 1, 2)}, {"value": float("nan")}], ids=repr)
def test_a_text_that_logs_is_made_as_often_as_in_python(both: Pair, values: dict[str, Any]) -> None:
    """The argument's `__str__` logs and changes its record. It runs as often, also if a field is not plain."""

    class Talking:
        calls = 0

        def __init__(self, handler: logging.Handler) -> None:
            self.handler = handler
            self.outer = record("%s", (self,), gone="x" * 50, created=5.0, **values)

        def __str__(self) -> str:
            self.calls += 1
            self.handler.handle(record("inner", created=5.0))
            self.outer.__dict__.pop("gone", None)
            self.outer.__dict__["new"] = [1] * 50
            return "talking"

    for _ in range(3):
        made: list[int] = []
        for handler in (both.accelerated, both.pure):
            handler.handle(record(created=5.0))
            segments = handler._recorder._writers["logs"].segments
            segments.check_at = segments.check_home_at = 0.0
            text = Talking(handler)
            handler.handle(text.outer)
            made.append(text.calls)
        assert made[0] == made[1]
    accelerated, pure = both.lines()
    assert accelerated[1:] == pure[1:]


def test_an_interrupt_in_a_text_reaches_the_program(home: Path) -> None:
    """KeyboardInterrupt in an argument's `__str__` is raised, and the next record is written."""

    class Interrupting:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with logging_to(home) as logger:
        handler = handler_of(logger)
        handler.handle(record())
        with pytest.raises(KeyboardInterrupt):
            handler.handle(record("%s", (Interrupting(),)))
        handler.handle(record("after"))
    assert [each["event"] for each in durable(home)] == ["x", "after"]


@pytest.mark.parametrize("gil", ["auto", "release"])
def test_threads_across_segments(home: Path, monkeypatch: pytest.MonkeyPatch, gil: str) -> None:
    """Four threads, with plain and other records, fill many segments: `seq` rises by one from line to line."""
    monkeypatch.setattr(writer_segments, "SEGMENT_BYTES", 28 << 10)
    with logging_to(home, gil=gil) as logger:
        handler = handler_of(logger)
        handler.handle(record())

        def run(thread: int) -> None:
            for number in range(3000):
                handler.handle(record(thread=thread, number=number if number % 10 else 1 << 70))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    spool = HomeDir(home).subsystem_dir("logs").spool
    assert len(list(spool.glob("*.seg"))) > 20
    assert [each["seq"] for each in durable(home)] == list(range(1, 12_002))


def test_a_child_is_a_writer_of_its_own(home: Path) -> None:
    """After a fork, parent and child go on in segments of their own, each with its own numbers."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        for _ in range(3):
            handler.handle(record("parent"))

        def work() -> None:
            for _ in range(2):
                handler.handle(record("child", process=os.getpid()))

        assert forked.run_in_child(work)
        handler.handle(record("parent"))
    logged = durable(home)
    assert [each["seq"] for each in logged if each["event"] == "parent"] == [1, 2, 3, 4]
    assert [each["seq"] for each in logged if each["event"] == "child"] == [1, 2]


def test_a_descriptor_that_the_program_closed(home: Path) -> None:
    """Nothing is written into the file that gets the number; the next record begins a segment."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        for _ in range(3):
            handler.handle(record())
        segments = handler._recorder._writers["logs"].segments
        assert segments.current is not None
        number = segments.current.descriptor
        os.close(number)
        other = os.open(home.parent / "other", os.O_RDWR | os.O_CREAT)
        os.dup2(other, number)
        segments.check_at = 0.0
        handler.handle(record("after"))
        assert os.fstat(number).st_size == 0
        os.close(other)
        os.close(number)
    assert [each["event"] for each in durable(home)] == ["x", "x", "x", "after"]


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EINTR", "short"])
def test_a_write_that_fails(tmp_path: Path, fault: str) -> None:
    """The record is tried again in the next segment, under the same number; nothing is raised."""
    body = """
        import ctypes
        configure(keeper="none")
        for number in range(5): log.info("x", extra={"n": number})
        os.environ.update(FAULTS_DO=FAULT, FAULTS_CALLS="write", FAULTS_AT="1")
        ctypes.CDLL(None).faults_read()
        for number in range(5, 10): log.info("x", extra={"n": number})
    """
    home = tmp_path / "home"
    programs.run(home, body, env=environment(tmp_path), FAULT=fault).clean()
    segments = len(list(home.glob("*/spool/*.seg")))
    assert segments == (1 if fault == "EINTR" else 2), "only an interrupted write goes on in the same segment"
    logged = programs.adopted(home)
    assert [each["n"] for each in logged] == list(range(10))
    assert [each["seq"] for each in logged] == list(range(1, 11))


_STALLS = """
    import ctypes
    configure(keeper="none", gil=GIL)
    second = logging.getLogger("second")
    second.propagate = False
    second.setLevel("INFO")
    from ipfs_log_handlers import IPFSHandler
    second.addHandler(IPFSHandler("wal", home=HOME, keeper="none", gil=GIL))
    loggers = log, second
    for number in range(5):
        for each in loggers: each.info("x", extra={"n": number})
    go, turns, ran = os.environ["FAULTS_GO"], [0], []
    handlers = logging.getLogger().handlers[0], second.handlers[0]
    both = [[*each._recorder._writers.values()][0].segments for each in handlers]
    def other():
        while not stop.is_set():
            turns[0] += 1
            if waits.is_set() and not os.path.exists(go): open(go, "w").close()
            time.sleep(0.001)
    stop, waits = threading.Event(), threading.Event()
    thread = threading.Thread(target=other); thread.start()
    for stall in range(4):
        longest = "400" if stall < 1 else "20000"
        for segments in both: segments.check_at, segments.check_home_at = 0.0, 1e18
        os.environ.update(FAULTS_DO="stall", FAULTS_CALLS=CALL, FAULTS_AT="1", FAULTS_STALL_MS=longest)
        ctypes.CDLL(None).faults_read()
        before, began = turns[0], time.monotonic()
        waits.set()
        loggers[stall % 2].info("x", extra={"n": 5 + stall})
        waits.clear()
        ran.append(turns[0] - before if time.monotonic() - began < 20 else 0)
        ended = turns[0]
        while turns[0] < ended + 2: time.sleep(0.001)  # the other thread may be making the file
        if os.path.exists(go): os.unlink(go)
    os.environ.update(FAULTS_AT="0"); ctypes.CDLL(None).faults_read()
    stop.set(); thread.join()
    print(json.dumps(ran))
"""


@pytest.mark.parametrize("call", ["write", "fstat"])
@pytest.mark.parametrize("gil", ["auto", "release"])
def test_a_disk_that_stalls_again_and_again_stalls_other_threads_once(tmp_path: Path, gil: str, call: str) -> None:
    """Only the first stall may hold the GIL, also with two handlers. The later ones end when another thread runs.

    On a network file system the look at the descriptor stalls, too.
    """
    home = tmp_path / "home"
    env = {**environment(tmp_path), "FAULTS_GO": str(tmp_path.parent / f"go-{gil}-{call}-{os.getpid()}")}
    ended = programs.run(home, _STALLS, env=env, GIL=gil, CALL=call, deadline_s=250).clean()
    ran = json.loads(ended.out)
    assert all(ran[1:]), ran
    assert gil == "auto" or ran[0]
    assert [each["n"] for each in durable(home)] == [*range(5), 5, 7]
    assert [each["n"] for each in durable(home, "wal")] == [*range(5), 6, 8]


@pytest.mark.soak
def test_the_gil_is_given_up_longer_if_the_disk_stalls_again(tmp_path: Path) -> None:
    """For a second after the first stall, for two after the next. Soak, because a busy machine may sleep longer."""
    body = """
        import ctypes
        configure(keeper="none")
        for number in range(5): log.info("x", extra={"n": number})
        [writer] = logging.getLogger().handlers[0]._recorder._writers.values()
        turns = [0]
        def other():
            while True:
                turns[0] += 1
                time.sleep(0.001)
        threading.Thread(target=other, daemon=True).start()
        def stall():
            writer.segments.check_home_at = 1e18  # that look is taken in Python
            os.environ.update(FAULTS_DO="stall", FAULTS_CALLS="write", FAULTS_AT="1", FAULTS_STALL_MS="200")
            ctypes.CDLL(None).faults_read()
            before = turns[0]
            log.info("x", extra={"n": 5})
            return turns[0] - before > 5
        given_up = []
        for pause in (0, 1.3, 1.3, 1.3):
            time.sleep(pause)
            given_up.append(stall())
        print(json.dumps(given_up), flush=True)
    """
    env = {**environment(tmp_path), "FAULTS_GO": str(tmp_path / "never")}
    ended = programs.run(tmp_path / "home", body, env=env).clean()
    assert json.loads(ended.out) == [False, False, True, True]


def test_records_that_were_logged_during_a_failure(home: Path) -> None:
    """What a signal handler logs while an error of the disk is handled is written before the call returns."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        for _ in range(3):
            handler.handle(record())
        writer = handler._recorder._writers["logs"]
        segment = writer.segments.current
        assert segment is not None
        whole_line = line.record(b'{"event":"kept","pid":%d,"seq":4}' % os.getpid())
        with writer.lock:
            writer.segments.seq = 4
            os.write(segment.descriptor, whole_line)
            handler.handle(record("queued"))
            assert writer.handle_failed_line(writer.segments, segment, whole_line, 4, 0, errno.EIO)
        assert not writer.reentrant
    assert [(each["event"], each["seq"]) for each in durable(home)][3:] == [("kept", 4), ("queued", 5)]


@pytest.mark.parametrize("filters", [(), deque()], ids=repr)
def test_filters_of_another_type(both: Pair, filters: Any) -> None:
    """A program may give a handler a tuple of filters: the record is taken all the same."""
    for handler in (both.accelerated, both.pure):
        handler.filters = filters
    for number in range(3):
        both.handle(record(number=number))
    accelerated, pure = both.lines()
    assert accelerated == pure
    assert len(accelerated) == 4


def test_the_argument_may_be_named(both: Pair) -> None:
    """`handle(record=…)` is a call of `Handler.handle`; other calls are refused as Python does."""
    for handler in (both.accelerated, both.pure):
        made = record(created=5.0)
        assert handler.handle(record=made) is made
        handle: Any = handler.handle
        for arguments, named in (((), {}), ((1, 2), {}), ((), {"other": 1}), ((1,), {"record": 1})):
            with pytest.raises(TypeError):
                handle(*arguments, **named)
        assert list(inspect.signature(handler.handle).parameters) == ["record"]
    accelerated, pure = both.lines()
    assert len(accelerated) == len(pure) == 2


@pytest.mark.usefixtures("_without_tracing")
def test_names_of_levels_that_are_made_anew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A formatter of another handler colours the name in each record; that fills no memory and stops nothing."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        for number in range(40):
            handler.handle(record(changed={"levelname": f"\x1b[{32 + number % 2}mINFO\x1b[0m"}))
        for _ in range(2):
            handler.handle(record(changed={"levelname": "WARNING", "levelno": 30}))
        slow = taken_by_python(handler, monkeypatch)
        no_look_at_the_home(handler)
        in_python: list[object] = []
        sys.setprofile(lambda frame, event, _: in_python.append(frame.f_code.co_name) if event == "call" else None)
        handler.handle(warning := record(changed={"levelname": "WARNING", "levelno": 30}))
        sys.setprofile(None)
    assert warning not in slow
    assert "take" not in in_python
    assert {each["level"] for each in durable(home)} == {"info", "warning"}


def test_a_factory_of_records_that_was_set_before(tmp_path: Path) -> None:
    """A program sets a factory that adds an attribute, and then imports the package."""
    program = """
import logging, sys
before = logging.getLogRecordFactory()
def make(*arguments, **named):
    made = before(*arguments, **named)
    made.request = "r1"
    return made
logging.setLogRecordFactory(make)
from ipfs_log_handlers import IPFSHandler
handler = IPFSHandler("logs", home=sys.argv[1], keeper="none")
log = logging.getLogger("t")
log.addHandler(handler)
for number in range(3): log.warning("x %d", number)
print(type(handler.handle).__name__)
handler.close()
"""
    home = tmp_path / "home"
    ended = subprocess.run(
        [sys.executable, "-c", program, str(home)],
        capture_output=True, text=True, check=True, env=programs.environment(), cwd=programs.ROOT,
    )  # fmt: skip
    assert ended.stdout.strip() == "builtin_function_or_method"
    assert [each["request"] for each in durable(home)] == ["r1"] * 3


@pytest.mark.parametrize("pure", ["", "1"])
def test_the_variable_turns_it_off(tmp_path: Path, pure: str) -> None:
    """`IPFS_LOGS_PURE=1` does, and the lines are there."""
    body = """
        configure(keeper="none")
        for number in range(3): log.info("x", extra={"n": number})
        handle = logging.getLogger().handlers[0].__dict__["handle"]
        print(type(handle).__name__)
    """
    home = tmp_path / "home"
    ended = programs.run(home, body, env={PURE: pure}).clean()
    assert ended.out.strip() == ("function" if pure else "builtin_function_or_method")
    assert [each["n"] for each in durable(home)] == [0, 1, 2]


def test_a_kill_loses_nothing_that_returned(tmp_path: Path) -> None:
    """SIGKILL at any moment: each record whose call returned is there."""
    body = """
        configure(keeper="none")
        print("ready", flush=True)
        for number in range(10**9):
            log.info("x", extra={"n": number})
            os.write(1, b"%d\\n" % number)
    """
    for turn in range(5):
        home = tmp_path / f"home{turn}"
        with programs.killed_after_error(programs.start(home, body)) as program:
            assert program.stdout is not None
            for _ in range(50 + turn * 37):
                program.stdout.readline()
            program.send_signal(signal.SIGKILL)
            rest = program.stdout.read().split("\n")
        last = max(int(each) for each in rest[:-1] or ["48"])
        found = [each["n"] for each in durable(home)]
        assert found == list(range(len(found)))
        assert len(found) > last


def test_no_reference_is_lost_or_kept(home: Path) -> None:
    """Ten thousand records, taken and left to Python, change no count of references."""
    with logging_to(home) as logger:
        handler = handler_of(logger)
        value, text, argument = {"a": ["b" * 20]}, "t" * 20 + " %s", "argument" * 3
        plain, other = record(text, (argument,), value=value), record(text, (argument,), value=value, more=1 << 80)
        watched = (value, text, argument, plain, other, plain.__dict__, handler)
        for _ in range(10):
            handler.handle(plain)
            handler.handle(other)
        before = [sys.getrefcount(each) for each in watched]
        for _ in range(5000):
            handler.handle(plain)
            handler.handle(other)
        assert [sys.getrefcount(each) for each in watched] == before


def test_a_handler_that_is_dropped_is_freed(home: Path) -> None:
    """The handler, its writer and the accelerator's object refer to one another, and are collected together."""
    import gc
    import weakref

    with logging_to(home) as logger:
        handler = handler_of(logger)
        handler.handle(record())
        handler.handle(record())
        assert type(handler.__dict__["handle"].__self__) is ACCELERATOR.Taker
    other = IPFSHandler("wal", home=home, keeper="none")
    for _ in range(3):
        other.handle(record())
    other.close()
    gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None


def test_wrong_arguments_are_refused() -> None:
    """The constructor checks what it is given, and an instance is set up once."""
    with pytest.raises(TypeError):
        ACCELERATOR.Taker()
    with pytest.raises(TypeError):
        ACCELERATOR.Taker(**dict.fromkeys(("writer", "elsewhere"), None))
