"""`ipfs-logs tail`: print the newest records, then each new record."""

from __future__ import annotations

import functools

import click

from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.query import follow, output_options
from ipfs_log_handlers.cli.query_options import Question, question_options
from ipfs_log_handlers.cli.records import FORMS

__all__ = ["command"]


@click.command("tail")
@click.option(
    "-n", "--lines", type=click.IntRange(0), default=10, metavar="N", help="Begin with the last N records; default: 10."
)
@output_options
@functools.partial(verb, also=FORMS)
@question_options
def command(place: Place, question: Question, lines: int, color: str, fields: str | None) -> int:
    """Print the newest matching records, then each new matching record, until Ctrl-C.

    This is the same as `ipfs-logs query -f -n 10`, with the same options. Each record is printed once, also when the
    keeper seals it, a program starts again, or a new subsystem begins.
    """
    return follow(place, question, lines, color=color, fields=fields)
