"""Make the home of `reading.py`, and ask one question of it, or of its export with DuckDB, as a program of its own.

    python -m benchmarks.reading_questions NAME SCRATCH

It asks twice, and prints what the second time took as JSON.
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks import lines

__all__ = ["SUBSYSTEM", "WINDOW_RE", "Sample", "make"]

Sample = dict[str, float]
SUBSYSTEM: Final = "audit"
WINDOW_RE: Final = r'^\{"time":"2026-03-03T10:2[^"]*","level":"(error|critical)","logger":"app.backends"'
"""Finds the records of the window with ripgrep."""
_WINDOW: Final = ("2026-03-03T10:20:00.000000Z", "2026-03-03T10:30:00.000000Z")
_SIX_HOURS: Final = "2026-03-03T16:20:00.000000Z"
"""Six hours after the beginning of the window."""
_LEVELS: Final = """SELECT level, count(*) AS n FROM {table}
    WHERE time >= TIMESTAMPTZ '2026-03-03T00:00:00Z' AND time < TIMESTAMPTZ '2026-03-04T00:00:00Z' GROUP BY level"""
_LOGGERS: Final = "SELECT logger, count(*) AS n FROM {table} GROUP BY logger"
_NUMBERS: Final = "SELECT avg(duration_ms) AS mean, count(*) AS n FROM {table} WHERE duration_ms > 5"
_SEED: Final = 7
_SPAN_S: Final = 3 * 86_400.0
"""Seconds that the records span, however many they are."""


def make(scratch: Path, records: int, batches: int) -> None:
    """Log and seal the records into `home`, and export them to `all.jsonl` and `all.jsonl.zst`."""
    from ipfs_log_handlers import IPFSHandler, open_dataset, open_home

    home, size = scratch / "home", max(1, records // batches)
    handler = IPFSHandler(
        SUBSYSTEM, home=home, keeper="none", batch={"records": size, "seconds": 600.0, "bytes": 8 << 20}
    )
    mean = 0.0025  # seconds from one call of `lines` to the next
    for number, (now, call) in enumerate(lines.calls(records, _SEED), 1):
        record = lines.log_record(now, call)
        record.created = lines.BEGIN.timestamp() + (now - lines.BEGIN).total_seconds() * _SPAN_S / (records * mean)
        handler.handle(record)
        if number % (size * 5) == 0:
            open_home(home).ship(timeout=60)
    handler.close()
    open_home(home).ship(timeout=60)
    open_dataset(home).export(scratch / "all.jsonl")
    _choose(scratch)
    open_dataset(home).export(scratch / "all.jsonl.zst")


def _choose(scratch: Path) -> None:
    """Write down a user with some hundreds of records, and the id of one request in the middle."""
    from ipfs_log_handlers import open_dataset

    dataset = open_dataset(scratch / "home").filter(where={"user": re.compile(".")})
    users = dataset.top("user", 200)
    Path(scratch, "user").write_text(users[-1][0], encoding="utf-8")
    middle = open_dataset(scratch / "home").filter(since=_WINDOW[0], where={"request_id": re.compile(".")}).limit(1)
    Path(scratch, "request").write_text(next(iter(middle))["request_id"], encoding="utf-8")


def _dataset(scratch: str, **how: Any) -> Any:
    from ipfs_log_handlers import open_dataset

    return open_dataset(f"{scratch}/home", **how)


def window(scratch: str) -> Sample:
    """Ask for ten minutes with level and logger."""
    chosen = _dataset(scratch).filter(since=_WINDOW[0], until=_WINDOW[1], level="error", logger="app.backends")
    answer = iter(chosen)
    found = sum(1 for _ in answer)
    return {"found": found, "opened": answer.stats.opened, "batches": answer.stats.batches}


def newest(scratch: str) -> Sample:
    """Ask for the last 100 records."""
    return {"found": len(list(_dataset(scratch).last(100)))}


def _scan(scratch: str, where: Any, verify: str) -> Sample:
    answer = iter(_dataset(scratch, verify=verify).filter(where=where))
    found = sum(1 for _ in answer)
    return {"found": found, "opened": answer.stats.opened, "batches": answer.stats.batches}


def scan(scratch: str) -> Sample:
    """Ask for one user, which no zone map lists, with everything verified."""
    return _scan(scratch, {"user": _frequent_user(scratch)}, "batch")


def scan_off(scratch: str) -> Sample:
    """Ask the same without verification."""
    return _scan(scratch, {"user": _frequent_user(scratch)}, "off")


def slow(scratch: str) -> Sample:
    """Ask for numbers above another, verified."""
    return _scan(scratch, {"duration_ms": {">": 500}}, "batch")


def request(scratch: str) -> Sample:
    """Ask for one request id."""
    answer = iter(_dataset(scratch).filter(where={"request_id": _request_id(scratch)}))
    return {"found": sum(1 for _ in answer), "opened": answer.stats.opened, "batches": answer.stats.batches}


def sql_levels(scratch: str) -> Sample:
    """Ask SQL for the number of records of each level in a day."""
    return _sql(scratch, _LEVELS)


def sql_scan(scratch: str) -> Sample:
    """Ask SQL for the number of records of each logger, of all records."""
    return _sql(scratch, _LOGGERS)


def sql_numbers(scratch: str) -> Sample:
    """Ask SQL for a sum over a field that is no common column."""
    return _sql(scratch, _NUMBERS)


def _sql(scratch: str, query: str) -> Sample:
    rows = _dataset(scratch).sql(query.format(table=SUBSYSTEM)).to_pylist()
    return {"found": sum(row["n"] for row in rows)}


def arrow(scratch: str) -> Sample:
    """Make an Arrow table of all fields of six hours."""
    return {"found": _dataset(scratch).filter(since=_WINDOW[0], until=_SIX_HOURS).to_arrow().num_rows}


def duck_sql_levels(scratch: str) -> Sample:
    """Ask DuckDB the same, over `.jsonl.zst`."""
    return _duck_sql(scratch, _LEVELS, "{time: 'TIMESTAMPTZ', level: 'VARCHAR'}")


def duck_sql_scan(scratch: str) -> Sample:
    """Ask DuckDB the same, over `.jsonl.zst`."""
    return _duck_sql(scratch, _LOGGERS, "{logger: 'VARCHAR'}")


def duck_sql_numbers(scratch: str) -> Sample:
    """Ask DuckDB the same, over `.jsonl.zst`."""
    return _duck_sql(scratch, _NUMBERS, "{duration_ms: 'DOUBLE'}")


def _duck_sql(scratch: str, query: str, columns: str) -> Sample:
    import duckdb

    table = f"read_json('{scratch}/all.jsonl.zst', format = 'newline_delimited', columns = {columns})"
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        rows = connection.execute(query.format(table=table)).fetchall()
    return {"found": sum(row[-1] for row in rows)}


def duck_arrow(scratch: str) -> Sample:
    """Make an Arrow table of the same records with DuckDB, which finds out the columns itself."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        table = connection.sql(
            f"SELECT * FROM read_json('{scratch}/all.jsonl.zst', format = 'newline_delimited') "  # noqa: S608
            f"WHERE time >= TIMESTAMPTZ '{_WINDOW[0]}' AND time < TIMESTAMPTZ '{_SIX_HOURS}'"
        ).to_arrow_table()
    return {"found": table.num_rows}


def _frequent_user(scratch: str) -> str:
    return Path(scratch, "user").read_text(encoding="utf-8")


def _request_id(scratch: str) -> str:
    return Path(scratch, "request").read_text(encoding="utf-8")


def _duck(scratch: str, name: str, columns: str, where: str) -> Sample:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        rows = connection.execute(
            f"SELECT * FROM read_json('{scratch}/{name}', format = 'newline_delimited', columns = {columns}) "  # noqa: S608
            f"WHERE {where}"
        ).fetchall()
    return {"found": len(rows)}


def duck_window(scratch: str) -> Sample:
    """Ask DuckDB for the window, over raw JSON Lines."""
    columns = "{time: 'VARCHAR', level: 'VARCHAR', logger: 'VARCHAR', event: 'VARCHAR'}"
    times = f"time >= '{_WINDOW[0]}' AND time < '{_WINDOW[1]}'"
    return _duck(
        scratch, "all.jsonl", columns, f"{times} AND level IN ('error', 'critical') AND logger = 'app.backends'"
    )


def duck_scan(scratch: str) -> Sample:
    """Ask DuckDB for the user, over `.jsonl.zst`."""
    columns = "{time: 'VARCHAR', user: 'VARCHAR', event: 'VARCHAR'}"
    return _duck(scratch, "all.jsonl.zst", columns, f"\"user\" = '{_frequent_user(scratch)}'")


def duck_slow(scratch: str) -> Sample:
    """Ask DuckDB for the numbers, over `.jsonl.zst`."""
    return _duck(scratch, "all.jsonl.zst", "{time: 'VARCHAR', duration_ms: 'DOUBLE'}", "duration_ms > 500")


MEASURED: Final[dict[str, Callable[[str], Sample]]] = {
    function.__name__: function
    for function in (
        window, newest, scan, scan_off, slow, request, duck_window, duck_scan, duck_slow,
        sql_levels, sql_scan, sql_numbers, arrow, duck_sql_levels, duck_sql_scan, duck_sql_numbers, duck_arrow,
    )
}  # fmt: skip


def main() -> None:
    """Ask a question twice; print what the second time took."""
    name, scratch = sys.argv[1:]
    ask = MEASURED[name]
    ask(scratch)
    began, cpu = time.perf_counter(), time.process_time()
    sample = ask(scratch)
    sample["s"], sample["cpu"] = time.perf_counter() - began, time.process_time() - cpu
    sample["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(sample))


if __name__ == "__main__":
    main()
