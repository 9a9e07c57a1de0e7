"""What arrives, in the scenarios in which log handlers lose records: ours and its peers, with their defaults.

    python -m benchmarks.reliability [--only CONTENDER]… [--scenario NAME]…

Each cell is a program of its own (`scenarios.py`) against an other end that counts (`counting.py`), on a port of its
own, with a hard limit of time. What is missing afterwards may still be delivered by the next start on the same
directory, if anything was left there. Ours ships to a real Kubo daemon, and what is counted is read from Kubo, from
the head block on, every block verified by a reader that shares no code with the package.
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

from benchmarks.contenders import CONTENDERS, SPEAKS
from benchmarks.counting import MARK, Mood, Sink
from benchmarks.oddities import ODDITIES

__all__ = ["ROWS", "collect", "report"]

_LIMIT: Final = 75.0
"""Seconds after which a program is killed and counts as hanging."""
_SETTLE: Final = 0.5
_AT_ONCE: Final = 3
"""Programs at a time: most of them wait."""
_ROOT: Final = Path(__file__).resolve().parent.parent
_MOODS: Final[Mapping[str, Mood]] = {"refused": "refusing", "silent": "silent"}

Seen = Counter[tuple[str, int]]


@dataclass(slots=True)
class _Outcome:
    """How one program went."""

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
    """The daemon behind ours, and what it has."""

    def __init__(self) -> None:
        from tests.kubo.build import kubo_binary
        from tests.kubo.daemon import Daemon

        self.daemon = Daemon(kubo_binary(), offline=True)
        self.daemon.start()

    def seen(self, directory: str) -> Seen:
        """The records of a home that a reader finds who has the daemon and the CID of a head block alone."""
        from tests import oracle

        home = Path(directory) / "home"
        logs = oracle.read_home(home).get("logs", []) if (home / "writer.key").exists() else []
        pins = self.daemon.pins()
        found: Seen = Counter()
        for log in logs:
            heads = [batch.head_cid for batch in log.batches if batch.head_cid in pins]
            for batch in oracle.read_daemon(self._block, heads[-1]).batches if heads else []:
                marks = MARK.findall(b"\n".join(batch.lines or ()))
                found.update((run.decode(), int(number)) for run, number in marks)
        return found

    def _block(self, cid: str) -> bytes:
        return self.daemon.rpc(f"block/get?arg={cid}&offline=true")


def _run(contender: str, scenario: str, kubo: _Kubo) -> _Outcome:
    outcome = _Outcome()
    sink = Sink(SPEAKS[contender], kubo.daemon.port)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        try:
            sink.be(_MOODS.get(scenario, "up"))
            _program(contender, scenario, sink, directory, outcome)
            time.sleep(_SETTLE)
            outcome.requests = sink.requests
            sink.be("up")
            seen = _seen(contender, sink, directory, kubo)
            if outcome.logged > len(seen) and os.listdir(directory):
                _program(contender, "again", sink, directory, _Outcome())
                time.sleep(_SETTLE)
                seen = _seen(contender, sink, directory, kubo)
        finally:
            sink.close()
    outcome.arrived = len(seen)
    outcome.twice = sum(count > 1 for count in seen.values())
    return outcome


def _seen(contender: str, sink: Sink, directory: str, kubo: _Kubo) -> Seen:
    every = kubo.seen(directory) if SPEAKS[contender] == "kubo" else sink.seen
    return Counter({mark: count for mark, count in list(every.items()) if mark[0] in {"a", "b"}})


def _program(contender: str, scenario: str, sink: Sink, directory: str, outcome: _Outcome) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.scenarios", contender, scenario]
    program = subprocess.Popen(
        [*command, str(sink.port), directory],
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
                told = json.loads(line)
                last = told["at"]
                _take(told, outcome)
                if told.get("ready"):
                    sink.be("silent")
                    program.stdin.write(b"\n")
                    program.stdin.flush()
        code = program.wait()
    outcome.exit_s = time.monotonic() - last
    outcome.hangs = killer.fired
    wanted = {"SIGKILL": -signal.SIGKILL, "SIGTERM": -signal.SIGTERM}.get(scenario, 0)
    outcome.crashed = code not in {0, wanted} and not killer.fired


def _take(told: dict[str, Any], outcome: _Outcome) -> None:
    outcome.logged = told.get("logged", outcome.logged)
    outcome.raised += told.get("raised", [])
    outcome.waited_s = told.get("seconds", outcome.waited_s)
    outcome.cannot_begin = told.get("cannot_begin", outcome.cannot_begin)


class _killer:  # noqa: N801 - a context manager, used like a function
    """Kills a program and the children of its session when its time is over, or when it ends and leaves some."""

    def __init__(self, program: subprocess.Popen[bytes]) -> None:
        import threading

        self.fired = False
        self._program = program
        self._timer = threading.Timer(_LIMIT, self._fire)

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


# -- what the table says of it


def _trouble(outcome: _Outcome) -> str:
    if outcome.cannot_begin:
        return "dictConfig raises"
    if outcome.hangs:
        return f"**hangs** (> {_LIMIT:.0f} s)"
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
        return f"**hangs** in the program (> {_LIMIT:.0f} s)"
    how = _trouble(outcome) or f"ends in {outcome.exit_s:.1f} s"
    return f"{outcome.lost} of {outcome.logged} lost{_twice(outcome)}; {how}"


def _configured(outcome: _Outcome) -> str:
    if outcome.hangs and not outcome.logged:
        return f"**hangs** (> {_LIMIT:.0f} s)"
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
    ("refused", "nobody listens for the whole run, 300 records", _out),
    ("silent", "the other end accepts and never answers, 300 records", _out),
    ("SIGKILL", "SIGKILL right after the last of 100 calls", _count(100)),
    ("SIGTERM", "SIGTERM, the same", _count(100)),
    ("os._exit", "`os._exit`, the same", _count(100)),
    ("fork", "child by `os.fork` that exits, 10 records", _count(10)),
    ("Process", "`multiprocessing.Process` by fork, 10 records", _count(10)),
    ("Pool", "`multiprocessing.Pool` by fork, left by `with`, 10 records", _count(10)),
    ("ProcessPoolExecutor", "`ProcessPoolExecutor` by fork, 10 records", _count(10)),
    ("spawn", "`Process` by spawn, configured in the child, 10 records", _count(10)),
    ("forkserver", "`Process` by forkserver, configured in the child, 10 records", _count(10)),
    ("reconfigure", "second `dictConfig`, 4 threads log, the other end is silent", _configured),
    ("idle", "root at DEBUG, 20 records, 20 s idle: requests beyond uploads", _idle),
    ("signals", "a signal handler logs every 4 ms", _inside),
    ("__del__", "`__del__` logs, called by the collector inside emit", _inside),
    ("__str__", "`__str__` of an argument logs", _inside),
    ("bad neighbour", "another handler's `flush` raises in `logging.shutdown`, 100 records", _count(100)),
    ("no thread", "no thread can be started, 100 records", _count(100)),
)
"""Scenario, how the table calls it, and what a cell says."""

Outcomes = dict[tuple[str, str], _Outcome]


def collect(contenders: list[str], scenarios: list[str]) -> Outcomes:
    """Run each program once."""
    kubo = _Kubo()
    try:
        with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
            jobs = {
                (contender, scenario): pool.submit(_run, contender, scenario, kubo)
                for scenario in scenarios
                for contender in contenders
            }
            for which, job in jobs.items():
                job.result()
                print(*which, job.result(), file=sys.stderr)
            return {which: job.result() for which, job in jobs.items()}
    finally:
        kubo.daemon.remove()


def table(found: Outcomes) -> str:
    """Markdown: a row for each scenario, a column for each contender."""
    names = list(dict.fromkeys(contender for contender, _ in found))
    lines = ["| scenario | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for scenario, title, cell in ROWS:
        own = [found.get((name, scenario)) for name in names]
        if all(own):
            lines.append(f"| {title} | " + " | ".join(cell(cast("_Outcome", each)) for each in own) + " |")
    odd = {name: {s: o for (n, s), o in found.items() if n == name and s.startswith("odd: ")} for name in names}
    if all(odd.values()):
        total = 3 * len(ODDITIES)
        lines.append(
            f"| one bad value between two good neighbours, {len(ODDITIES)} kinds: records of {total} that arrive | "
            + " | ".join(_odd(odd[name]) for name in names)
            + " |"
        )
        lines.append("| of these kinds, those that raise into the program | " + _each_raised(odd) + " |")
    return "\n".join(lines)


def _odd(own: Mapping[str, _Outcome]) -> str:
    arrived = sum(each.arrived for each in own.values())
    neighbours = [scenario.removeprefix("odd: ") for scenario, each in own.items() if each.arrived < 2]
    hanging = [scenario.removeprefix("odd: ") for scenario, each in own.items() if each.hangs or each.crashed]
    text = f"{arrived}"
    if neighbours:
        text += f"; a neighbour lost beside: {', '.join(neighbours)}"
    if hanging:
        text += f"; **hangs or crashes** at: {', '.join(hanging)}"
    return text


def _each_raised(odd: Mapping[str, Mapping[str, _Outcome]]) -> str:
    cells = []
    for own in odd.values():
        kinds = [scenario.removeprefix("odd: ") for scenario, each in own.items() if each.raised]
        cells.append(f"{len(kinds)}: {', '.join(kinds)}" if kinds else "none")
    return " | ".join(cells)


def report(_rounds: int) -> str:
    """What `python -m benchmarks` prints of this."""
    return table(collect(list(CONTENDERS), _every_scenario()))


def _every_scenario() -> list[str]:
    return [*(row[0] for row in ROWS), *(f"odd: {kind}" for kind in ODDITIES)]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(CONTENDERS), help="may be repeated")
    parser.add_argument("--scenario", action="append", choices=_every_scenario(), help="may be repeated")
    chosen = parser.parse_args()
    print(table(collect(chosen.only or list(CONTENDERS), chosen.scenario or _every_scenario())))


if __name__ == "__main__":
    main()
