"""Plan and apply the retention of a home: which payloads are given up everywhere."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ipfs_log_handlers.api.home_holds import HomeHolds
from ipfs_log_handlers.errors import ConfigurationError

if TYPE_CHECKING:  # imported by the methods that need it
    from ipfs_log_handlers.keeper.prune_now import PruneResult
    from ipfs_log_handlers.keeper.prune_plan import PlannedBatches

__all__ = ["HomeRetention"]


class HomeRetention(HomeHolds):
    """The methods of `Home` about retention."""

    __slots__ = ()

    def plan_retention(
        self,
        subsystems: Sequence[str] | None = None,
        *,
        keep: str | None = None,
        stores: Sequence[str] = (),
        token: str | None = None,
    ) -> tuple[PlannedBatches, ...]:
        """Say which payloads `apply_retention` would give up now, which stay, and why. Nothing is changed.

        Stores are asked only whether a snapshot of a log is still pinned there; one that does not answer may have it.

        Args:
            subsystems: names; `None`: all that have a rule, or all if `keep` is given.
            keep: an age such as `400d` in place of the setting `retention` of each subsystem.
            stores: addresses to ask in place of those that `ship` would use.
            token: credential of the stores that are named here, else of those in `IPFS_LOGS_KUBO`.

        Raises:
            ConfigurationError: the home has no such subsystem, a named one has no rule, or an argument is malformed.
            FormatError: a batch with an act is damaged: it is not known what is held.
        """
        from ipfs_log_handlers.keeper.prune_now import plan_now

        chosen = self._addresses(stores)
        rules = self._rules(subsystems, keep)
        credentials = chosen.credentials(token)
        return tuple(plan_now(self._dir, rules, chosen.all, credentials, now=int(time.time() * 1e6)))

    def apply_retention(
        self,
        subsystems: Sequence[str] | None = None,
        *,
        keep: str | None = None,
        reason: str | None = None,
        by: str | None = None,
        stores: Sequence[str] = (),
        token: str | None = None,
        pins: Sequence[str] = (),
        pins_token: str | None = None,
    ) -> tuple[PruneResult, ...]:
        """Give up the payloads of the plan: seal acts that name them, unpin them at every store, delete them here.

        Manifests stay, here and at the stores. If another process is the keeper, it seals the acts and carries them
        out. After a crash, call this again: acts that are sealed are carried out to their end.

        Args:
            subsystems: as for `plan_retention`.
            keep: as for `plan_retention`.
            reason: the reason in the acts; `None`: the age. It is a part of the log.
            by: who asks for it; `None`: the user and the host of this process. It is a part of the log.
            stores: addresses of stores in place of those that `ship` would use.
            token: as for `plan_retention`.
            pins: addresses of pin services in place of those that `ship` would use.
            pins_token: credential of the clusters that are named here, else of those in `IPFS_LOGS_PINS`.

        Returns:
            A result for each subsystem; `left` says what is not done, and why.

        Raises:
            ConfigurationError, FormatError: as `plan_retention`.
            HomeError: an act is not in a batch yet, and the error says why; the next keeper seals it.
            OSError: the disk refuses; call this again.
        """
        from ipfs_log_handlers.keeper.prune_now import prune_now

        chosen = self._addresses(stores, pins)
        return tuple(
            prune_now(
                self._dir,
                self._rules(subsystems, keep),
                chosen.all,
                chosen.pins,
                chosen.credentials(token, pins_token),
                now=functools.partial(_micros_now),
                reason=reason,
                by=by,
            )
        )

    def _rules(self, subsystems: Sequence[str] | None, keep: str | None) -> dict[str, float]:
        """Return the days for which each chosen subsystem is kept."""
        from ipfs_log_handlers.config.retention import days_of
        from ipfs_log_handlers.home.logs import policy_of

        given = None if keep is None else days_of(keep, "keep")
        rules: dict[str, float] = {}
        for subsystem_dir in self._chosen(subsystems):
            rule = policy_of(subsystem_dir).retention
            if given is not None or rule is not None:
                rules[subsystem_dir.name] = given if given is not None else rule.days  # type: ignore[union-attr]
            elif subsystems is not None:
                raise ConfigurationError(
                    f"{subsystem_dir.name} has no retention rule",
                    hint="Set retention={'keep': '400d', 'then': 'prune'} on its handler, or give --keep.",
                )
        return rules


def _micros_now() -> int:
    return int(time.time() * 1e6)
