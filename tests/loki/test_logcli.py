"""Loki's own client, logcli, built from its Go module, reads labels, streams, lines, numbers and volumes.

A first build takes nine minutes of CPU time and 4.4 GB in Go's caches, so this is part of `make soak` alone. The other
tests send the same requests. `IPFS_LOGS_TEST_LOGCLI` names a logcli that is there already.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kubo.build import CannotBuildKubo, go_program
from tests.support.loki_server import COUNT, LokiServer
from tests.support.sample_homes import Writing

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]
MODULE = Path(__file__).resolve().parents[1] / "logcli"
PACKAGE = "github.com/grafana/loki/v3/cmd/logcli"
SPAN = ("--from", "2026-02-25T06:00:00Z", "--to", "2026-02-25T07:00:00Z")
AUDIT = '{subsystem="audit"}'
Run = Callable[..., str]


@pytest.fixture(scope="module")
def logcli() -> str:
    """Return the path of logcli."""
    chosen = os.environ.get("IPFS_LOGS_TEST_LOGCLI")
    if chosen:
        return chosen
    try:
        return str(go_program(MODULE, PACKAGE))
    except CannotBuildKubo as error:
        reason = str(error)
    pytest.fail(f"logcli cannot be built: {reason}; or set IPFS_LOGS_TEST_LOGCLI to one", pytrace=False)


def _environment(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TZ": "UTC"}


@pytest.fixture
def run(logcli: str, loki: LokiServer, tmp_path: Path) -> Run:
    """Return a function that runs logcli and returns its stdout."""

    def run(*arguments: str, status: int = 0) -> str:
        command = [logcli, "--addr", loki.url, "--quiet", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=_environment(tmp_path))
        assert status == done.returncode, done.stderr
        return done.stdout + (done.stderr if status else "")

    return run


def test_labels_and_streams(run: Run, loki: LokiServer):
    """`labels`, the values of one, and `series`."""
    assert ["level", "logger", "service_name", "subsystem"] == run("labels", *SPAN).split()
    assert ["audit", "logs", "wal"] == run("labels", "subsystem", *SPAN).split()
    streams = run("series", '{subsystem="wal", level="error"}', *SPAN).splitlines()
    assert streams
    assert all('subsystem="wal"' in stream and 'level="error"' in stream for stream in streams)


def test_lines_also_in_several_requests(run: Run, loki: LokiServer):
    """`query` gives the lines; more than one request takes, by `--batch`, gives each line once."""
    lines = loki.lines(f'{AUDIT} |= "log"')
    query = ("query", f'{AUDIT} |= "log"', *SPAN, "--limit", "1000", "--output", "raw", "--forward")

    assert len(lines) > 14
    assert sorted(lines) == sorted(run(*query).splitlines())
    assert sorted(lines) == sorted(run(*query, "--batch", "7").splitlines())


def test_numbers(run: Run, loki: LokiServer):
    """`query` of numbers gives a matrix, `instant-query` a vector, with the numbers that the server gives others."""
    query = f"sum by (level) (count_over_time({AUDIT}[10m]))"
    at = json.loads(run("instant-query", query, "--now", "2026-02-25T06:20:00Z"))
    rows = json.loads(run("query", query, *SPAN, "--step", "10m"))

    assert COUNT == sum(int(row["value"][1]) for row in at)
    assert COUNT == sum(int(value) for row in rows for _, value in row["values"])


def test_statistics_and_volumes(run: Run, loki: LokiServer):
    """`stats`, `volume` and `volume_range`."""
    size = sum(len(line.encode()) for line in loki.lines(AUDIT))

    assert f"entries: {COUNT}" in " ".join(run("stats", AUDIT, *SPAN).split())
    [whole] = json.loads(run("volume", AUDIT, *SPAN))
    [steps] = json.loads(run("volume_range", AUDIT, *SPAN, "--step", "1m"))
    assert size == int(whole["value"][1])
    assert size == sum(int(value) for _, value in steps["values"])


def test_what_is_not_supported_is_said(run: Run):
    """The reason of the server is what the person reads."""
    assert "not supported here: `pattern`" in run("query", f'{AUDIT} | pattern "<a>"', *SPAN, status=1)


def test_new_lines_are_followed(logcli: str, tmp_path: Path):
    """`query --tail` prints each line that is logged while it runs."""
    home = tmp_path / "home"
    with Writing(home, "audit") as writing, LokiServer(home) as server:
        writing.log(range(1))
        command = [logcli, "--addr", server.url, "--quiet", "query", AUDIT, "--tail", "--output", "raw"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_environment(tmp_path)) as tail:
            late = threading.Timer(60, tail.kill)
            late.start()
            assert tail.stdout is not None
            try:
                numbers = [json.loads(tail.stdout.readline())["number"]]
                writing.log(range(1, 200))
                while len(numbers) < 200 and (line := tail.stdout.readline()):
                    numbers.append(json.loads(line)["number"])
            finally:
                late.cancel()
                tail.kill()
    assert list(range(200)) == sorted(numbers)
