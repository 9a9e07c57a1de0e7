"""`ipfs-logs cat`: print records, verified before they are printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from ipfs_log_handlers.api import Gap, Home, with_subsystem
from ipfs_log_handlers.cli.archived import choose, put
from ipfs_log_handlers.cli.common import (
    GapList,
    Place,
    Reader,
    explain_empty,
    identity_options,
    subsystems_argument,
    verb,
)
from ipfs_log_handlers.cli.output import complain, neutral, put_bytes, remark, safe_json, styled
from ipfs_log_handlers.cli.records import ENVELOPE, LEVEL_STYLES, plain, shown_value

__all__ = ["command"]


@click.command("cat")
@subsystems_argument
@click.option("--cid", metavar="CID", help="Only the batch with this manifest or payload.")
@click.option("--sealed", is_flag=True, help="Leave out records that are in no batch yet.")
@click.option("--archive", "name", metavar="NAME", help="Print the archived file NAME, not records.")
@click.option("--as-of", "when", metavar="WHEN", help="Version of the archive: VERSION, CID, or a time (UTC).")
@click.option("--path", default="", metavar="PATH", help="File in an archived directory.")
@click.option("--to", "target", metavar="PATH", type=click.Path(path_type=Path), help="Write the archive to PATH.")
@click.option("--fetch", is_flag=True, help="Also ask daemons whose address comes only from the home.")
@identity_options
@verb
def command(
    place: Place,
    reader: Reader,
    subsystems: tuple[str, ...],
    cid: str | None,
    sealed: bool,  # noqa: FBT001
    name: str | None,
    when: str | None,
    path: str,
    target: Path | None,
    fetch: bool,  # noqa: FBT001
) -> int:
    """Print records in log order, each batch verified first; then the records that are in no batch yet.

    Unreadable batches are reported on stderr; output continues after them. Exit code 5 when a payload has left the home
    and no store has it, or a batch is encrypted and no identity opens it, 3 when a batch or a part of the spool is
    damaged.

    Payloads that have left the home are fetched from the daemons in IPFS_LOGS_KUBO. A home may come from another
    person, so daemons whose address comes only from the home are asked only with --fetch, and without a token.

    --archive, or --cid with the CID of an archive, prints the bytes of an archived file, each block verified first.
    WHEN is a version such as 1.4, a CID, or a time such as 2026-03-02 or 2026-03-02T17:40. `ipfs-logs versions` lists
    names and versions.
    """
    home = place.home
    if name is None and when is not None:
        raise click.UsageError("--as-of chooses a version of an archive: also name the archive, with --archive NAME")
    if name is not None:
        _refuse_beside("--archive", {"SUBSYSTEM": subsystems, "--cid": cid, "--sealed": sealed})
    elif cid is not None:
        _refuse_beside("--cid", {"SUBSYSTEM": subsystems})
    archive = None if cid is None else home.archive_with_cid(cid, **reader._asdict())
    if name is not None:
        chosen = choose(home, name, when, reader)
        if isinstance(chosen, int):
            return chosen
        archive = chosen
    if archive is not None and place.json and place.output_was_given:
        raise click.UsageError("an archive is printed as plain bytes: leave out -o json")
    if archive is not None:
        return put(home, archive, path, target, reader, fetch=fetch)
    if path or target is not None:
        raise click.UsageError("--path and --to need an archive: name it with --archive NAME")
    return _print_records(place, home, subsystems, cid, reader, sealed_only=sealed, fetch=fetch)


def _print_records(
    place: Place,
    home: Home,
    subsystems: tuple[str, ...],
    cid: str | None,
    reader: Reader,
    *,
    sealed_only: bool,
    fetch: bool,
) -> int:
    names = _chosen(home, subsystems)
    gaps = GapList()
    shown = 0
    show = _put_json if place.json else _Terminal(single=len(names) == 1 or cid is not None).put
    lines = (
        _in_log_order(home, names, gaps.note, reader, sealed_only=sealed_only, fetch=fetch)
        if cid is None
        else _of_batch(home, cid, gaps.note, reader, fetch=fetch)
    )
    for subsystem, origin, line in lines:
        show(line, subsystem, origin)
        shown += 1
    if gaps:
        return gaps.code()
    if not shown and cid is None:
        _explain_nothing(home, names, sealed_only=sealed_only)
    return 0 if shown else 1


def _chosen(home: Home, subsystems: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of subsystems of this home, and of homes whose logs are here."""
    every = tuple(sorted({*home.subsystems, *home.imported_subsystems}))
    if not subsystems:
        return every
    home.chosen([name for name in subsystems if name not in every])
    return tuple(dict.fromkeys(subsystems))


def _refuse_beside(option: str, others: dict[str, object]) -> None:
    for other, given in others.items():
        if given:
            raise click.UsageError(f"{other} cannot be combined with {option}, which chooses one batch or archive")


def _explain_nothing(home: Home, names: tuple[str, ...], *, sealed_only: bool) -> None:
    """Explain on stderr why no record was shown."""
    if home.archives(subsystems=names):
        complain(
            "no record here, but archives: `ipfs-logs versions` lists them, `ipfs-logs cat --archive NAME` prints one"
        )
    elif not names:
        explain_empty(home)
    elif sealed_only:
        remark(f"no record of {', '.join(names)} in {home.path} is in a batch yet: leave out --sealed to see them")
    else:
        remark(f"no record of {', '.join(names)} in {home.path} yet")


_Line = tuple[str, str | None, bytes]
"""Subsystem, origin, and the JSON of a record."""


def _in_log_order(
    home: Home, names: tuple[str, ...], on_gap: Callable[[Gap], None], reader: Reader, *, sealed_only: bool, fetch: bool
) -> Iterator[_Line]:
    for name in names:
        for origin, line in home.lines(name, sealed_only=sealed_only, on_gap=on_gap, fetch=fetch, **reader._asdict()):
            yield name, origin, line


def _of_batch(home: Home, cid: str, on_gap: Callable[[Gap], None], reader: Reader, *, fetch: bool) -> Iterator[_Line]:
    with home.dataset(on_gap=on_gap, fetch=fetch, **reader._asdict()) as dataset:
        lines = dataset.batch(cid)
        if lines is None:
            complain(f"no batch in {home.path} has the CID {cid}")
            return
        for subsystem, line in lines:
            yield subsystem, None, line


def _put_json(line: bytes, subsystem: str, origin: str | None) -> None:
    put_bytes(safe_json(with_subsystem(line, subsystem, origin)) + b"\n")


class _Terminal:
    """Print a record as `time level logger event key=value…`, exception and stack indented below."""

    def __init__(self, *, single: bool) -> None:
        self._single = single

    def put(self, line: bytes, subsystem: str, origin: str | None) -> None:
        try:
            shown = self._shown(
                json.loads(line if origin is None else with_subsystem(line, subsystem, origin)), subsystem
            )
        except (ValueError, RecursionError, AttributeError):  # nested too deep, a number too long, or no object
            shown = safe_json(line)
        put_bytes(shown + b"\n")

    def _shown(self, record: dict[str, Any], subsystem: str) -> bytes:
        parts = [
            styled(plain(record.get("time")), fg="bright_black"),
            styled(f"{plain(record.get('level')):8}", fg=LEVEL_STYLES.get(str(record.get("level")))),
            *([] if self._single else [subsystem]),
            styled(plain(record.get("logger")), fg="cyan"),
            plain(record.get("event")),
            *(f"{neutral(key)}={shown_value(value)}" for key, value in record.items() if key not in ENVELOPE),
        ]
        text = " ".join(part for part in parts if part)
        for name in ("exception", "stack"):
            for text_line in str(record.get(name) or "").splitlines():
                text += f"\n    {neutral(text_line)}"
        return text.encode("utf-8", "backslashreplace")
