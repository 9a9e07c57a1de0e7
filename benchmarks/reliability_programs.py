"""Run one program of the reliability table: it configures one handler by dictConfig, logs, and ends in its own way.

    python -m benchmarks.reliability_programs HANDLER SCENARIO PORT DIRECTORY

Each record has a mark, `rec <run>-<number>~`. Before it ends, a program reports on its standard output, as JSON Lines,
how many records it logged, which exceptions were raised, and how long it waited.
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

from benchmarks.odd_records import MARK, ODD_RECORDS
from benchmarks.reliability_handlers import configuration

__all__ = ["SCENARIOS"]

_logger = logging.getLogger("program")


def _report(**values: Any) -> None:
    os.write(1, json.dumps({**values, "at": time.monotonic()}).encode() + b"\n")


def _log(run: str, first: int, count: int, pause: float = 0.0) -> None:
    for number in range(first, first + count):
        _logger.info("rec %s-%d~", run, number)
        if pause:
            time.sleep(pause)


class _Program:
    """One run of one handler."""

    def __init__(self, handler: str, scenario: str, port: int, directory: str) -> None:
        self.handler, self.scenario, self.port, self.directory = handler, scenario, port, directory

    def configure(self, level: str = "INFO") -> None:
        """Configure logging, as an application does first."""
        logging.config.dictConfig(configuration(self.handler, self.port, self.directory, level))

    def start(self, level: str = "INFO") -> None:
        """Configure logging; if that raises an exception, report it and end the program."""
        try:
            self.configure(level)
        except Exception as error:  # noqa: BLE001 - whatever the handler raises
            _report(cannot_begin=f"{type(error).__name__}: {error.__cause__ or error}"[:200])
            raise SystemExit(0) from None


# -- ends


def _exit(program: _Program) -> None:
    program.start()
    _log("a", 0, 100)
    _report(logged=100)


def _outage(program: _Program) -> None:
    program.start()
    _log("a", 0, 300, 0.005)
    _report(logged=300)


def _ending(end: Callable[[], object]) -> Callable[[_Program], None]:
    def run(program: _Program) -> None:
        program.start()
        _log("a", 0, 100)
        _report(logged=100)
        end()

    return run


def _killed_by(number: signal.Signals) -> Callable[[_Program], None]:
    return _ending(lambda: os.kill(os.getpid(), number))


def _again(program: _Program) -> None:
    """Start once more in the same directory, log one record, and stay for three seconds."""
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
    _report(logged=10)
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
        _report(logged=10)
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
    _report(logged=10)
    with _fork_context().Pool(2) as pool:
        pool.map(_work, range(10))


def _executor(program: _Program) -> None:
    program.start()
    _log("parent", 0, 1)
    _report(logged=10)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=_fork_context()) as executor:
        list(executor.map(_work, range(10)))


# -- inside one process


def _reconfigure(program: _Program) -> None:
    """Call dictConfig again while four threads log; then use the first handler once more."""
    program.start()
    old = logging.getLogger().handlers[0]
    counts, stop = [0] * 4, threading.Event()

    def chatter(lane: int) -> None:
        while not stop.is_set():
            _log("a", lane * 100_000 + counts[lane], 1)
            counts[lane] += 1
            time.sleep(0.005)

    threads = [threading.Thread(target=chatter, args=(lane,), daemon=True) for lane in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    _report(ready=True)
    sys.stdin.readline()  # until the server no longer answers
    begun = time.monotonic()
    program.configure()
    seconds = time.monotonic() - begun
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join(1.0)
    old.handle(logging.makeLogRecord({"msg": "rec a-900000~", "levelno": 20, "levelname": "INFO", "name": "program"}))
    _report(logged=sum(counts) + 1, seconds=seconds)


def _odd(program: _Program) -> None:
    program.start()
    kind = ODD_RECORDS[program.scenario.removeprefix("odd: ")]
    raised = []

    def log(message: str, *args: object, level: int = logging.INFO, **options: Any) -> None:
        _logger.log(level, f"{MARK}{message}", *args, **options)

    _log("a", 0, 1)
    try:
        kind(log)
    except Exception as error:  # noqa: BLE001 - this is counted
        raised.append(type(error).__name__)
    _log("a", 2, 1)
    _report(logged=3, raised=raised)


def _idle(program: _Program) -> None:
    program.start("DEBUG")
    _log("a", 0, 20)
    _report(logged=20)
    time.sleep(20.0)
    _report(idled=True)
    os._exit(0)


def _signals(program: _Program) -> None:
    """Log from a signal handler every 4 ms, which sometimes interrupts emit."""
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
    _report(logged=1000 + next(numbers))


class _LogsInDel:
    """Logs when it is collected."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        _log("b", next(_LogsInDel.numbers), 1)


def _destructors(program: _Program) -> None:
    program.start()
    _log("a", 0, 1)
    gc.set_threshold(20, 2, 2)
    for number in range(1, 400):
        _LogsInDel()
        _log("a", number, 1)
    gc.collect()
    gc.disable()
    _report(logged=400 + next(_LogsInDel.numbers))


class _LogsInStr:
    """Logs when it is converted to text."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __str__(self) -> str:
        _log("b", self.number, 1)
        return "text"


def _log_in_str(program: _Program) -> None:
    program.start()
    for number in range(50):
        _logger.info("rec a-%d~ %s", number, _LogsInStr(number))
    _report(logged=100)


class _Raising(logging.Handler):
    """Another handler of the program."""

    def emit(self, record: logging.LogRecord) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Raise an exception, after which `logging.shutdown` flushes no handler that was made before this one."""
        raise RuntimeError("another handler")


def _bad_neighbour(program: _Program) -> None:
    program.start()
    logging.getLogger().addHandler(_Raising())
    _log("a", 0, 100)
    _report(logged=100)


def _no_thread(program: _Program) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    setattr(threading.Thread, "start", start)  # noqa: B010 - mypy forbids to assign to a method
    program.start()
    raised: list[str] = []
    for number in range(100):
        try:
            _log("a", number, 1)
        except Exception as error:  # noqa: BLE001 - this is counted
            raised.append(type(error).__name__)
    _report(logged=100, raised=raised[:1])


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
    **{f"odd: {kind}": _odd for kind in ODD_RECORDS},
    "idle": _idle,
    "signals": _signals,
    "__del__": _destructors,
    "__str__": _log_in_str,
    "bad neighbour": _bad_neighbour,
    "no thread": _no_thread,
    "again": _again,
}
"""The programs, by name; `again` gives a handler the chance to send records that an earlier run left."""


def main() -> None:
    """Run the program that the command line names."""
    handler, scenario, port, directory = sys.argv[1:]
    with contextlib.suppress(AttributeError):
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    SCENARIOS[scenario](_Program(handler, scenario, int(port), directory))


if __name__ == "__main__":
    main()
