"""`ipfs-logs verify`: the whole chain of each log."""

from __future__ import annotations

from typing import Any

import click

from ipfs_log_handlers.cli.common import Place, chosen_rooms, subsystems_argument, verb
from ipfs_log_handlers.cli.output import bar, neutral, put_json, remark, several
from ipfs_log_handlers.format.checkpoint import VerifierKey
from ipfs_log_handlers.reading.verify import Report, verify

__all__ = ["command"]


@click.command("verify")
@subsystems_argument
@click.option(
    "--key", "texts", multiple=True, metavar="VKEY", help="Trust this verifier key instead of the home's own."
)
@verb
def command(place: Place, subsystems: tuple[str, ...], texts: tuple[str, ...]) -> int:
    """Check the whole chain of each log: signatures, hashes, order, counts.

    Exit code 0 only when every log is as it was signed, 3 when one is not, 1 when there is none. What was damaged
    before it was sealed is in no batch: it is counted (as JSON, quarantined), and no problem.
    """
    home = place.home
    names = [room.name for room in chosen_rooms(home, subsystems)]
    trusted = [VerifierKey.parse(text) for text in texts]
    reports: list[Report] = []
    with _Watcher() as watcher:
        for report in verify(home, names, trusted=trusted, progress=watcher.told):
            reports.append(report)
            if place.json:
                put_json(report.as_json())
            else:
                _print(report)
    if not reports:
        remark(f"no batch in {home.path} yet: nothing to verify")
    return 1 if not reports else 0 if all(report.ok for report in reports) else 3


class _Watcher:
    """A progress bar where somebody watches."""

    def __init__(self) -> None:
        self._bar = bar("verifying")
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Watcher:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def told(self, subsystem: str, done: int, total: int) -> None:
        if self._bar is not None:
            if subsystem not in self._tasks:
                self._tasks[subsystem] = self._bar.add_task(subsystem)
            self._bar.update(self._tasks[subsystem], completed=done, total=total)


def _print(report: Report) -> None:
    verdict = "ok" if report.ok else "NOT OK"
    absent = f", {several(report.absent, 'payload')} absent" if report.absent else ""
    about = f"{several(report.batches, 'batch')}, {several(report.records, 'record')}{absent}{_left_out(report)}"
    click.echo(neutral(f"{report.subsystem}: {verdict}: {about}: {report.log}"))
    for problem in report.problems:
        where = "log" if problem.batch is None else f"batch {problem.batch}"
        click.echo(neutral(f"  {where}: {problem.field}: expected {problem.expected}, found {problem.found}"))


def _left_out(report: Report) -> str:
    if not report.quarantined:
        return ""
    were = "was" if report.quarantined == 1 else "were"
    return f"; {several(report.quarantined, 'damaged piece')} {were} left out before sealing (quarantine/)"
