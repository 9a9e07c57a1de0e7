"""`ipfs-logs hist`: count records over time, as bars."""

from __future__ import annotations

import datetime as dt
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import cell_width, neutral, put_json, put_line, remark, shortened, styled, width_of
from ipfs_log_handlers.cli.query_options import Question, question_options
from ipfs_log_handlers.cli.records import LEVEL_STYLES

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Bucket

__all__ = ["command"]

_MAX_ROWS: Final = 40
"""Largest number of rows, if `--span` is not given."""
_MAX_EMPTY_ROWS: Final = 5
"""Largest number of empty rows that are shown one by one; more empty rows become one line."""
_BAR: Final = 40
"""Characters of the longest bar, if the terminal is wide enough."""
_TIME_WIDTH: Final = 19
"""Characters of a time."""


@click.command("hist")
@click.option("--span", metavar="SPAN", help="Time span of a row, such as 1m or 1h; default: about 40 rows.")
@click.option("--by", metavar="FIELD", default="level", help="Count by this field; default: level.")
@verb
@question_options
def command(place: Place, question: Question, span: str | None, by: str) -> int:
    """Count the matching records over time, and show each count as a bar.

    Rows begin at multiples of the span since 1970, in UTC. With -o json: one object for each row that has records, with
    time, count, and counts by the field.
    """
    dataset = question.dataset(place)
    seconds = dataset.explain().fitting_span(_MAX_ROWS) if span is None else 0
    buckets = dataset.histogram(span or seconds, by=by)
    if place.json:
        for bucket in buckets:
            put_json(bucket.as_json())
    elif buckets:
        _print(buckets, question.zone, seconds or _least_step(buckets))
    if not buckets and not question.gaps:
        remark("no record matches")
    return question.code(sum(bucket.count for bucket in buckets))


def _moment(time: str) -> float:
    return dt.datetime.fromisoformat(f"{time[:-1]}+00:00").timestamp()


def _least_step(buckets: Sequence[Bucket]) -> float:
    """Return the seconds between the two buckets that are nearest to each other; 0 for a single one."""
    moments = [_moment(bucket.time) for bucket in buckets]
    return min((after - before for before, after in itertools.pairwise(moments)), default=0)


def _print(buckets: Sequence[Bucket], zone: dt.tzinfo | None, step: float) -> None:
    most = max(bucket.count for bucket in buckets)
    digits = len(str(most))
    counts = {bucket.time: _counts(bucket) for bucket in buckets}
    columns = width_of(sys.stdout)
    room, rest = _BAR, None
    if columns is not None:
        spare = columns - _TIME_WIDTH - digits - 6
        room = max(1, min(_BAR, spare - max(map(cell_width, counts.values())), spare // 2))
        rest = spare - room
    last: float | None = None
    for bucket in buckets:
        moment = _moment(bucket.time)
        for row in _empty_rows(last, moment, step, zone):
            put_line(row)
        last = moment
        shown = counts[bucket.time] if rest is None else shortened(counts[bucket.time], rest)
        text = f"{_time(moment, zone)}  {bucket.count:>{digits}}  {_bar(bucket, most, room)}  {shown}"
        sys.stdout.write(f"{text.rstrip()}\n")


def _empty_rows(last: float | None, due: float, step: float, zone: dt.tzinfo | None) -> Iterator[str]:
    """Yield the empty rows before a moment."""
    if last is None or not step:
        return
    missing = round((due - last) / step) - 1
    if missing > _MAX_EMPTY_ROWS:
        yield f"{_time(last + step, zone)}  no record in {missing} rows"
        return
    for row in range(1, missing + 1):
        yield f"{_time(last + row * step, zone)}  0"


def _time(moment: float, zone: dt.tzinfo | None) -> str:
    return dt.datetime.fromtimestamp(moment, dt.timezone.utc).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _bar(bucket: Bucket, most: int, room: int) -> str:
    """Return a bar whose parts have the colours of their levels."""
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    total = max(1, round(bucket.count * room / most))
    parts, used, done = [], 0, 0
    for name, count in bucket.counts.items():
        done += count
        end = round(done * total / bucket.count)
        parts.append(styled(block * (end - used), fg=LEVEL_STYLES.get(name)))
        used = end
    return "".join(parts)


def _counts(bucket: Bucket) -> str:
    """Return the counts of a bucket by the field, as text."""
    return " ".join(f"{neutral(name) or '-'}={count}" for name, count in bucket.counts.items())
