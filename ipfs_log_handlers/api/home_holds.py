"""Set, list and release legal holds of a home."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ipfs_log_handlers.api.home_reader import HomeReader
from ipfs_log_handlers.errors import ConfigurationError

if TYPE_CHECKING:  # imported by the methods that need it
    from ipfs_log_handlers.format.act import Act
    from ipfs_log_handlers.home.acts import Hold
    from ipfs_log_handlers.query.times import Moment

__all__ = ["HomeHolds"]


class HomeHolds(HomeReader):
    """The methods of `Home` about legal holds."""

    __slots__ = ()

    def holds(self, subsystems: Sequence[str] | None = None) -> tuple[Hold, ...]:
        """List the legal holds that stand, oldest first in each subsystem.

        Raises:
            FormatError: a batch with a hold or a release is damaged: then it is not known what is held.
        """
        from ipfs_log_handlers.home.acts import holds_of

        return tuple(hold for subsystem_dir in self._chosen(subsystems) for hold in holds_of(subsystem_dir))

    def set_hold(
        self,
        subsystem: str,
        *,
        reason: str,
        since: Moment | None = None,
        until: Moment | None = None,
        by: str | None = None,
    ) -> Hold:
        """Forbid to give up records of a subsystem, as a signed act in its log.

        While it stands, no payload with a record of this time leaves the home. Another process may be the keeper: it is
        asked to seal the act. The hold stands as soon as it is written down, also after a crash before it is sealed.

        Args:
            subsystem: its name.
            reason: why, at most 500 printable characters. It is a part of the log.
            since: only records of this time or later.
            until: only records of this time or earlier.
            by: who sets it; `None`: the user and the host of this process. It is a part of the log.

        Returns:
            The hold, with its place in the log.

        Raises:
            ConfigurationError: the home has no such subsystem, or a time or text is malformed.
            HomeError: the act is not in a batch yet, and the error says why; the hold stands all the same.
            OSError: the disk refuses, and there is no hold.
        """
        from ipfs_log_handlers.home import acts
        from ipfs_log_handlers.keeper.acts import record_act

        (subsystem_dir,) = self._chosen([subsystem])
        bounds = {"since": _micros(since), "until": _micros(until)}
        sealed = record_act(self._dir, subsystem, _drawn("hold", reason, by, **bounds))
        act = sealed.act
        return acts.Hold(
            subsystem=subsystem_dir.name, id=act.id, since=act.since, until=act.until, reason=act.reason, by=act.by,
            set=act.time, log=sealed.log, index=sealed.index,
        )  # fmt: skip

    def release_hold(
        self,
        subsystem: str,
        hold: str | None = None,
        *,
        reason: str,
        by: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
    ) -> tuple[Hold, ...]:
        """End a hold of a subsystem, as a signed act in its log. The hold stands until this act is in a batch.

        Args:
            subsystem: its name.
            hold: id of the hold, or the beginning of it; or its reason, or a part of that; `None`: the only one that
                stands.
            reason: why it ends.
            by: as for `set_hold`.
            since: only a hold with this bound.
            until: only a hold with this bound.

        Returns:
            The holds that still stand.

        Raises:
            ConfigurationError: the home has no such subsystem, no such hold stands there, or several do.
            HomeError: the act is not in a batch yet, and the error says why; until then the hold stands.
            FormatError, OSError: as for `holds`.
        """
        from ipfs_log_handlers.keeper.acts import record_act

        standing = self.holds([subsystem])
        wanted = [
            each
            for each in _named(standing, hold)
            if (since is None or each.since == _micros(since)) and (until is None or each.until == _micros(until))
        ]
        if len(wanted) != 1:
            known = "; ".join(f"{each.id} ({each.reason})" for each in standing) or "none"
            raise ConfigurationError(
                "not one hold that stands",
                where=subsystem,
                expected=f"id or reason of one of: {known}",
                found="no id" if hold is None else hold,
            )
        record_act(self._dir, subsystem, _drawn("release", reason, by, holds=(wanted[0].id,)))
        return self.holds([subsystem])


def _named(holds: Sequence[Hold], name: str | None) -> Sequence[Hold]:
    """Choose the holds with this id, or else with an id that begins so, or else with this reason or a part of it."""
    if name is None:
        return holds
    ways: tuple[Callable[[Hold], bool], ...] = (
        lambda hold: hold.id == name,
        lambda hold: bool(name) and hold.id.startswith(name),
        lambda hold: hold.reason.casefold() == name.casefold(),
        lambda hold: bool(name) and name.casefold() in hold.reason.casefold(),
    )
    for is_meant in ways:
        chosen = [hold for hold in holds if is_meant(hold)]
        if chosen:
            return chosen
    return ()


def _micros(moment: Moment | None) -> int | None:
    from ipfs_log_handlers.query.times import moment_of

    return None if moment is None else moment_of(moment, now=time.time())


def _drawn(kind: str, reason: str, by: str | None, **members: object) -> Act:
    """Draw an act of what a user gave."""
    from ipfs_log_handlers.errors import FormatError
    from ipfs_log_handlers.home.acts import draw

    try:
        return draw(kind, reason=reason, by=by, **members)
    except FormatError as error:
        raise ConfigurationError(error.message, expected=error.expected, found=error.found) from error
