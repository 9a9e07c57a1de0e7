"""Measure the server over a large home: first data, filters, call to visible line, and a load of clients.

    python -m benchmarks.serving --records 1000000 --seconds 60

The client and the server run on the same machine. The load is 50 clients of the live tail and 20 queries a second,
while a program logs; the writer's cost is the CPU time of its calls, with the load and, while the server is stopped,
without it, in turn.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from benchmarks.serving_home import SUBSYSTEM, make

__all__ = ["load", "report"]

_CLIENTS: Final = 50
"""Clients of the live tail."""
_QUERIES_A_SECOND: Final = 20
_CALLS: Final = 2000
"""Calls of the writer in one turn."""
_TURN_S: Final = 10.0
"""Seconds of one turn of the writer: its calls are spread over them."""
_CATCHING_UP_S: Final = 1.0
"""Seconds in which the server, which is stopped while the writer is alone, answers what waits."""
_PATIENCE_S: Final = 60
_WINDOW: Final = {"since": "2026-03-03T10:20:00Z", "until": "2026-03-03T10:30:00Z"}
"""Ten minutes in the middle of the home."""
_WRITER: Final = """
import json, logging, sys, time
from ipfs_log_handlers import IPFSHandler
log = logging.getLogger("writer"); log.setLevel("INFO"); log.propagate = False
log.addHandler(IPFSHandler({subsystem!r}, home={home!r}, batch={{"records": 1000, "seconds": 10}}))
for line in sys.stdin:
    calls, seconds, stamped = json.loads(line)
    cpu = 0.0
    for number in range(calls):
        began = time.thread_time()
        fields = {{"user": "mira", "at" if stamped else "unseen_at": time.time(), "n": number}}
        log.info("request %s took %.1f ms", number, 1.5, extra=fields)
        cpu += time.thread_time() - began
        if seconds:
            time.sleep(seconds / calls)
    print(json.dumps(cpu / calls * 1e6), flush=True)
"""


class _Server:
    """The server as a program."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-m", "ipfs_log_handlers", "serve", "--home", str(home), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = urlsplit(json.loads(self.process.stdout.readline())["url"]).port

    def ask(self, route: str, **parameters: Any) -> Any:
        """Return the JSON of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE_S)
        try:
            connection.request("GET", f"/api/{route}?{urlencode(parameters, doseq=True)}")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{route}: {answer.status} {body[:200]!r}")
            return json.loads(body)
        finally:
            connection.close()

    def page(self, **chosen: Any) -> dict[str, float]:
        """Ask for what the page shows, all at once; return the seconds of each answer, and of all."""
        began = time.perf_counter()

        def asked(route: str) -> tuple[str, float]:
            self.ask(route, **chosen)
            return route, time.perf_counter() - began

        with ThreadPoolExecutor(3) as pool:
            seconds = dict(pool.map(asked, ("records", "histogram", "facets")))
        return {**seconds, "all": max(seconds.values())}

    def memory_mb(self) -> float:
        """Return the memory of the process that is not shared with files."""
        text = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024

    def close(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.communicate(timeout=_PATIENCE_S)


@contextmanager
def _server(home: Path) -> Iterator[_Server]:
    server = _Server(home)
    try:
        yield server
    finally:
        server.close()


class _Writer:
    """The program that logs."""

    def __init__(self, home: Path) -> None:
        program = _WRITER.format(subsystem=SUBSYSTEM, home=str(home))
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def log(self, calls: int, seconds: float = 0.0, *, stamped: bool = True) -> float:
        """Log so many records, spread over some seconds; return the µs of CPU of a call.

        Args:
            calls: number of records.
            seconds: over how many seconds they are spread.
            stamped: whether the clients measure how long these records took.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([calls, seconds, stamped]) + "\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the program."""
        self._process.communicate()


class _Tail(threading.Thread):
    """A client of the live tail."""

    def __init__(self, port: int | None) -> None:
        super().__init__(daemon=True)
        self.waited: list[float] = []
        self.ids: set[str] = set()
        self.skipped = 0
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE_S)
        self._connection.request("GET", "/api/tail")
        self._answer = self._connection.getresponse()
        while not self._answer.readline().startswith(b"event: ready"):
            pass

    def run(self) -> None:
        """Take events until the server ends."""
        try:
            while line := self._answer.readline():
                if line.startswith(b'data: {"records"'):
                    self._take(json.loads(line[6:])["records"])
                elif line.startswith(b'data: {"count"'):
                    self.skipped = json.loads(line[6:])["total"]
        except (OSError, ValueError, http.client.HTTPException):
            return
        finally:
            self._answer.close()
            self._connection.close()

    def _take(self, items: Sequence[dict[str, Any]]) -> None:
        now = time.time()
        for item in items:
            self.ids.add(item["id"])
            if "at" in item["record"]:
                self.waited.append(now - item["record"]["at"])


def _first(home: Path, rounds: int) -> dict[str, list[float]]:
    """Start a server again and again, and ask it for the first page and for filters."""
    found: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        found.setdefault(name, []).append(seconds)

    with _server(home) as server:
        record = next(
            item["record"]
            for item in server.ask("records", limit=100, **_WINDOW)["records"]
            if "request_id" in item["record"]
        )
    for _ in range(rounds):
        with _server(home) as server:
            for what in ("first", "again"):
                for route, seconds in server.page().items():
                    note(f"{what} {route}", seconds)
            note("one request", server.page(where=f"request_id={record['request_id']}")["all"])
            note("ten minutes", server.page(level="warning", **_WINDOW)["all"])
            note("text", server.page(contains="no text that there is")["all"])
    return found


def load(home: Path, seconds: float) -> dict[str, float]:
    """Run the clients and the queries, and a writer with the server and without it in turn; return the figures.

    Args:
        home: the home, to which the writer logs.
        seconds: how long it lasts.
    """
    writer, costs, took = _Writer(home), {"alone": list[float](), "served": list[float]()}, list[float]()
    writer.log(_CALLS)
    with _server(home) as server:
        one = _Tail(server.port)
        one.start()
        for _ in range(50):
            writer.log(1)
            time.sleep(0.05)
        one_waited = list(one.waited)
        server.page()
        before = server.memory_mb()
        tails = [one, *(_Tail(server.port) for _ in range(_CLIENTS - 1))]
        for tail in tails[1:]:
            tail.start()
        asking, stop = threading.Event(), threading.Event()
        asker = threading.Thread(target=_queries, args=(server, asking, stop, took))
        asker.start()
        peak, end, logged = before, time.monotonic() + seconds, 50
        while time.monotonic() < end:
            for what in random.sample(("alone", "served"), 2):
                is_served = what == "served"
                server.process.send_signal(signal.SIGCONT if is_served else signal.SIGSTOP)
                if is_served:
                    time.sleep(_CATCHING_UP_S)
                    asking.set()
                costs[what].append(writer.log(_CALLS, _TURN_S, stamped=is_served))
                if is_served:
                    asking.clear()
                    time.sleep(_CATCHING_UP_S)
                logged += _CALLS
                peak = max(peak, server.memory_mb())
        server.process.send_signal(signal.SIGCONT)
        stop.set()
        asker.join()
        time.sleep(2)
        ratio = statistics.median(b / a for a, b in zip(costs["alone"], costs["served"], strict=True))
        result = {
            "one client, ms": statistics.median(one_waited) * 1e3,
            "all clients, ms": statistics.median(waited for tail in tails for waited in tail.waited) * 1e3,
            "records at the slowest client": min(len(tail.ids) + tail.skipped for tail in tails[1:]),
            "records logged": logged - 50,
            "records left out": sum(tail.skipped for tail in tails),
            "queries": len(took),
            "query median, ms": statistics.median(took) * 1e3,
            "query p95, ms": sorted(took)[int(len(took) * 0.95)] * 1e3,
            "memory before, MB": before,
            "memory at most, MB": peak,
            "writer, µs a call": statistics.median(costs["alone"]),
            "writer with and without the server, ratio": ratio,
        }
    for tail in tails:
        tail.join(_PATIENCE_S)
    writer.close()
    return result


def _queries(server: _Server, asking: threading.Event, stop: threading.Event, took: list[float]) -> None:
    """Ask 20 times a second, as people who look around do."""
    kinds: Sequence[tuple[str, dict[str, Any]]] = (
        ("records", {}),
        ("records", {"level": "error", **_WINDOW}),
        ("histogram", _WINDOW),
        ("facets", {**_WINDOW, "field": "level"}),
        ("records", {"where": "request_id=nobody-has-this-one"}),
    )

    def ask(number: int) -> None:
        route, parameters = kinds[number % len(kinds)]
        began = time.perf_counter()
        server.ask(route, **parameters)
        took.append(time.perf_counter() - began)

    with ThreadPoolExecutor(32) as pool:
        number = 0
        while not stop.is_set():
            if not asking.is_set():
                time.sleep(0.05)
                continue
            pool.submit(ask, number)
            number += 1
            time.sleep(1 / _QUERIES_A_SECOND)


def report(rounds: int, *, records: int = 1_000_000, seconds: float = 60.0, home: Path | None = None) -> str:
    """Return the table.

    Args:
        rounds: how often a server is started for the first page.
        records: records of the home.
        seconds: how long the load lasts.
        home: a home that was made before; `None`: make one.
    """
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        shown = Path(scratch) / "home" if home is None else home
        if not shown.exists():
            make(shown, records)
        first, loaded = _first(shown, rounds), load(shown, seconds)
    rows = ["| what | figure |", "|---|--:|"]
    rows += [f"| {name} | {statistics.median(values) * 1e3:.0f} ms |" for name, values in first.items()]
    rows += [f"| load: {name} | {figure:.4g} |" for name, figure in loaded.items()]
    return "\n".join(rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measures the server.")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the load lasts")
    parser.add_argument("--home", type=Path, help="a home that was made before; it is made if it is missing")
    given = parser.parse_args()
    print(report(given.rounds, records=given.records, seconds=given.seconds, home=given.home))


if __name__ == "__main__":
    main()
