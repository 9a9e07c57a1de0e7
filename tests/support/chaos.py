"""Run programs that log, fork and configure anew in one home for some time, with kills and outages at random.

Every program writes to one file, the board, which calls it has begun and which have returned. So the expected count is
exact at the end, whichever program was killed.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.kubo.daemon import Daemon, DaemonError
from tests.support import oracle, programs
from tests.support.cli import command, run

__all__ = ["Chaos", "check", "start_again"]

MAX_PROGRAMS = 3
"""Programs that run at the same time."""
BODY = """
    import random, warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads are what this is about
    chance = random.Random(SEED)
    board = os.open(BOARD, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    def settings():
        return dict(kubo=KUBO, batch={"records": chance.choice([20, 100, 400]), "seconds": chance.choice([0.1, 1.0])},
                    durability=chance.choice(["process", "process", "power"]), flush_timeout=chance.choice([0.5, 5.0]),
                    keeper=chance.choice(["thread", "thread", "thread", "none"]),
                    keep_days=0, max_store_bytes=chance.choice([None, None, 100_000]))
    def begin():
        chosen, names = settings(), ("audit", "logs")
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False,
            "handlers": {each: handler(each, **chosen) for each in names},
            "loggers": {each: {"handlers": [each], "level": "INFO"} for each in names}})
    def say(name, count, pause):
        for number in range(count):
            text = b"%s-%d\\n" % (name.encode(), number)
            os.write(board, b"b " + text)
            logging.getLogger(chance.choice(["audit", "logs"])).info(
                "%s-%d", name, number, extra={"filler": "x" * chance.randrange(400)})
            os.write(board, b"k " + text)
            time.sleep(pause)
    begin()
    for turn in range(TURNS):
        say(f"{NAME}.{turn}", chance.randrange(10, 200), chance.choice([0.0, 0.001, 0.005]))
        what = chance.random()
        if what < 0.3:
            pid = os.fork()
            if pid == 0:
                say(f"{NAME}.{turn}c", chance.randrange(1, 30), 0.0)
                if chance.random() < 0.5: os._exit(0)
                sys.exit(0)
            os.waitpid(pid, 0)
        elif what < 0.5:
            begin()
        elif what < 0.7:
            threads = [threading.Thread(target=say, args=(f"{NAME}.{turn}t{n}", 30, 0.001)) for n in range(3)]
            for each in threads: each.start()
            for each in threads: each.join()
        elif what < 0.8:
            logging.getLogger("audit").handlers[0].flush()
        time.sleep(chance.random() * 0.1)
"""


def start_again(daemon: Daemon) -> None:
    """Start a daemon on its port; try again while an old connection still occupies the port."""
    until = time.monotonic() + 60
    while not daemon.running:
        try:
            daemon.start()
        except DaemonError:
            assert time.monotonic() < until, "the port of the daemon stays occupied"
            daemon.kill()
            time.sleep(0.2)


class Chaos:
    """Random actions on one home, drawn by a seed.

    Args:
        home: the home.
        daemon: a daemon of the test's own.
        seed: the same seed draws the same actions, but not the same moments in the programs.
    """

    def __init__(self, home: Path, daemon: Daemon, seed: int) -> None:
        self.home = home
        self.board = home.parent / "board"
        self.errors = home.parent / "errors"
        self.did: Counter[str] = Counter()
        self._daemon = daemon
        self._chance = random.Random(seed)
        self._programs: list[subprocess.Popen[bytes]] = []
        self._sidecar: subprocess.Popen[bytes] | None = None
        self._names = 0
        self._paths: list[Path] = []

    def run(self, seconds: float) -> None:
        """Act for so many seconds, and on until a call has returned; then end all programs and ship the rest."""
        until = time.monotonic() + seconds
        actions = [self._begin, self._begin, self._begin, self._kill, self._end, self._restart_daemon]
        actions += [self._stop_daemon, self._suspend_daemon, self._sidecar_comes, self._sidecar_goes]
        try:
            while time.monotonic() < until or not self._logged():
                action = self._chance.choice(actions)
                if action():
                    self.did[action.__name__.strip("_")] += 1
                time.sleep(self._chance.expovariate(1 / 0.2))
        finally:
            for process in [*self._programs, *([self._sidecar] if self._sidecar else [])]:
                process.kill()
                process.wait()
        if self._daemon.running:
            self._daemon.resume()
        else:
            start_again(self._daemon)
        ended = run("ship", "--timeout", "60", home=self.home)
        assert 0 == ended.code, ended.err

    def _logged(self) -> bool:
        """Return whether a logging call of a program has returned."""
        return self.board.exists() and b"k " in self.board.read_bytes()

    def _popen(self, line: list[str]) -> subprocess.Popen[bytes]:
        with self.errors.open("ab") as errors:
            return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=errors, env=programs.environment())

    def _begin(self) -> bool:
        self._programs = [program for program in self._programs if program.poll() is None]
        if len(self._programs) >= MAX_PROGRAMS:
            return False
        self._names += 1
        names: dict[str, Any] = {"NAME": f"p{self._names}", "SEED": self._chance.randrange(1 << 30)}
        path = self.home.parent / f"{names['NAME']}.py"
        names |= {"BOARD": str(self.board), "KUBO": self._daemon.url, "TURNS": self._chance.randrange(1, 20)}
        path.write_text(programs.text(self.home, BODY, **names))
        self._programs.append(self._popen([sys.executable, str(path)]))
        return True

    def _any_program(self) -> subprocess.Popen[bytes] | None:
        alive = [program for program in self._programs if program.poll() is None]
        return self._chance.choice(alive) if alive else None

    def _kill(self) -> bool:
        process = self._any_program()
        if process is not None:
            process.kill()
        return process is not None

    def _end(self) -> bool:
        process = self._any_program()
        if process is not None:
            process.send_signal(self._chance.choice([signal.SIGTERM, signal.SIGINT]))
        return process is not None

    def _sidecar_comes(self) -> bool:
        if self._sidecar is not None or not self.home.is_dir():
            return False
        self._sidecar = self._popen(command("--home", self.home, "ship", "--follow"))
        return True

    def _sidecar_goes(self) -> bool:
        if self._sidecar is None:
            return False
        self._sidecar.send_signal(self._chance.choice([signal.SIGKILL, signal.SIGTERM]))
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._sidecar.wait(10)
        self._sidecar.kill()
        self._sidecar.wait()
        self._sidecar = None
        return True

    def _restart_daemon(self) -> bool:
        if self._chance.random() < 0.5:
            return False
        if self._daemon.running:
            self._daemon.kill()
        start_again(self._daemon)
        return True

    def _stop_daemon(self) -> bool:
        """Stop the daemon for a moment: connections are refused."""
        if not self._daemon.running or self._chance.random() < 0.5:
            return False
        self._daemon.kill()
        time.sleep(self._chance.random())
        start_again(self._daemon)
        return True

    def _suspend_daemon(self) -> bool:
        """Suspend the daemon for a moment: requests get no answer."""
        if not self._daemon.running:
            return False
        self._daemon.suspend()
        time.sleep(self._chance.random() * 2)
        self._daemon.resume()
        return True


def check(chaos: Chaos, daemon: Daemon) -> int:
    """Assert that each record whose call returned is there once, others at most once; return their number."""

    def get(cid: str) -> bytes:
        return daemon.rpc(f"block/get?arg={cid}&offline=true")

    words = [line.split(" ") for line in chaos.board.read_text().splitlines()]
    begun = {name for word, name in words if word == "b"}
    kept = {name for word, name in words if word == "k"}
    logs = oracle.read_home(chaos.home)
    for batch in (batch for chain in logs.values() for log in chain for batch in log.batches):
        if batch.lines is None:  # its payload has left the home: the daemon must have it
            batch.lines = oracle._payload(batch.manifest, {}, get)
    events = Counter(record["event"] for chain in logs.values() for log in chain for record in log.records)
    assert [] == oracle.spooled(chaos.home)
    assert not [event for event, count in events.items() if count > 1]
    missing, foreign = kept - events.keys(), events.keys() - begun
    assert not missing, f"{len(missing)} of {len(kept)} are missing: {sorted(missing)[:5]}"
    assert not foreign, f"{len(foreign)} were never logged: {sorted(foreign)[:5]}"
    assert 0 == run("verify", home=chaos.home).code
    pins = set(daemon.pins())
    for name, chain in logs.items():
        [log] = chain  # no log has ended
        assert {log.head_cid, *(batch.cid for batch in log.batches)} <= pins
        shipped = oracle.read_daemon(get, log.head_cid)
        assert len(log.records) == len(shipped.records), name
    for status in run("status", home=chaos.home).objects:
        assert ({}, 0, 0) == (status["dropped"], status["set_aside"], status["oldest_unshipped"] or 0)
    return len(kept)
