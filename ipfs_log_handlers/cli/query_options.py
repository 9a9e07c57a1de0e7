"""Share the options of the verbs that query a log: filters and the timezone, beside those of `source_options`."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ipfs_log_handlers.cli.common import GapList, Place, subsystems_argument
from ipfs_log_handlers.cli.source_options import SOURCE_OPTIONS, SourceChoice, source_options

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset

__all__ = ["Question", "local_zone", "question_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The filters, sources and timezone that the command line gives."""

    subsystems: tuple[str, ...]
    since: str | None
    until: str | None
    level: str | None
    loggers: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    fixed: bool
    where: tuple[str, ...]
    as_of: str | None
    utc: bool
    timezone: str | None
    chosen: SourceChoice
    """The sources."""
    gaps: GapList
    """The gaps that were met so far: records that could not be shown."""

    @property
    def zone(self) -> dt.tzinfo | None:
        """The timezone of times in output and options; `None`: the timezone of this machine.

        Raises:
            UsageError: the timezone does not exist.
        """
        return dt.timezone.utc if self.utc else local_zone(self.timezone)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The regular expressions of `-i`."""
        return tuple(map(re.escape, self.include)) if self.fixed else self.include

    def dataset(self, place: Place) -> Dataset:
        """Open the dataset; gaps are reported on stderr, and reading continues after them."""
        dataset = self.chosen.open(place, self.gaps.note)
        click.get_current_context().call_on_close(dataset.close)
        if self.as_of is not None:
            dataset = dataset.as_of(self.as_of, timezone=self.zone)
        return dataset.filter(
            since=self.since,
            until=self.until,
            level=self.level,
            logger=self.loggers or None,
            subsystem=self.subsystems or None,
            where=self.where or None,
            contains=self.include if self.fixed else None,  # faster than the same text as a regular expression
            include=None if self.fixed else self.include,
            exclude=tuple(map(re.escape, self.exclude)) if self.fixed else self.exclude,
            timezone=self.zone,
        )

    def code(self, shown: int) -> int:
        """Return the exit code: 3 for damage, 5 for other gaps, 0 if a record was shown, or 1 if none was."""
        if self.gaps and (code := self.gaps.code()):
            return code
        return 0 if shown else 1


def local_zone(name: str | None) -> dt.tzinfo | None:
    """Find a timezone by its name, such as Europe/Vienna; `None` for no name.

    Raises:
        UsageError: no timezone has this name.
    """
    if name is None:
        return None
    import zoneinfo

    if name.upper() == "UTC":
        return dt.timezone.utc
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise click.UsageError(f"there is no timezone {name!r}; write it as Europe/Vienna or UTC") from None


_OPTIONS = (
    subsystems_argument,
    click.option("-S", "--since", "--from", "since", metavar="TIME", help="Only records of TIME or later."),
    click.option("-U", "--until", "--to", "until", metavar="TIME", help="Only records before TIME."),
    click.option("-l", "--level", metavar="LEVEL", help="Only this level and above."),
    click.option(
        "-L", "--logger", "loggers", multiple=True, metavar="GLOB", help="Only these loggers; !GLOB: the others."
    ),
    click.option("-i", "--include", multiple=True, metavar="RE", help="Event, message or exception matches RE."),
    click.option("-e", "--exclude", multiple=True, metavar="RE", help="None of these matches RE."),
    click.option("-F", "--fixed-strings", "fixed", is_flag=True, help="-i and -e are plain text."),
    click.option("-w", "--where", multiple=True, metavar="COND", help="Compare: status=500, ms>20, user.name~^mi."),
    click.option("--as-of", metavar="HEAD|TIME", help="The log as it was: up to HEAD, or sealed by TIME."),
    *SOURCE_OPTIONS,
    click.option("--utc", is_flag=True, help="Write and read times in UTC."),
    click.option("--timezone", metavar="ZONE", help="Write and read times in ZONE; default: local."),
)
_NAMES = (
    "subsystems", "since", "until", "level", "loggers", "include", "exclude", "fixed", "where", "as_of", "utc",
    "timezone",
)  # fmt: skip


def question_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose records to a command, and pass it a `Question` after its `Place`."""

    @functools.wraps(function)
    def wrapped(place: Place, *, chosen: SourceChoice, **given: Any) -> Any:
        filters = {name: given.pop(name) for name in _NAMES}
        return function(place, Question(**filters, chosen=chosen, gaps=GapList()), **given)

    return source_options(wrapped, _OPTIONS)
