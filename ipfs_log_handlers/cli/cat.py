"""`ipfs-logs cat`: the records, verified before they are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from ipfs_log_handlers.cli.archived import chosen, put
from ipfs_log_handlers.cli.common import Place, chosen_rooms, subsystems_argument, verb
from ipfs_log_handlers.cli.output import complain, neutral, put_bytes, remark, safe_json
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.reading.archives import find, versions
from ipfs_log_handlers.reading.dataset import Dataset, Gap, with_subsystem

__all__ = ["command"]

_ENVELOPE: Final = frozenset({"time", "level", "logger", "event", "exception", "stack", "pid", "seq", "subsystem"})
_COLOURS: Final = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "bright_red"}


@click.command("cat")
@subsystems_argument
@click.option("--cid", metavar="CID", help="Only the batch with this manifest or payload.")
@click.option("--sealed", is_flag=True, help="Leave out what is not in a batch yet.")
@click.option("--archive", "name", metavar="NAME", help="The bytes of what was archived as NAME, not records.")
@click.option("--as-of", "when", metavar="WHEN", help="Its version: VERSION, CID, or newest at a time (UTC).")
@click.option("--path", default="", metavar="PATH", help="A file in it, when it is a directory.")
@click.option("--to", "target", metavar="PATH", type=click.Path(path_type=Path), help="Write it there, not to stdout.")
@verb
def command(
    place: Place,
    subsystems: tuple[str, ...],
    cid: str | None,
    sealed: bool,  # noqa: FBT001
    name: str | None,
    when: str | None,
    path: str,
    target: Path | None,
) -> int:
    """Records in log order, verified before they are printed; then those still in the spool.

    What cannot be shown is told on stderr, and what is behind it goes on: exit code 5 when a batch has left the home
    and no store gave it, 3 when a batch, or bytes of the spool, are damaged.

    With --archive, or the --cid of an archive, the bytes of an archived file, each block verified before it is
    printed; WHEN is 1.4, bafy…, 2026-03-02 or 2026-03-02T17:40. `ipfs-logs log` lists names and versions.
    """
    home = place.home
    if name is None and when is not None:
        raise click.UsageError("--as-of is the version of an archive: name it with --archive NAME")
    if name is not None:
        _refuse_beside("--archive", {"SUBSYSTEM": subsystems, "--cid": cid, "--sealed": sealed})
    elif cid is not None:
        _refuse_beside("--cid", {"SUBSYSTEM": subsystems})
    archive = chosen(home, name, when) if name is not None else None if cid is None else find(home, Cid.from_user(cid))
    if (archive is not None or name is not None) and place.json and place.asked:
        raise click.UsageError("an archive is printed as the bytes that it is: leave out -o json")
    if archive is not None:
        return put(archive, path, target)
    if name is not None:
        return 1
    if path or target is not None:
        raise click.UsageError("--path and --to are for archives: name one with --archive NAME")
    names = [room.name for room in chosen_rooms(home, subsystems)]
    gaps: list[Gap] = []

    def on_gap(gap: Gap) -> None:
        gaps.append(gap)
        complain(str(gap))

    shown = 0
    with Dataset(home, on_gap) as dataset:
        show = _put_json if place.json else _Terminal(single=len(names) == 1 or cid is not None).put
        for subsystem, line in _lines(home, dataset, names, cid, sealed_only=sealed):
            show(line, subsystem)
            shown += 1
    if gaps:
        return 3 if any(gap.kind == "damaged" for gap in gaps) else 5
    if not shown and cid is None:
        _tell_nothing(home, names, sealed_only=sealed)
    return 0 if shown else 1


def _refuse_beside(option: str, others: dict[str, object]) -> None:
    for other, given in others.items():
        if given:
            raise click.UsageError(f"{other} does not go with {option}, which names one thing of all subsystems")


def _tell_nothing(home: Home, names: list[str], *, sealed_only: bool) -> None:
    """Say why no record was shown."""
    if versions(home, names):
        complain("no record here, but archives: `ipfs-logs log` lists them, `ipfs-logs cat --archive NAME` reads one")
    elif not names:
        remark(f"nothing is logged in {home.path} yet")
    elif sealed_only:
        remark(
            f"no record of {', '.join(names)} in {home.path} is in a batch yet: leave out --sealed to see what waits"
        )
    else:
        remark(f"no record of {', '.join(names)} in {home.path} yet")


def _lines(
    home: Home, dataset: Dataset, names: list[str], cid: str | None, *, sealed_only: bool
) -> Iterator[tuple[str, bytes]]:
    if cid is None:
        for name in names:
            for line in dataset.lines(name, sealed_only=sealed_only):
                yield name, line
        return
    found = dataset.batch(Cid.from_user(cid))
    if found is None:
        complain(f"no batch in {home.path} has the CID {cid}")
        return
    yield from found


def _put_json(line: bytes, subsystem: str) -> None:
    put_bytes(safe_json(with_subsystem(line, subsystem)) + b"\n")


class _Terminal:
    """Prints a record as `time level logger event key=value…`, exception and stack indented below."""

    def __init__(self, *, single: bool) -> None:
        self._single = single
        self._colours = sys.stdout.isatty()

    def put(self, line: bytes, subsystem: str) -> None:
        try:
            shown = self._shown(json.loads(line), subsystem)
        except (ValueError, RecursionError, AttributeError):  # nested too deep, a number too long, no object
            shown = safe_json(line)
        put_bytes(shown + b"\n")

    def _shown(self, record: dict[str, Any], subsystem: str) -> bytes:
        parts = [
            self._styled(_plain(record.get("time")), "bright_black"),
            self._styled(f"{_plain(record.get('level')):8}", _COLOURS.get(str(record.get("level")))),
            *([] if self._single else [subsystem]),
            self._styled(_plain(record.get("logger")), "cyan"),
            _plain(record.get("event")),
            *(f"{neutral(key)}={_value(value)}" for key, value in record.items() if key not in _ENVELOPE),
        ]
        text = " ".join(part for part in parts if part)
        for name in ("exception", "stack"):
            for below in str(record.get(name) or "").splitlines():
                text += f"\n    {neutral(below)}"
        return text.encode("utf-8", "backslashreplace")

    def _styled(self, text: str, colour: str | None) -> str:
        return click.style(text, fg=colour) if self._colours and colour else text


def _plain(value: Any) -> str:
    return neutral(value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False))


def _value(value: Any) -> str:
    if isinstance(value, str) and value and not set(value) & set(' "=\\'):
        return neutral(value)
    return neutral(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
