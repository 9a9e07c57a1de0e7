"""`ipfs-logs export`: write the matching records to a file, or whole logs to a CAR file or as tiles."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Final

import click

from ipfs_log_handlers.cli.bar import Bar
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import put_json, put_line, remark, several, size
from ipfs_log_handlers.cli.query_options import Question, question_options

__all__ = ["command"]


_OPTIONS_OF_RECORDS: Final = {
    "level": "--level", "loggers": "--logger", "include": "--include", "exclude": "--exclude", "where": "--where",
    "as_of": "--as-of", "chosen.sources": "--source", "chosen.gateway": "--gateway", "chosen.keys": "--key",
}  # fmt: skip
"""The options that a file of whole batches cannot obey."""


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--fields", metavar="A,B", help="Only these fields; user.name is a member of user.")
@click.option("--tiles", is_flag=True, help="Write the tiles of a C2SP transparency log into the directory FILE.")
@verb
@question_options
def command(place: Place, question: Question, file: Path, fields: str | None, tiles: bool) -> int:  # noqa: FBT001
    """Write the matching records to FILE. Its ending chooses the form: .jsonl, .jsonl.zst, .csv, .parquet or .arrow.

    With the ending .car, FILE gets whole logs, or with --since and --until a run of whole batches, for `ipfs dag
    import` and --source; a payload that has left the home is fetched from IPFS_LOGS_KUBO, or with --kubo from there.

    FILE gets its name when it is complete and on the disk; an older file of this name is replaced. If batches are
    damaged or missing, all other records are written, and the exit code is 3 or 5; a CAR is then not written.
    """
    if tiles:
        return _export_tiles(place, question, file, fields)
    if file.is_dir():
        raise click.UsageError(f"{file} is a directory: name a file in it, or give --tiles")
    if file.name.lower().endswith(".car"):
        return _export_car(place, question, file, fields)
    dataset = question.dataset(place)
    if fields is not None:
        dataset = dataset.select([name for name in fields.split(",") if name])
    with Bar("exporting") as shown:
        count = dataset.export(file, progress=lambda done: shown.update(done, None))
    length = file.stat().st_size
    if place.json:
        put_json({"file": str(file), "records": count, "size": length})
    else:
        put_line(f"{file}: {several(count, 'record')}, {size(length)}")
    if not count and not question.gaps:
        remark("no record matches: the file is empty")
    return question.code(count)


def _export_car(place: Place, question: Question, file: Path, fields: str | None) -> int:
    """Write whole batches to a CAR file."""
    _refuse_other_options(question, fields, "a CAR file has whole batches")
    home = place.home
    with Bar("exporting") as bar:
        made = home.export_car(
            file,
            question.subsystems or None,
            since=question.since,
            until=question.until,
            timezone=question.zone,
            stores=() if question.chosen.kubo is None else (question.chosen.kubo,),
            fetch=question.chosen.fetch,
            progress=lambda subsystem, done, total: bar.update(done, total, subsystem),
        )
    if not made.logs:
        remark("no batch has a record of this time: no file was written" if question.since else "there is no batch")
        return 1
    if place.json:
        put_json(made.as_json())
        return 0
    for log in made.logs:
        begin = "" if log.first == 0 else f" from batch {log.first} on"
        pruned = f", {several(log.pruned, 'payload')} pruned" if log.pruned else ""
        put_line(f"{log.subsystem}: {several(log.batches, 'batch')}{begin}{pruned}")
        put_line(f"  {log.cid}")
    put_line(f"{file}: {several(made.blocks, 'block')}, {size(made.size)}")
    return 0


def _export_tiles(place: Place, question: Question, directory: Path, fields: str | None) -> int:
    """Write the tiles of logs into a directory."""
    _refuse_other_options(question, fields, "tiles are of a whole log", since="--since", until="--until")
    home = place.home
    count = 0
    with Bar("reading") as bar:
        for made in home.export_tiles(
            directory,
            question.subsystems or None,
            progress=lambda subsystem, done, total: bar.update(done, total, subsystem),
        ):
            count += 1
            with bar.paused():
                if place.json:
                    put_json(made.as_json())
                else:
                    put_line(f"{made.subsystem}: {several(made.batches, 'batch')}, {made.new_files} new files")
                    put_line(f"  {made.directory}")
    if not count:
        remark("there is no batch")
    return 0 if count else 1


def _refuse_other_options(question: Question, fields: str | None, why: str, **more: str) -> None:
    given = [option for name, option in {**_OPTIONS_OF_RECORDS, **more}.items() if attrgetter(name)(question)]
    if fields is not None:
        given.append("--fields")
    if given:
        raise click.UsageError(f"{why}: leave out {', '.join(given)}")
