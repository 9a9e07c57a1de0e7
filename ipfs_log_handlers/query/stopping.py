"""Let another thread stop a reading, and ask for single records whether a filter takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from ipfs_log_handlers.query.filters import Filter
from ipfs_log_handlers.query.merge import Match, Matcher
from ipfs_log_handlers.query.plan import Stats

if TYPE_CHECKING:
    from ipfs_log_handlers.query.dataset import Dataset

__all__ = ["Stopping"]


class Stopping:
    """The methods of a dataset for programs that serve many readers at once."""

    _filter: Filter

    def stopped_by(self, check: Callable[[], None]) -> Dataset:
        """Call a function before each batch is read, as a deadline or a cancelled request needs it.

        Args:
            check: the function; what it raises ends the reading. Iterations, counts, `matches`, `record_at` and
                `records_with_seq` call it in their own thread, and so does `follow`. SQL in a child process has its own
                limits, and does not call it.
        """
        return replace(cast("Any", self), _check=check)  # type: ignore[no-any-return]

    def predicate(self) -> Callable[[Match], bool]:
        """Return a function that says whether this dataset would yield a record of another reading.

        It uses the filter alone, reads no file, and is for one thread.
        """
        matcher, subsystems = Matcher(self._filter, Stats()), self._filter.subsystems

        def takes(match: Match) -> bool:
            return (
                (subsystems is None or match.subsystem in subsystems)
                and matcher.is_in_time(match.line)
                and matcher.passes(match.line, match.subsystem, match.origin)
            )

        return takes
