"""`stream_logs` gives each record once, wakes up for a new one, and goes on after a restart of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from ipfs_log_handlers.mcp_server.app import make_server
from tests.support import sample_homes
from tests.support.logging_home import lines, put_segment
from tests.support.mcp_clients import Asking, asking, over_stdio, settings_of, talk


def numbers(answer: dict[str, Any]) -> list[int]:
    """Return the numbers of the records."""
    return [record["number"] for record in answer["records"]]


def test_a_cursor_loses_nothing_over_a_restart(home: Path) -> None:
    """Records that were logged and sealed while no server ran come with the next call, in small pages, each once."""
    sample_homes.make(home, 5)

    async def begin(ask: Asking) -> str:
        return str((await ask.answer("stream_logs", wait_s=0))["next_cursor"])

    cursor = talk(over_stdio("--home", home), begin)
    sample_homes.make(home, 12)
    sample_homes.log(home, range(12, 20))
    sample_homes.log(home, range(20, 23), "wal")

    async def go_on(ask: Asking) -> list[int]:
        found: list[int] = []
        at = cursor
        while len(found) < 23:
            answer = await ask.answer("stream_logs", cursor=at, wait_s=25, limit=6)
            assert len(answer["records"]) <= 6
            found += numbers(answer)
            at = answer["next_cursor"]
        rest = await ask.answer("stream_logs", cursor=at, wait_s=0)
        return found + numbers(rest)

    assert list(range(23)) == sorted(talk(over_stdio("--home", home), go_on))


def test_a_call_ends_with_the_first_record_and_reports_progress(home: Path) -> None:
    """The record is logged after the first report of progress, so the call is waiting; it ends with the record."""
    sample_homes.make(home, 3)

    async def work(ask: Asking) -> tuple[dict[str, Any], list[float]]:
        reports: list[float] = []

        async def progress(progress: float, total: float | None, message: str | None) -> None:
            if not reports:
                await anyio.to_thread.run_sync(sample_homes.log, home, range(3, 5))
            reports.append(progress)

        begun = await ask.answer("stream_logs", wait_s=0)
        answer = await ask.answer("stream_logs", cursor=begun["next_cursor"], wait_s=25, progress=progress)
        return answer, reports

    answer, reports = asking(home, work)
    assert [3, 4] == numbers(answer) or [3] == numbers(answer)
    assert reports


def test_conditions_choose_what_is_streamed(home: Path) -> None:
    """Records that do not pass move the cursor, and are not returned."""
    sample_homes.make(home, 3)

    async def work(ask: Asking) -> dict[str, Any]:
        begun = await ask.answer("stream_logs", wait_s=0)
        await anyio.to_thread.run_sync(sample_homes.log, home, range(3, 40))
        return await ask.answer(
            "stream_logs", cursor=begun["next_cursor"], wait_s=25, where=[{"field": "number", "op": ">=", "value": 38}]
        )

    assert [38, 39] == numbers(asking(home, work))


def test_a_record_that_does_not_fit_comes_with_the_next_call(home: Path) -> None:
    """Twelve records of sixteen kilobytes are more than one answer."""
    sample_homes.make(home, 1)

    async def work(ask: Asking) -> list[int]:
        at = (await ask.answer("stream_logs", wait_s=0))["next_cursor"]
        with sample_homes.Writing(home) as writing:
            for number in range(12):
                fields = {f"field_{n}": "z" * 1900 for n in range(8)}
                writing.handler.handle(sample_homes.record(number, **fields))
        found: list[int] = []
        calls = 0
        while len(found) < 12:
            answer = await ask.answer("stream_logs", cursor=at, wait_s=25, limit=1000)
            found += numbers(answer)
            at = answer["next_cursor"]
            calls += 1
        assert calls > 2
        return found

    assert list(range(12)) == asking(home, work)


def test_an_answer_has_room_for_the_cursor_of_many_writers(home: Path) -> None:
    """300 writers, half of them new, whose records would fill the answers without the cursor: each comes once."""
    directory = sample_homes.subsystem_dir(home, "logs")

    def write(writers: range) -> None:
        for writer in writers:
            put_segment(directory, lines(1, 2, pid=writer, text="x" * 150), writer=f"{writer:016x}")

    write(range(150))

    async def work(ask: Asking) -> list[tuple[int, int]]:
        at = (await ask.answer("stream_logs", wait_s=0))["next_cursor"]
        write(range(150, 300))
        records: list[dict[str, Any]] = []
        while len(records) < 300:
            answer = await ask.answer("stream_logs", cursor=at, wait_s=25, limit=1000)
            records += answer["records"]
            at = answer["next_cursor"]
        return [(record["pid"], record["seq"]) for record in records]

    assert [(pid, seq) for pid in range(150, 300) for seq in (1, 2)] == sorted(asking(home, work))


@pytest.mark.slow
def test_a_cursor_larger_than_an_answer_is_refused(home: Path) -> None:
    """2,000 writers whose records are in no batch: the error says what makes the cursor smaller."""
    directory = sample_homes.subsystem_dir(home, "logs")
    for writer in range(2000):
        put_segment(directory, lines(1, 1), writer=f"{writer:016x}")

    async def work(ask: Asking) -> str:
        return await ask.refusal("stream_logs", wait_s=0)

    assert "choose one dataset, or let `ipfs-logs ship` seal the records" in asking(home, work)


def test_many_waiting_calls_do_not_keep_others_from_reading(home: Path) -> None:
    """Eight calls wait for a record; a count is answered meanwhile; then all of them get the record."""
    sample_homes.make(home, 3)

    async def work(ask: Asking) -> list[dict[str, Any]]:
        at = (await ask.answer("stream_logs", wait_s=0))["next_cursor"]
        found: list[dict[str, Any]] = []

        async def wait() -> None:
            found.append(await ask.answer("stream_logs", cursor=at, wait_s=25, limit=1))

        async with anyio.create_task_group() as waiting:
            for _ in range(8):
                waiting.start_soon(wait)
            assert 3 == (await ask.answer("count_logs"))["count"]
            await anyio.to_thread.run_sync(sample_homes.log, home, range(3, 4))
        return found

    found = talk(make_server(settings_of(home)), work)
    assert [[3]] * 8 == [numbers(answer) for answer in found]
