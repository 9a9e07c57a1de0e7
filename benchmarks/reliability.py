"""Count the records that arrive in situations in which handlers lose records: ours and six others, with defaults.

    python -m benchmarks.reliability [--only HANDLER]… [--scenario NAME]…

Each cell of the table is a program of its own (`reliability_programs.py`), which sends to a server that counts
(`reliability_servers.py`) and has a time limit. If records are missing afterwards and the program has left files, it is
started again in the same directory, and the server counts again. Our handler ships to a real Kubo daemon. Its records
are read from Kubo, from the head block on, and every block is verified by a reader that shares no code with the
package.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from benchmarks.odd_records import ODD_RECORDS
from benchmarks.reliability_handlers import HANDLERS, PROTOCOLS
from benchmarks.reliability_servers import MARK, CountingServer, Mode

__all__ = ["ROWS", "collect", "report"]

_TIME_LIMIT_S: Final = 75.0
"""Time after which a program is killed and counts as hanging."""
_SETTLE_S: Final = 0.5
"""Time for the last bytes to arrive after a program has ended."""
_PARALLEL_PROGRAMS: Final = 3
"""Programs that run at the same time; most of them only wait."""
_ROOT: Final = Path(__file__).resolve().parent.parent
_MODES: Final[Mapping[str, Mode]] = {"refused": "refusing", "silent": "silent"}

Seen = Counter[tuple[str, int]]


@dataclass(slots=True)
class _Outcome:
    """The result of one program."""

    logged: int = 0
    arrived: int = 0
    twice: int = 0
    raised: list[str] = field(default_factory=list)
    cannot_begin: str = ""
    hangs: bool = False
    crashed: bool = False
    exit_s: float = 0.0
    waited_s: float = 0.0
    requests: int = 0

    @property
    def lost(self) -> int:
        return self.logged - self.arrived


class _Kubo:
    """The daemon that our handler ships to, and the records that it has."""

    def __init__(self) -> None:
        from tests.kubo.build import kubo_binary
        from tests.kubo.daemon import Daemon

        self.daemon = Daemon(kubo_binary(), offline=True)
        self.daemon.start()

    def seen(self, directory: str) -> Seen:
        """Return the records that a reader finds who has only the daemon and the CID of a head block."""
        from tests.support import oracle

        home = Path(directory) / "home"
        logs = oracle.read_home(home).get("logs", []) if (home / "writer.key").exists() else []
        pins = self.daemon.pins()
        seen: Seen = Counter()
        for log in logs:
            heads = [batch.head_cid for batch in log.batches if batch.head_cid in pins]
            for batch in oracle.read_daemon(self._block, heads[-1]).batches if heads else []:
                marks = MARK.findall(b"\n".join(batch.lines or ()))
                seen.update((run.decode(), int(number)) for run, number in marks)
        return seen

    def _block(self, cid: str) -> bytes:
        return self.daemon.rpc(f"block/get?arg={cid}&offline=true")


def _run(handler: str, scenario: str, kubo: _Kubo) -> _Outcome:
    outcome = _Outcome()
    server = CountingServer(PROTOCOLS[handler], kubo.daemon.port)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        try:
            server.set_mode(_MODES.get(scenario, "up"))
            _program(handler, scenario, server, directory, outcome)
            time.sleep(_SETTLE_S)
            outcome.requests = server.requests
            server.set_mode("up")
            seen = _seen(handler, server, directory, kubo)
            if outcome.logged > len(seen) and os.listdir(directory):
                _program(handler, "again", server, directory, _Outcome())
                time.sleep(_SETTLE_S)
                seen = _seen(handler, server, directory, kubo)
        finally:
            server.close()
    outcome.arrived = len(seen)
    outcome.twice = sum(count > 1 for count in seen.values())
    return outcome


def _seen(handler: str, server: CountingServer, directory: str, kubo: _Kubo) -> Seen:
    every = kubo.seen(directory) if PROTOCOLS[handler] == "kubo" else server.seen
    return Counter({mark: count for mark, count in list(every.items()) if mark[0] in {"a", "b"}})


def _program(handler: str, scenario: str, server: CountingServer, directory: str, outcome: _Outcome) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.reliability_programs", handler, scenario]
    program = subprocess.Popen(
        [*command, str(server.port), directory],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert program.stdin
    assert program.stdout
    killer = _killer(program)
    with program, killer:
        last = time.monotonic()
        for line in program.stdout:
            with contextlib.suppress(ValueError):
                report = json.loads(line)
                last = report["at"]
                _take(report, outcome)
                if report.get("ready"):
                    server.set_mode("silent")
                    program.stdin.write(b"\n")
                    program.stdin.flush()
        code = program.wait()
    outcome.exit_s = time.monotonic() - last
    outcome.hangs = killer.fired
    wanted = {"SIGKILL": -signal.SIGKILL, "SIGTERM": -signal.SIGTERM}.get(scenario, 0)
    outcome.crashed = code not in {0, wanted} and not killer.fired


def _take(report: dict[str, Any], outcome: _Outcome) -> None:
    outcome.logged = report.get("logged", outcome.logged)
    outcome.raised += report.get("raised", [])
    outcome.waited_s = report.get("seconds", outcome.waited_s)
    outcome.cannot_begin = report.get("cannot_begin", outcome.cannot_begin)


class _killer:  # noqa: N801 - a context manager, used like a function
    """Kills a program at its time limit, and afterwards all processes of its session that still run."""

    def __init__(self, program: subprocess.Popen[bytes]) -> None:
        import threading

        self.fired = False
        self._program = program
        self._timer = threading.Timer(_TIME_LIMIT_S, self._fire)

    def __enter__(self) -> None:
        self._timer.daemon = True
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._kill()

    def _fire(self) -> None:
        self.fired = True
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._program.pid, signal.SIGKILL)


# -- the cells of the table


def _trouble(outcome: _Outcome) -> str:
    if outcome.cannot_begin:
        return "dictConfig raises"
    if outcome.hangs:
        return f"**hangs** (> {_TIME_LIMIT_S:.0f} s)"
    return "**crashes**" if outcome.crashed else ""


def _twice(outcome: _Outcome) -> str:
    return f", {outcome.twice} twice" if outcome.twice else ""


def _kept(outcome: _Outcome, of: int) -> str:
    trouble = _trouble(outcome)
    return f"{outcome.arrived} of {of}{_twice(outcome)}{'; ' + trouble if trouble else ''}"


def _out(outcome: _Outcome) -> str:
    if outcome.cannot_begin:
        return "all lost: dictConfig raises"
    if outcome.hangs and not outcome.logged:
        return f"**hangs** in the program (> {_TIME_LIMIT_S:.0f} s)"
    how = _trouble(outcome) or f"ends in {outcome.exit_s:.1f} s"
    return f"{outcome.lost} of {outcome.logged} lost{_twice(outcome)}; {how}"


def _configured(outcome: _Outcome) -> str:
    if outcome.hangs and not outcome.logged:
        return f"**hangs** (> {_TIME_LIMIT_S:.0f} s)"
    if outcome.cannot_begin or not outcome.logged:
        return "raises"
    return f"{outcome.waited_s:.2f} s; {outcome.lost} of {outcome.logged} lost"


def _inside(outcome: _Outcome) -> str:
    if outcome.hangs or outcome.crashed or outcome.cannot_begin:
        return _trouble(outcome)
    return "all" if not outcome.lost else f"{outcome.lost} of {outcome.logged} lost"


def _idle(outcome: _Outcome) -> str:
    return _trouble(outcome) or f"{outcome.requests:,}"


def _count(of: int) -> Callable[[_Outcome], str]:
    return lambda outcome: _kept(outcome, of)


ROWS: Final[tuple[tuple[str, str, Callable[[_Outcome], str]], ...]] = (
    ("exit", "normal exit, 100 records", _count(100)),
    ("refused", "no server is running, 300 records", _out),
    ("silent", "the server accepts connections and never answers, 300 records", _out),
    ("SIGKILL", "SIGKILL right after the last of 100 calls", _count(100)),
    ("SIGTERM", "SIGTERM, the same", _count(100)),
    ("os._exit", "`os._exit`, the same", _count(100)),
    ("fork", "child by `os.fork` that exits, 10 records", _count(10)),
    ("Process", "`multiprocessing.Process` by fork, 10 records", _count(10)),
    ("Pool", "`multiprocessing.Pool` by fork, left by `with`, 10 records", _count(10)),
    ("ProcessPoolExecutor", "`ProcessPoolExecutor` by fork, 10 records", _count(10)),
    ("spawn", "`Process` by spawn, configured in the child, 10 records", _count(10)),
    ("forkserver", "`Process` by forkserver, configured in the child, 10 records", _count(10)),
    ("reconfigure", "second `dictConfig` while 4 threads log and the server does not answer", _configured),
    ("idle", "20 records, then 20 s without any, root logger at DEBUG: requests that are not uploads", _idle),
    ("signals", "a signal handler logs every 4 ms", _inside),
    ("__del__", "`__del__` logs, called by the garbage collector inside emit", _inside),
    ("__str__", "`__str__` of an argument logs", _inside),
    ("bad neighbour", "another handler's `flush` raises in `logging.shutdown`, 100 records", _count(100)),
    ("no thread", "no thread can be started, 100 records", _count(100)),
)
"""Scenario, its title in the table, and the function that makes the text of a cell."""

Outcomes = dict[tuple[str, str], _Outcome]


def collect(handlers: list[str], scenarios: list[str]) -> Outcomes:
    """Run each program once and return the outcomes by handler and scenario."""
    kubo = _Kubo()
    try:
        with concurrent.futures.ThreadPoolExecutor(_PARALLEL_PROGRAMS) as pool:
            jobs = {
                (handler, scenario): pool.submit(_run, handler, scenario, kubo)
                for scenario in scenarios
                for handler in handlers
            }
            for key, job in jobs.items():
                print(*key, job.result(), file=sys.stderr)
            return {key: job.result() for key, job in jobs.items()}
    finally:
        kubo.daemon.remove()


def table(outcomes: Outcomes) -> str:
    """Return a Markdown table: a row for each scenario, a column for each handler."""
    names = list(dict.fromkeys(handler for handler, _ in outcomes))
    lines = ["| scenario | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for scenario, title, cell in ROWS:
        row = [outcomes.get((name, scenario)) for name in names]
        if all(row):
            lines.append(f"| {title} | " + " | ".join(cell(cast("_Outcome", outcome)) for outcome in row) + " |")
    odd = {name: {s: o for (n, s), o in outcomes.items() if n == name and s.startswith("odd: ")} for name in names}
    if all(odd.values()):
        total = 3 * len(ODD_RECORDS)
        kinds = f"{len(ODD_RECORDS)} kinds: how many of {total} records arrive"
        cells = " | ".join(_odd(odd[name]) for name in names)
        lines.append(f"| one odd value between two ordinary records, {kinds} | {cells} |")
        lines.append(f"| of these kinds, those that raise an exception into the program | {_kinds_that_raise(odd)} |")
    return "\n".join(lines)


def _odd(own: Mapping[str, _Outcome]) -> str:
    arrived = sum(outcome.arrived for outcome in own.values())
    neighbours = [scenario.removeprefix("odd: ") for scenario, outcome in own.items() if outcome.arrived < 2]
    hanging = [scenario.removeprefix("odd: ") for scenario, outcome in own.items() if outcome.hangs or outcome.crashed]
    text = f"{arrived}"
    if neighbours:
        text += f"; an ordinary record lost beside: {', '.join(neighbours)}"
    if hanging:
        text += f"; **hangs or crashes** at: {', '.join(hanging)}"
    return text


def _kinds_that_raise(odd: Mapping[str, Mapping[str, _Outcome]]) -> str:
    cells = []
    for own in odd.values():
        kinds = [scenario.removeprefix("odd: ") for scenario, outcome in own.items() if outcome.raised]
        cells.append(f"{len(kinds)}: {', '.join(kinds)}" if kinds else "none")
    return " | ".join(cells)


def report(_rounds: int) -> str:
    """Return the table that `python -m benchmarks` prints."""
    return table(collect(list(HANDLERS), _every_scenario()))


def _every_scenario() -> list[str]:
    return [*(row[0] for row in ROWS), *(f"odd: {kind}" for kind in ODD_RECORDS)]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(HANDLERS), help="may be repeated")
    parser.add_argument("--scenario", action="append", choices=_every_scenario(), help="may be repeated")
    chosen = parser.parse_args()
    print(table(collect(chosen.only or list(HANDLERS), chosen.scenario or _every_scenario())))


if __name__ == "__main__":
    main()
