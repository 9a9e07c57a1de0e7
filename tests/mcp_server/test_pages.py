"""A cursor leads to the next record, also if records were sealed, or have the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import sample_homes
from tests.support.logging_home import OTHER, lines, put_segment, seal_home
from tests.support.mcp_clients import Asking, asking

AT = "2026-01-02T03:04:05.000000Z"


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_records_of_one_time_are_paged_also_while_they_are_sealed(home: Path, order: str) -> None:
    """Forty records of one microsecond, of two processes; a keeper seals them after the first page."""
    directory = sample_homes.subsystem_dir(home, "logs")
    put_segment(directory, lines(1, 20, pid=7))
    put_segment(directory, lines(1, 20, pid=8), writer=OTHER)

    async def work(ask: Asking) -> list[tuple[int, int]]:
        records: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = await ask.answer("get_logs", limit=15, order=order, cursor=cursor)
            records += [{**page.get("shared_by_all_records", {}), **record} for record in page["records"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return [(record["pid"], record["seq"]) for record in records]
            if len(records) == 15:
                seal_home(home)

    found = asking(home, work)
    assert sorted((pid, seq) for pid in (7, 8) for seq in range(1, 21)) == sorted(found)


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_page_has_room_for_a_cursor_that_names_many_records(home: Path, order: str) -> None:
    """1,500 records of one microsecond, a thousand of which fill an answer without its cursor: each comes once."""
    put_segment(sample_homes.subsystem_dir(home, "logs"), lines(1, 1500, at=AT, text="x" * 32))

    async def work(ask: Asking) -> list[dict[str, Any]]:
        return await ask.pages("get_logs", limit=1000, order=order, fields=["seq", "text"])

    assert list(range(1, 1501)) == sorted(record["seq"] for record in asking(home, work))


def test_a_cursor_of_the_other_order_is_refused(logs: Path) -> None:
    """It would leave out records without a word."""

    async def work(ask: Asking) -> str:
        page = await ask.answer("get_logs", limit=1)
        return await ask.refusal("get_logs", limit=1, order="oldest", cursor=page["next_cursor"])

    assert "use the same arguments for each page" in asking(logs, work)
