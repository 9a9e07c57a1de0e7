"""`ipfs-logs query`: print the matching records, merged by time; with -f print new records, too."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ipfs_log_handlers.cli.common import Place, explain_empty, verb
from ipfs_log_handlers.cli.output import has_style, put_message, remark, several, size, width_of
from ipfs_log_handlers.cli.pager import paged
from ipfs_log_handlers.cli.query_options import Question, question_options
from ipfs_log_handlers.cli.records import FORMS, TextWriter, writer_of

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset, Match, Stats

__all__ = ["command", "follow", "output_options", "put_stats"]


def output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose how records are written to a command."""
    for option in (
        click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", help="Colours."),
        click.option("--fields", metavar="A,B", help="Only these fields; user.name is a member of user."),
    ):
        function = option(function)
    return function


@click.command("query")
@click.option("-n", "--lines", "--limit", "lines", type=click.IntRange(0), metavar="N", help="Only the last N matches.")
@click.option("-r", "--reverse", is_flag=True, help="The newest record first.")
@click.option(
    "-C", "--context", type=click.IntRange(0), default=0, metavar="N", help="Also N records before and after a match."
)
@click.option("-f", "--follow", "followed", is_flag=True, help="Then print each new record, until Ctrl-C.")
@click.option("--stats", "with_stats", is_flag=True, help="Print on stderr how much was read.")
@click.option("--no-pager", is_flag=True, help="Do not use a pager.")
@output_options
@functools.partial(verb, also=FORMS)
@question_options
def command(
    place: Place,
    question: Question,
    lines: int | None,
    reverse: bool,  # noqa: FBT001
    context: int,
    followed: bool,  # noqa: FBT001
    with_stats: bool,  # noqa: FBT001
    no_pager: bool,  # noqa: FBT001
    color: str,
    fields: str | None,
) -> int:
    """Print the records that match all options, merged over all subsystems in the order of time.

    TIME is 10m, 2h, today, yesterday, 09:30, 2026-03-02, RFC 3339, or seconds since 1970; a record matches if its time
    is --since or later, and before --until. RE is a regular expression. COND compares a field: = != > >= < <= and ~ for
    a regular expression; status=500 finds the number and the text. If an option is repeated, a record must match all of
    its values; with -L it must match one of them.

    Exit code 1 if no record matches, 3 if a batch or a part of the spool is damaged, 5 if a payload has left the home
    and no store has it, or a batch is encrypted and no identity opens it. Batches that could not be read are reported
    on stderr.
    """
    if followed:
        if reverse or context or with_stats:
            raise click.UsageError("-f does not end: leave out -r, -C and --stats")
        return follow(place, question, lines or 0, color=color, fields=fields)
    started = time.monotonic()
    from ipfs_log_handlers.api import Stats

    dataset, stats, shown = question.dataset(place).context(context), Stats(), 0
    if reverse:
        dataset = dataset.reverse()
    if lines is not None:
        dataset = dataset.limit(lines) if reverse else dataset.last(lines)
    with paged(wanted=place.output == "text" and not no_pager) as write:
        put, dataset = _writer(place, question, dataset, write, color=color, fields=fields)
        for match in dataset.matches(stats):
            put(match)
            shown += 1
    if with_stats:
        put_stats(stats, time.monotonic() - started, question.gaps.counts(), as_json=place.json)
    if not shown and not question.gaps:
        _explain_nothing(place, question)
    return question.code(shown)


def follow(place: Place, question: Question, lines: int, *, color: str, fields: str | None) -> int:
    """Print the newest matches, then each new match, until Ctrl-C."""
    dataset = question.dataset(place)
    following = dataset.follow(last=lines)
    put, _ = _writer(place, question, dataset, sys.stdout.buffer.write, color=color, fields=fields)
    while True:
        matches = following.poll()
        question.gaps.tell()
        for match in matches:
            put(match)
        if matches:
            sys.stdout.flush()
        else:
            following.wait()


def _writer(
    place: Place,
    question: Question,
    dataset: Dataset,
    write: Callable[[bytes], object],
    *,
    color: str,
    fields: str | None,
) -> tuple[Callable[[Match], None], Dataset]:
    """Return a function that writes one match, and the dataset with the chosen fields."""
    names = tuple(name for name in (fields or "").split(",") if name)
    if fields is not None and not names:
        raise click.UsageError("--fields is empty: name fields, such as --fields time,event")
    if names and place.output == "raw":
        raise click.UsageError("-o raw prints whole records: leave out --fields")
    if names:
        dataset = dataset.select(names)
    colours = color == "always" or (color == "auto" and has_style(sys.stdout))

    def text() -> TextWriter:
        return TextWriter(
            write,
            columns=width_of(sys.stdout),
            colours=colours,
            zone=question.zone,
            single=len(question.subsystems) == 1,
            found=question.patterns,
            fields=names,
        )

    put = writer_of(place.output, write, fields=names, text=text, on_terminal=width_of(sys.stdout) is not None)
    needs_record = place.output not in ("raw", "json") or bool(names)
    nothing: dict[str, Any] = {}

    def put_match(match: Match) -> None:
        put(match, dataset.selected(match.record) if needs_record else nothing)

    return put_match, dataset


def put_stats(stats: Stats, seconds: float, unopened: dict[str, dict[str, int]], *, as_json: bool) -> None:
    """Say on stderr what was read, as a sentence or as one JSON object.

    Args:
        stats: what was read.
        seconds: how long it took.
        unopened: batches and records that no identity opened (`GapList.counts`).
        as_json: write JSON.
    """
    if as_json:
        members = {**stats.as_json(), "seconds": round(seconds, 3), **unopened}
        put_message(json.dumps(members, separators=(",", ":")))
        return
    remark(
        f"{several(stats.matched, 'record')} of {stats.records} that were read, from {stats.opened} of "
        f"{several(stats.batches, 'batch')}, {size(stats.bytes)}, with {several(stats.pages, 'index page')} and "
        f"{several(stats.manifests, 'manifest')}, in {seconds:.2f} s"
    )


def _explain_nothing(place: Place, question: Question) -> None:
    if not question.chosen.sources and not place.home.subsystems:
        explain_empty(place.home)
    else:
        remark("no record matches")
