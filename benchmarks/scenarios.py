"""The programs of the reliability table: each configures one contender by dictConfig, logs, and ends in its own way.

    python -m benchmarks.scenarios CONTENDER SCENARIO PORT DIRECTORY

Each record carries a mark, `rec <run>-<number>~`. What a program has to tell goes to standard output as JSON, one
object a line, before it ends: how many records it logged, what was raised, how long it waited.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import itertools
import json
import logging
import logging.config
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import BaseContext
from typing import Any, Final

from benchmarks.contenders import configuration
from benchmarks.oddities import MARK, ODDITIES

__all__ = ["SCENARIOS"]

_logger = logging.getLogger("program")


def _tell(**what: Any) -> None:
    os.write(1, json.dumps({**what, "at": time.monotonic()}).encode() + b"\n")


def _log(run: str, first: int, count: int, pause: float = 0.0) -> None:
    for number in range(first, first + count):
        _logger.info("rec %s-%d~", run, number)
        if pause:
            time.sleep(pause)


class _Program:
    """One run of one contender."""

    def __init__(self, contender: str, scenario: str, port: int, directory: str) -> None:
        self.contender, self.scenario, self.port, self.directory = contender, scenario, port, directory

    def configure(self, level: str = "INFO") -> None:
        """What an application does first."""
        logging.config.dictConfig(configuration(self.contender, self.port, self.directory, level))

    def start(self, level: str = "INFO") -> None:
        """The same; one that cannot begin says so, and the program goes on without it, as one that is caught would."""
        try:
            self.configure(level)
        except Exception as error:  # noqa: BLE001 - whatever the contender raises
            _tell(cannot_begin=f"{type(error).__name__}: {error.__cause__ or error}"[:200])
            raise SystemExit(0) from None


# -- ends


def _exit(program: _Program) -> None:
    program.start()
    _log("a", 0, 100)
    _tell(logged=100)


def _outage(program: _Program) -> None:
    program.start()
    _log("a", 0, 300, 0.005)
    _tell(logged=300)


def _ending(end: Callable[[], object]) -> Callable[[_Program], None]:
    def run(program: _Program) -> None:
        program.start()
        _log("a", 0, 100)
        _tell(logged=100)
        end()

    return run


def _killed_by(number: signal.Signals) -> Callable[[_Program], None]:
    return _ending(lambda: os.kill(os.getpid(), number))


def _again(program: _Program) -> None:
    """The next start of a program on the same directory, which says one thing and stays for a moment."""
    program.start()
    _log("next", 0, 1)
    time.sleep(3.0)


# -- processes


def _fork(program: _Program) -> None:
    program.start()
    _log("parent", 0, 1)
    child = os.fork()
    if child == 0:
        _log("a", 0, 10)
        raise SystemExit(0)
    _tell(logged=10)
    os.waitpid(child, 0)


def _work(number: int) -> None:
    _log("a", number, 1)


def _work_ten(program: _Program | None) -> None:
    if program is not None:
        program.configure()
    _log("a", 0, 10)


def _process(method: str) -> Callable[[_Program], None]:
    def run(program: _Program) -> None:
        program.start()
        _log("parent", 0, 1)
        _tell(logged=10)
        context: Any = multiprocessing.get_context(method)
        child = context.Process(target=_work_ten, args=(None if method == "fork" else program,))
        child.start()
        child.join()

    return run


def _fork_context() -> BaseContext:
    return multiprocessing.get_context("fork")


def _pool(program: _Program) -> None:
    program.start()
    _log("parent", 0, 1)
    _tell(logged=10)
    with _fork_context().Pool(2) as pool:
        pool.map(_work, range(10))


def _executor(program: _Program) -> None:
    program.start()
    _log("parent", 0, 1)
    _tell(logged=10)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=_fork_context()) as executor:
        list(executor.map(_work, range(10)))


# -- inside one process


def _reconfigure(program: _Program) -> None:
    """Four threads log while dictConfig is called a second time; the first handler is used once more afterwards."""
    program.start()
    old = logging.getLogger().handlers[0]
    counts, stop = [0] * 4, threading.Event()

    def chatter(lane: int) -> None:
        while not stop.is_set():
            _log("a", lane * 100_000 + counts[lane], 1)
            counts[lane] += 1
            time.sleep(0.005)

    threads = [threading.Thread(target=chatter, args=(lane,), daemon=True) for lane in range(4)]
    for each in threads:
        each.start()
    time.sleep(0.5)
    _tell(ready=True)
    sys.stdin.readline()  # until the other end is silent
    begun = time.monotonic()
    program.configure()
    seconds = time.monotonic() - begun
    time.sleep(0.3)
    stop.set()
    for each in threads:
        each.join(1.0)
    old.handle(logging.makeLogRecord({"msg": "rec a-900000~", "levelno": 20, "levelname": "INFO", "name": "program"}))
    _tell(logged=sum(counts) + 1, seconds=seconds)


def _odd(program: _Program) -> None:
    program.start()
    kind = ODDITIES[program.scenario.removeprefix("odd: ")]
    raised = []

    def log(message: str, *args: object, level: int = logging.INFO, **options: Any) -> None:
        _logger.log(level, f"{MARK}{message}", *args, **options)

    _log("a", 0, 1)
    try:
        kind(log)
    except Exception as error:  # noqa: BLE001 - this is what is counted
        raised.append(type(error).__name__)
    _log("a", 2, 1)
    _tell(logged=3, raised=raised)


def _idle(program: _Program) -> None:
    program.start("DEBUG")
    _log("a", 0, 20)
    _tell(logged=20)
    time.sleep(20.0)
    _tell(idled=True)
    os._exit(0)


def _signals(program: _Program) -> None:
    """A signal handler logs every 4 ms, mostly while nothing is logged, now and then inside emit."""
    program.start()
    numbers = itertools.count()

    def logs(*_: object) -> None:
        _log("b", next(numbers), 1)

    _log("a", 0, 1)
    signal.signal(signal.SIGALRM, logs)
    signal.setitimer(signal.ITIMER_REAL, 0.004, 0.004)
    for number in range(1, 1000):
        _log("a", number, 1)
        if number % 20 == 0:
            time.sleep(0.03)
    signal.setitimer(signal.ITIMER_REAL, 0)
    _tell(logged=1000 + next(numbers))


class _Last:
    """Logs as it is collected."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        _log("b", next(_Last.numbers), 1)


def _destructors(program: _Program) -> None:
    program.start()
    _log("a", 0, 1)
    gc.set_threshold(20, 2, 2)
    for number in range(1, 400):
        _Last()
        _log("a", number, 1)
    gc.collect()
    gc.disable()
    _tell(logged=400 + next(_Last.numbers))


class _Talking:
    """Logs as it becomes text."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __str__(self) -> str:
        _log("b", self.number, 1)
        return "said"


def _talking(program: _Program) -> None:
    program.start()
    for number in range(50):
        _logger.info("rec a-%d~ %s", number, _Talking(number))
    _tell(logged=100)


class _Raising(logging.Handler):
    """Somebody else's handler."""

    def emit(self, record: logging.LogRecord) -> None:
        """Nothing."""

    def flush(self) -> None:
        """What ends `logging.shutdown` for all handlers that were made before this one."""
        raise RuntimeError("somebody else's handler")


def _bad_neighbour(program: _Program) -> None:
    program.start()
    logging.getLogger().addHandler(_Raising())
    _log("a", 0, 100)
    _tell(logged=100)


def _no_thread(program: _Program) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    setattr(threading.Thread, "start", start)  # noqa: B010 - a method is not assigned to, in a program that is typed
    program.start()
    raised: list[str] = []
    for number in range(100):
        try:
            _log("a", number, 1)
        except Exception as error:  # noqa: BLE001 - this is what is counted
            raised.append(type(error).__name__)
    _tell(logged=100, raised=raised[:1])


SCENARIOS: Final[Mapping[str, Callable[[_Program], None]]] = {
    "exit": _exit,
    "refused": _outage,
    "silent": _outage,
    "SIGKILL": _killed_by(signal.SIGKILL),
    "SIGTERM": _killed_by(signal.SIGTERM),
    "os._exit": _ending(lambda: os._exit(0)),
    "fork": _fork,
    "Process": _process("fork"),
    "Pool": _pool,
    "ProcessPoolExecutor": _executor,
    "spawn": _process("spawn"),
    "forkserver": _process("forkserver"),
    "reconfigure": _reconfigure,
    **{f"odd: {kind}": _odd for kind in ODDITIES},
    "idle": _idle,
    "signals": _signals,
    "__del__": _destructors,
    "__str__": _talking,
    "bad neighbour": _bad_neighbour,
    "no thread": _no_thread,
    "again": _again,
}
"""By name; `again` is what a contender may do to deliver what an earlier run left behind."""


def main() -> None:
    """Run one."""
    contender, scenario, port, directory = sys.argv[1:]
    with contextlib.suppress(AttributeError):
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    SCENARIOS[scenario](_Program(contender, scenario, int(port), directory))


if __name__ == "__main__":
    main()
