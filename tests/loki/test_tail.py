"""Lines are sent over a WebSocket as they are logged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.loki import Limits, tailing
from tests.support import loki_server
from tests.support.loki_server import START, LokiServer
from tests.support.sample_homes import Writing


@pytest.fixture
def followed(tmp_path: Path) -> Path:
    """Give a home with twenty records that are not sealed."""
    home = tmp_path / "home"
    loki_server.log_some(home, "audit", range(20))
    return home


def _tail(
    server: LokiServer,
    parameters: dict[str, str],
    use: Callable[[Any], Awaitable[None]],
    headers: Mapping[str, str] | None = None,
) -> None:
    """Open a WebSocket, and use it."""

    async def run() -> None:
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            url = f"{server.url}/loki/api/v1/tail"
            async with session.ws_connect(url, params=parameters, headers=headers, max_msg_size=1 << 26) as socket:
                await use(socket)

    asyncio.run(run())


async def _numbers(socket: Any, count: int) -> list[int]:
    """Return the numbers of the next records, in the order in which they come."""
    numbers: list[int] = []
    while len(numbers) < count:
        message = json.loads(await socket.receive_str(timeout=30))
        values = sorted((int(value[0]), value[1]) for stream in message["streams"] for value in stream["values"])
        numbers += [json.loads(line)["number"] for _, line in values]
    return numbers


def test_the_newest_lines_come_first_and_then_each_new_one(followed: Path):
    """Of the past come at most `limit` lines, oldest first; each line that is logged later comes once."""
    with LokiServer(followed) as server, Writing(followed, "wal") as writing:

        async def use(socket: Any) -> None:
            first = await _numbers(socket, 5)
            assert set(first) <= set(range(10, 20))
            writing.log(range(100, 150))
            writing.log(range(150, 160))
            assert list(range(100, 160)) == sorted(await _numbers(socket, 60))

        _tail(server, {"query": '{subsystem=~"audit|wal"}', "start": f"{START - 10}", "limit": "5"}, use)


def test_a_client_gets_only_the_lines_that_its_query_finds(followed: Path):
    """Selector, filters and steps hold for new lines, too, also in a subsystem that begins later."""
    with LokiServer(followed) as server:

        async def use(socket: Any) -> None:
            assert [3, 4] == await _numbers(socket, 2)
            with Writing(followed, "audit") as one, Writing(followed, "wal") as two:
                one.log(range(6))
                two.log(range(6))
            assert [3, 4] == await _numbers(socket, 2)

        query = '{subsystem="audit"} | json | number > 2 and number < 5'
        _tail(server, {"query": query, "start": f"{START - 10}", "delay_for": "0"}, use)


def test_a_delay_is_kept_and_no_line_is_lost(followed: Path):
    """With `delay_for`, lines come a second after they were logged, in the order of time."""
    with LokiServer(followed) as server:

        async def use(socket: Any) -> None:
            await _numbers(socket, 20)
            with Writing(followed, "audit") as writing:
                writing.log(range(40, 60))
            assert list(range(40, 60)) == sorted(await _numbers(socket, 20))

        _tail(server, {"query": '{subsystem="audit"}', "start": f"{START - 10}", "delay_for": "1"}, use)


def test_wrong_requests_and_too_many_clients_are_refused(followed: Path):
    """A query for numbers, a delay of a minute, and one client more than may follow."""
    with LokiServer(followed, Limits(max_tails=1)) as server:
        rate = server.get("tail", {"query": 'rate({subsystem="audit"}[1m])'})
        late = server.get("tail", {"query": '{subsystem="audit"}', "delay_for": "60"})
        assert "a query for lines is needed here" in rate.refusal
        assert "delay_for='60' is not a number of seconds from 0 to 5" in late.refusal
        for delay in ("0000000019", "1" * 5_000, "-1", "٣"):
            wrong = server.get("tail", {"query": '{subsystem="audit"}', "delay_for": delay})
            assert f"delay_for={delay[:80]!r} is not a number of seconds from 0 to 5" in wrong.refusal

        async def use(socket: Any) -> None:
            await _numbers(socket, 1)
            second = await asyncio.to_thread(server.get, "tail", {"query": '{subsystem="audit"}'})
            assert 429 == second.status
            assert "1 clients follow already" in second.text

        _tail(server, {"query": '{subsystem="audit"}', "start": f"{START - 10}"}, use)


@pytest.mark.parametrize("query", ['{level="error"}', '{subsystem="wal"}', '{service_name=~"wal|health"} | json'])
def test_the_first_lines_are_found_behind_many_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str):
    """Newer records of other levels and subsystems do not count, and a subsystem that begins later is followed."""
    home = tmp_path / "home"

    def log(subsystem: str, level: int, number: int) -> None:
        record = logging.LogRecord("app", level, __file__, 1, "event", None, None)
        record.created = START + number
        record.__dict__["number"] = number
        with contextlib.closing(IPFSHandler(subsystem, home=home, keeper="none")) as handler:
            handler.handle(record)

    monkeypatch.setattr(tailing, "_MAX_LOOKED_BACK", 3)
    log("wal", logging.ERROR, 0)
    for number in range(1, 8):
        log("audit", logging.INFO, number)
    with LokiServer(home) as server:

        async def use(socket: Any) -> None:
            assert [0] == await _numbers(socket, 1)
            log("health" if "health" in query else "wal", logging.ERROR, 9)
            assert [9] == await _numbers(socket, 1)

        _tail(server, {"query": query, "start": f"{START - 10}"}, use)
