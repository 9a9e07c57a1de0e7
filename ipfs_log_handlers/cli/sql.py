"""`ipfs-logs sql`: answer a query in SQL; without one, ask for queries at a prompt."""

from __future__ import annotations

import csv
import datetime as dt
import functools
import io
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import (
    Column,
    cell_width,
    neutral,
    put_bytes,
    put_json,
    put_line,
    remark,
    several,
    table,
    width_of,
)
from ipfs_log_handlers.cli.query import put_stats
from ipfs_log_handlers.cli.query_options import Question, question_options
from ipfs_log_handlers.cli.records import shown_value

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Plan, SqlAnswer, Stats

__all__ = ["command", "put_answer"]

_MIN_WIDTH: Final = 8
"""Characters to which a terminal may shorten a cell."""
_GAP: Final = 2
"""Characters between two cells."""


@click.command("sql")
@click.argument("query", required=False)
@click.option("--untrusted", is_flag=True, help="Another person wrote QUERY: run it in a limited process.")
@click.option("--explain", is_flag=True, help="Print which batches QUERY reads, and do not answer it.")
@click.option("--stats", "with_stats", is_flag=True, help="Print on stderr how much was read.")
@functools.partial(verb, also=("csv",))
@question_options
def command(
    place: Place,
    question: Question,
    query: str | None,
    untrusted: bool,  # noqa: FBT001
    explain: bool,  # noqa: FBT001
    with_stats: bool,  # noqa: FBT001
) -> int:
    """Answer QUERY, in the SQL of DuckDB, over the records that match the options.

    Each subsystem is a table, and logs_all has all of them. The columns are time, subsystem, level, logger, event, the
    fields of the records, exception, stack, pid and seq. The column fields has the values that fit into no column, as
    JSON. Only ORDER BY gives the rows an order. Days and hours are local, or those of --utc and --timezone.

    --explain lists the batches that QUERY has to read, and says on stderr why it skips the others.

    Without QUERY, a terminal shows a prompt with a history (.help explains it); otherwise the SQL comes from stdin.

    The query has your rights: it may read and write files. With --untrusted it runs in a process of its own, may only
    read the tables, and ends after 10 seconds or 1000 rows; days and hours are then those of UTC. This verb needs the
    extra query of the package.
    """
    from ipfs_log_handlers.api import Stats

    started = time.monotonic()
    stats = Stats()
    timezone = "UTC" if question.utc else question.timezone
    if explain:
        if query is None or untrusted:
            raise click.UsageError("--explain is for one query of your own: write QUERY after it, without --untrusted")
        return _explain(place, question, question.dataset(place).explain_sql(query, timezone=timezone))
    if untrusted:
        if query is None:
            raise click.UsageError("--untrusted answers one query: write QUERY after it")
        limited = question.dataset(place).sql_untrusted(query, stats=stats)
        if not limited.kernel_limits:
            remark("only DuckDB limited this query: the kernel of this system has neither Landlock nor seccomp for it")
        return _finish(place, question, limited, stats if with_stats else None, started)
    with question.dataset(place).sql_session(stats=stats, timezone=timezone) as session:
        if query is None and sys.stdin.isatty():
            from ipfs_log_handlers.cli import sql_prompt

            return sql_prompt.run(session, functools.partial(put_answer, output=place.output, zone=question.zone))
        answer = session.answer(sys.stdin.read() if query is None else query)
        return _finish(place, question, answer, stats if with_stats else None, started)


_PLANNED: Final = ("subsystem", "log", "index", "first", "last", "records", "bytes", "reason")
"""The columns of a plan."""


def _explain(place: Place, question: Question, plan: Plan) -> int:
    """Print the batches that are read, and on stderr why the others are not; return the exit code."""
    from ipfs_log_handlers.api import SqlAnswer

    rows = [[getattr(batch, name) for name in _PLANNED] for batch in plan.batches if batch.opened]
    moments = frozenset(number for number, name in enumerate(_PLANNED) if name in ("first", "last"))
    put_answer(SqlAnswer(_PLANNED, rows, moments), output=place.output, zone=question.zone)
    remark(str(plan))
    return question.code(1)


def _finish(place: Place, question: Question, answer: SqlAnswer | None, stats: Stats | None, started: float) -> int:
    """Print an answer, and what was read; return the exit code."""
    rows = put_answer(answer, output=place.output, zone=question.zone)
    if answer is not None and answer.truncated:
        remark(f"only the first {several(rows, 'row')}: there are more")
    if stats is not None:
        put_stats(stats, time.monotonic() - started, question.gaps.counts(), as_json=place.json)
    return question.code(rows or answer is None)


def put_answer(answer: SqlAnswer | None, *, output: str, zone: dt.tzinfo | None) -> int:
    """Print an answer; return the number of its rows.

    Args:
        answer: the answer; `None`: the statement had none.
        output: `text`, `json` or `csv`.
        zone: the timezone of times in text; `None`: that of this machine.
    """
    if answer is None:
        return 0
    if output == "json":
        for members in answer.as_objects():
            put_json(members)
    elif output == "csv":
        _put_csv(answer)
    elif answer.rows:
        _put_text([neutral(name) for name in answer.columns], _cells(answer, zone))
    if output == "text":
        remark(several(len(answer.rows), "row"))
    return len(answer.rows)


def _put_text(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows as a table; where the terminal is too narrow for one, print each value on a line of its own."""
    needed = [
        max(len(name), min(_MIN_WIDTH, max(map(cell_width, cells))))
        for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    ]
    available = width_of(sys.stdout)
    if available is None or sum(needed) + _GAP * (len(needed) - 1) <= available:
        table([Column(title=name, min_width=_MIN_WIDTH) for name in names], rows)
        return
    width = max(map(cell_width, names))
    for number, row in enumerate(rows, 1):
        put_line(f"row {number}")
        for name, value in zip(names, row, strict=True):
            if value:
                put_line(f"    {name:<{width}}  {value}")


def _cells(answer: SqlAnswer, zone: dt.tzinfo | None) -> list[list[str]]:
    def cell(number: int, value: Any) -> str:
        if value is None:
            return ""
        if number in answer.moments and isinstance(value, str):
            local = dt.datetime.fromisoformat(value.replace("Z", "+00:00")).astimezone(zone)
            return local.isoformat(sep=" ", timespec="milliseconds")[:23]
        return neutral(value).replace("\n", "\\n") if isinstance(value, str) else shown_value(value)

    return [[cell(number, value) for number, value in enumerate(row)] for row in answer.rows]


def _put_csv(answer: SqlAnswer) -> None:
    import json

    on_terminal = width_of(sys.stdout) is not None
    for row in (answer.columns, *answer.rows):
        text = io.StringIO()
        csv.writer(text).writerow(
            ["" if value is None else value if isinstance(value, str) else json.dumps(value) for value in row]
        )
        line = text.getvalue()
        put_bytes((neutral(line.rstrip("\r\n")) + "\n" if on_terminal else line).encode("utf-8", "backslashreplace"))
