"""Name the paths of a home; this module reads no file, so that importing the package is quick.

    <home>/                              HomeDir
      writer.key name.key name.state keeper.lock logs.list reserve reserve-files/ requests/ imported-logs/
      keys/periods/<subsystem>/<period>.* keys/pseudonyms/<subsystem>/<period>
      <subsystem>/                       SubsystemDir
        settings.json spool/ order archived/ acts/ quarantine/ beginning
        batches/ head shipped/           LogPaths of the current log; key-changes while the key is changed
        former/<n>-<8 hex>/              LogPaths of a log that has ended: the home was copied, the key was changed

`home.logs.LogDir` reads the files of a log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import disk

__all__ = ["HomeDir", "LogPaths", "SubsystemDir"]

_NAME: Final = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)  # of a subsystem
_FORMER: Final = re.compile(r"([0-9]{3,6})-[0-9a-f]{8}", re.ASCII)  # number and suffix of a log that has ended
_OURS: Final = ("spool", "settings.json", "head", "batches", "shipped", "archived", "acts", "former", "quarantine")
"""Names of which a subsystem's directory contains at least one; the most frequent comes first."""

_PARTS: Final = frozenset((*_OURS, "beginning", "key-changes", "order"))
"""All names that a subsystem's directory can have."""
_HARMLESS: Final = frozenset(
    (".DS_Store", ".gitignore", ".gitkeep", ".keep", "lost+found", "reserve", "reserve-files", "imported-logs", "keys")
)
"""Names that an otherwise empty directory may contain when it becomes a home."""


@dataclass(frozen=True, slots=True)
class LogPaths:
    """Name the files of one log: its batches, its head file, and one file for each store."""

    path: Path
    """Directory of the subsystem, or of a former log below it."""

    @property
    def batches(self) -> Path:
        """Directory of the sealed batches."""
        return self.path / "batches"

    @property
    def head(self) -> Path:
        """The head file: the newest head block and the consumed offsets."""
        return self.path / "head"

    @property
    def shipped(self) -> Path:
        """Directory of delivery states, one file for each store."""
        return self.path / "shipped"

    @property
    def key_changes(self) -> Path:
        """File of the key changes with which the log ended (`home/key_changes.py`)."""
        return self.path / "key-changes"

    @property
    def is_former(self) -> bool:
        """Whether the log has ended."""
        return self.path.parent.name == "former"

    @property
    def subsystem(self) -> str:
        """Name of the subsystem of the log."""
        return self.path.parent.parent.name if self.is_former else self.path.name


@dataclass(frozen=True, slots=True)
class SubsystemDir:
    """Name the files of one subsystem."""

    path: Path
    """`<home>/<subsystem>`."""

    @property
    def name(self) -> str:
        """Name of the subsystem."""
        return self.path.name

    @property
    def spool(self) -> Path:
        """Directory of segments."""
        return self.path / "spool"

    @property
    def order(self) -> Path:
        """File whose length is the number of segments that were ever made."""
        return self.path / "order"

    @property
    def archived(self) -> Path:
        """Directory of archives that wait for their batch."""
        return self.path / "archived"

    @property
    def acts(self) -> Path:
        """Directory of acts that wait for their batch."""
        return self.path / "acts"

    @property
    def quarantine(self) -> Path:
        """Directory of damaged bytes."""
        return self.path / "quarantine"

    @property
    def settings(self) -> Path:
        """File of batch policy and store addresses."""
        return self.path / "settings.json"

    @property
    def beginning(self) -> Path:
        """File that exists while the first batch of a log is sealed; then a batch 0 without a head is not damage."""
        return self.path / "beginning"

    @property
    def former(self) -> Path:
        """Directory of logs that have ended."""
        return self.path / "former"

    @property
    def current(self) -> LogPaths:
        """The current log."""
        return LogPaths(self.path)

    def former_log_dirs(self) -> list[LogPaths]:
        """List the logs that have ended, oldest first."""
        numbers = [(int(match[1]), name) for name in disk.names(self.former) if (match := _FORMER.fullmatch(name))]
        return [LogPaths(self.former / name) for _, name in sorted(numbers)]

    def next_former(self, log_suffix: str) -> LogPaths:
        """Name the directory for the current log when it ends.

        Args:
            log_suffix: the eight hex digits at the end of the log's name.
        """
        numbers = [int(match[1]) for name in disk.names(self.former) if (match := _FORMER.fullmatch(name))]
        return LogPaths(self.former / f"{max(numbers, default=-1) + 1:03}-{log_suffix}")

    def log_dirs(self) -> list[LogPaths]:
        """List all logs of the subsystem, oldest first, the current log last."""
        return [*self.former_log_dirs(), self.current]


@dataclass(frozen=True, slots=True)
class HomeDir:
    """Name the files of a home."""

    path: Path
    """Absolute path."""

    def __post_init__(self) -> None:
        disk.add_root(self.path)

    @property
    def key(self) -> Path:
        """File of the signing key."""
        return self.path / "writer.key"

    @property
    def name_key(self) -> Path:
        """File of the key of the IPNS name; made at the first publication."""
        return self.path / "name.key"

    @property
    def name_state(self) -> Path:
        """File with the newest home head, the sequence number of the name, and what was published."""
        return self.path / "name.state"

    @property
    def lock(self) -> Path:
        """File that the keeper holds locked."""
        return self.path / "keeper.lock"

    @property
    def log_list(self) -> Path:
        """Signed file with the names of all logs that this home has begun; no subsystem can have its name."""
        return self.path / "logs.list"

    @property
    def reserve(self) -> Path:
        """File whose space sealing may use when the disk is full."""
        return self.path / "reserve"

    @property
    def reserve_files(self) -> Path:
        """Directory of small files: inodes that sealing may use, and space for the counts of dropped records."""
        return self.path / "reserve-files"

    @property
    def imported(self) -> Path:
        """Directory of CAR files with logs of other homes; no subsystem can have its name."""
        return self.path / "imported-logs"

    @property
    def keys(self) -> Path:
        """Directory of keys that encrypt and erase; none of them is ever shipped. No subsystem can have its name."""
        return self.path / "keys"

    @property
    def pseudonym_keys(self) -> Path:
        """Directory of the keys of pseudonyms: below it a directory for each subsystem, and a file for each period."""
        return self.keys / "pseudonyms"

    @property
    def requests(self) -> Path:
        """Directory of requests from other processes to the keeper."""
        return self.path / "requests"

    def subsystem_dir(self, subsystem: str) -> SubsystemDir:
        """Name the directory of a registered subsystem, whether it exists or not."""
        return SubsystemDir(self.path / subsystem)

    def subsystem_dirs(self) -> list[SubsystemDir]:
        """List the directories of the home that contain a subsystem, sorted by name."""
        possible = [name for name in disk.names(self.path) if _NAME.fullmatch(name)]
        return [SubsystemDir(self.path / name) for name in sorted(possible) if self._is_subsystem(name)]

    def may_be_subsystem(self, name: str) -> bool:
        """Return whether a subsystem can have this name."""
        return _NAME.fullmatch(name) is not None and name not in {"keys", "requests", "reserve"}

    def make(self, *, sync: bool = False) -> None:
        """Make the directory of the home, or check that the existing one can be a home.

        Args:
            sync: sync the directory, so that it survives a power cut.

        Raises:
            HomeError: it belongs to another user, is a link or a file, or contains files of other programs.
            OSError: it cannot be made.
        """
        self.refuse_other_things()
        disk.ensure_directory(self.path, sync=sync)

    def refuse_other_things(self) -> None:
        """Refuse a directory with files of other programs, unless a keeper has worked there already.

        Raises:
            HomeError: the directory contains a file that no home has.
            OSError: the directory cannot be read.
        """
        names = set(disk.names(self.path))
        if {self.key.name, self.lock.name} & names:
            return
        other = next((name for name in sorted(names) if not self._may_be_ours(name)), None)
        if other is not None:
            raise HomeError(
                "the directory contains files of other programs",
                where=self.path,
                found=other,
                hint="Set home= or IPFS_LOGS_HOME to a directory that is only for the home.",
            )

    def _may_be_ours(self, name: str) -> bool:
        """Return whether a new home may contain this name; another process may be making the home at this moment."""
        if name in _HARMLESS or name.endswith(".tmp"):
            return True
        inside = disk.names(self.path / name) if disk.is_directory(self.path / name) else ["a file"]
        return _NAME.fullmatch(name) is not None and (
            name in ("keys", "requests") or {part for part in inside if not part.endswith(".tmp")} <= _PARTS
        )

    def _is_subsystem(self, name: str) -> bool:
        if not self.may_be_subsystem(name):
            return False
        try:
            return any(disk.exists(self.path / name / part) for part in _OURS)
        except OSError:
            return True  # listed, so that reading it gives the reason why it cannot be read
