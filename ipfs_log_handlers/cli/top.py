"""`ipfs-logs top`: print the most frequent values of a field."""

from __future__ import annotations

import click

from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import Column, put_json, remark, table
from ipfs_log_handlers.cli.query_options import Question, question_options
from ipfs_log_handlers.cli.records import shown_value

__all__ = ["command"]

_COLUMNS = (Column(title="COUNT", right=True), Column(title="VALUE", min_width=10))


@click.command("top")
@click.argument("field")
@click.option("-n", "--lines", type=click.IntRange(1), default=10, metavar="N", help="Number of values; default: 10.")
@verb
@question_options
def command(place: Place, question: Question, field: str, lines: int) -> int:
    """Print the most frequent values of FIELD in the matching records, each with its count.

    A dot names a member of an object: user.name. With -o json: one object for each value, with value and count.
    """
    counted = question.dataset(place).top(field, lines)
    if place.json:
        for value, count in counted:
            put_json({"value": value, "count": count})
    elif counted:
        table(_COLUMNS, [(str(count), shown_value(value)) for value, count in counted])
    if not counted and not question.gaps:
        remark(f"no matching record has a field {field}")
    return question.code(len(counted))
