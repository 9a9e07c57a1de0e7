"""Open a home for its methods: its subsystems, their state, and their batches. No method here writes to the home."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir

if TYPE_CHECKING:  # imported by the methods that need it: `ipfs-logs status` loads no query engine
    from ipfs_log_handlers.keeper.addresses import Addresses
    from ipfs_log_handlers.monitoring.batch_detail import BatchDetail
    from ipfs_log_handlers.monitoring.batches import BatchInfo
    from ipfs_log_handlers.monitoring.imported_status import ImportedLogStatus
    from ipfs_log_handlers.monitoring.log_states import LogState
    from ipfs_log_handlers.monitoring.status import SubsystemStatus

__all__ = ["HomeListing"]


@dataclass(frozen=True, slots=True)
class HomeListing:
    """The methods of `Home` that list what it has."""

    path: Path
    """The directory."""

    @property
    def _dir(self) -> HomeDir:
        return HomeDir(self.path)

    @property
    def subsystems(self) -> tuple[str, ...]:
        """The subsystems that were logged to, in alphabetical order."""
        return tuple(subsystem_dir.name for subsystem_dir in self._dir.subsystem_dirs())

    def chosen(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """Return the names of subsystems without repeated ones; all of them for `None`.

        Raises:
            ConfigurationError: the home does not have one of them.
        """
        return tuple(subsystem_dir.name for subsystem_dir in self._chosen(names))

    def _addresses(self, stores: Sequence[str], pins: Sequence[str] = ()) -> Addresses:
        """Choose the stores and pin services; those of open handlers in this process count as the user's own."""
        from ipfs_log_handlers.keeper.addresses import addresses_of
        from ipfs_log_handlers.runtime.process import configured_pins, configured_stores

        return addresses_of(self._dir, stores, pins=pins, own={**configured_pins(), **configured_stores()})

    @property
    def imported_subsystems(self) -> tuple[str, ...]:
        """The subsystems of the logs of other homes that are here, in alphabetical order."""
        if not self._has_imported:
            return ()
        from ipfs_log_handlers.monitoring.imported_batches import imported_subsystems

        return imported_subsystems(self._dir)

    @property
    def _has_imported(self) -> bool:
        """Whether something was imported; if not, the modules that read it are not loaded."""
        return disk.exists(self._dir.imported)

    def _own(self, names: Sequence[str] | None) -> list[SubsystemDir]:
        """Return the directories as `_chosen`; names of subsystems of other homes are left out."""
        if names is None:
            return self._chosen(None)
        own = set(self.subsystems)
        others = set() if own.issuperset(names) else set(self.imported_subsystems) - own
        return self._chosen([name for name in names if name not in others])

    def _chosen(self, names: Sequence[str] | None) -> list[SubsystemDir]:
        """Return the directories of the named subsystems, in that order, without repeated ones."""
        subsystem_dirs = {subsystem_dir.name: subsystem_dir for subsystem_dir in self._dir.subsystem_dirs()}
        if names is None:
            return list(subsystem_dirs.values())
        unknown = [name for name in names if name not in subsystem_dirs]
        if unknown:
            known = ", ".join(subsystem_dirs) or "none"
            raise ConfigurationError(f"no subsystem {', '.join(map(repr, unknown))} in {self.path}; it has: {known}")
        return [subsystem_dirs[name] for name in dict.fromkeys(names)]

    # -- the content of the home

    def status(self, subsystems: Sequence[str] | None = None) -> tuple[SubsystemStatus, ...]:
        """Return counters and health of each subsystem that is logged to, in alphabetical order. No store is asked."""
        from ipfs_log_handlers.monitoring.status import status

        wanted = [subsystem_dir.name for subsystem_dir in self._own(subsystems)]
        return tuple(subsystem for subsystem in status(self.path) if subsystem.subsystem in wanted)

    def logs(self) -> tuple[LogState, ...]:
        """Return how far each log of this home has come: sealed, shipped, published. No store is asked."""
        from ipfs_log_handlers.monitoring.log_states import log_states

        return log_states(self._dir)

    def imported_logs(self, subsystems: Sequence[str] | None = None) -> tuple[ImportedLogStatus, ...]:
        """Return what is here of each log of another home, by subsystem and name. No source is asked.

        Args:
            subsystems: only these.

        Raises:
            OSError: the home cannot be read.
        """
        if not self._has_imported:
            return ()
        from ipfs_log_handlers.monitoring.imported_status import imported_logs

        return tuple(log for log in imported_logs(self._dir) if subsystems is None or log.subsystem in subsystems)

    def openmetrics(self, subsystems: Sequence[str] | None = None) -> str:
        """Return the status as OpenMetrics text for Prometheus, ended by `# EOF`."""
        from ipfs_log_handlers.monitoring.openmetrics import render

        return render([subsystem.as_json() for subsystem in self.status(subsystems)])

    def batches(
        self, subsystems: Sequence[str] | None = None, *, on_damage: Callable[[Exception], None] | None = None
    ) -> Iterator[BatchInfo]:
        """Yield the sealed batches, each log's oldest first; those of other homes, which have an origin, at the end.

        Args:
            subsystems: only these.
            on_damage: called with the error for each batch that cannot be read; then the listing continues. Without it,
                the error is raised.

        Raises:
            FormatError, FileNotFoundError: a batch is damaged or missing, and there is no `on_damage`.
        """
        from ipfs_log_handlers.monitoring.batches import batches_in

        report = on_damage or _raise
        own = batches_in(self._own(subsystems), report)
        if not self._has_imported:
            return own
        from ipfs_log_handlers.monitoring.imported_batches import imported_batches

        return chain(own, imported_batches(self._dir, subsystems, on_damage=report))

    def batch_lines(
        self, subsystems: Sequence[str] | None = None, *, on_damage: Callable[[Exception], None] | None = None
    ) -> Iterator[bytes]:
        """Yield the sealed batches as JSON lines with the keys of `BatchInfo`, as `ipfs-logs ls` prints them.

        Among very many batches this is several times as fast as `batches`. A chunk has one or more whole lines.

        Args:
            subsystems: only these.
            on_damage: as for `batches`.

        Raises:
            FormatError, FileNotFoundError: as for `batches`.
        """
        from ipfs_log_handlers.monitoring.batches import batch_lines_in

        report = on_damage or _raise
        own = batch_lines_in(self._own(subsystems), report)
        if not self._has_imported:
            return own
        from ipfs_log_handlers.monitoring.imported_batches import imported_batch_lines

        return chain(own, imported_batch_lines(self._dir, subsystems, on_damage=report))

    def batch_with_cid(self, cid: str) -> BatchDetail | None:
        """Find the batch whose manifest or payload has a CID, given in any usual form; `None` if there is none.

        A batch of another home has an `origin`, and must be signed by a key that this home trusts.

        Raises:
            FormatError: the text is not a CID, or the manifest cannot be read.
        """
        from ipfs_log_handlers.format.cid import Cid
        from ipfs_log_handlers.monitoring.batch_detail import batch_with_cid

        wanted = Cid.from_user(cid)
        found = batch_with_cid(self._dir.subsystem_dirs(), wanted)
        if found is not None or not self._has_imported:
            return found
        from ipfs_log_handlers.monitoring.imported_batches import imported_batch_with_cid

        return imported_batch_with_cid(self._dir, wanted)

    def batch_at(self, subsystem: str, index: int) -> BatchDetail | None:
        """Find the batch with a number in the newest log of a subsystem that has one; `None` when there is none.

        Where no log of this home has one, it is the batch of the only log of another home that has one.

        Raises:
            ConfigurationError: the home does not have the subsystem, or several logs of other homes have such a batch.
            FormatError: the manifest cannot be read.
        """
        from ipfs_log_handlers.monitoring.batch_detail import batch_at

        found = next((batch_at(subsystem_dir, index) for subsystem_dir in self._own([subsystem])), None)
        if found is not None or not self._has_imported:
            return found
        from ipfs_log_handlers.monitoring.imported_batches import imported_batch_at

        return imported_batch_at(self._dir, subsystem, index)


def _raise(error: Exception) -> None:
    raise error
