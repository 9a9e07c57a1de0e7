"""`ipfs-logs serve` has Loki's API at the same address, behind the same guard."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.support import sample_homes
from tests.support.cli import start

RANGE = "start=0&end=4000000000000000000&limit=100"


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    """Ask for a path; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"Host": f"{host}:{port}"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def ask_all(home: Path, *paths: tuple[Any, ...]) -> list[tuple[int, str]]:
    """Start the server as a program, ask for some paths, and end it."""
    process = start("serve", "--home", home, "--port", "0")
    try:
        assert process.stdout is not None
        port = urlsplit(json.loads(process.stdout.readline())["url"]).port
        assert port is not None
        return [get(port, *path) for path in paths]
    finally:
        process.kill()
        process.communicate()


def test_grafana_finds_the_records_at_the_address_of_the_page(home):
    """Sealed records and those of the spool; a foreign host gets nothing."""
    sample_homes.make(home, 20)
    sample_homes.log(home, range(20, 25))
    query = f"/loki/api/v1/query_range?{RANGE}&query=" + quote('{subsystem="audit"}')
    (status, body), (labels_status, labels), foreign = ask_all(
        home, (query,), ("/loki/api/v1/labels?since=100000h",), (query, "logs.example.org")
    )
    assert (status, labels_status) == (200, 200)
    streams = json.loads(body)["data"]["result"]
    assert sum(len(stream["values"]) for stream in streams) == 25
    assert "subsystem" in json.loads(labels)["data"]
    assert foreign[0] == 421


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [False, True])
def test_an_answer_is_complete_or_an_error(home, damaged):
    """A batch that cannot be read makes no smaller number."""
    sample_homes.make(home, 30)
    if damaged:
        sample_homes.damage(home, 1)
    query = "/loki/api/v1/query?time=4000000000000000000&query=" + quote(
        'sum(count_over_time({subsystem="audit"}[100y]))'
    )
    [(status, body)] = ask_all(home, (query,))
    if damaged:
        assert status == 500
        assert "audit batch 1 is damaged" in body
    else:
        assert json.loads(body)["data"]["result"][0]["value"][1] == "30"
