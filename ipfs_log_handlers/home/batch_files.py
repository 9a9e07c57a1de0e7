"""Find the files of batches and measure their size; batch_reader.py reads their content."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfs_log_handlers.home import disk

__all__ = ["A_DIRECTORY", "BatchFiles"]

_FILE: Final = re.compile(r"([0-9]{6}|[1-9][0-9]{6,})(\.payload)?\.car", re.ASCII)
"""Name of a batch file or of an archive's blocks; a number of more than six digits has no zero in front."""
_PACK: Final = re.compile(r"pack-(0|[1-9][0-9]{0,5})\.car", re.ASCII)
"""Name of a pack: its number in its directory."""
A_DIRECTORY: Final = 1000
"""Batches in a directory."""
_MAX_LOST_DIRECTORIES: Final = 10
"""Directories that damage may have destroyed. A batch number that needs more is refused, to bound the work."""


@dataclass(frozen=True, slots=True)
class BatchFiles:
    """The directory of one log's batches, without the content of its files."""

    path: Path
    """`<home>/<subsystem>/batches`."""

    def directory(self, index: int) -> Path:
        """Return the path of the directory of a batch."""
        return self.path / f"{index // A_DIRECTORY:03}"

    def file(self, index: int) -> Path:
        """Return the path of a batch's own file; the file need not exist."""
        return self.directory(index) / f"{index:06}.car"

    def payload_file(self, index: int) -> Path:
        """Return the path of the file with an archive's blocks; the file need not exist."""
        return self.file(index).with_suffix(".payload.car")

    def pack_file(self, index: int, pack: int) -> Path:
        """Return the path of a pack.

        Args:
            index: number of any batch in the pack.
            pack: number of the pack in its directory.
        """
        return self.directory(index) / f"pack-{pack}.car"

    def packs(self, directory: str) -> list[int]:
        """List the numbers of the packs in a directory."""
        matches = (_PACK.fullmatch(name) for name in disk.names(self.path / directory))
        return sorted(int(match[1]) for match in matches if match)

    def own_files(self) -> list[int]:
        """List the batches that have a file of their own, in order, independent of the head."""
        return sorted(number for directory in self.directories() for number in self._numbers(directory, ""))

    def credible_end(self) -> int:
        """Return the first batch number that is too high for a log with these directories."""
        return (len(self.directories()) + _MAX_LOST_DIRECTORIES) * A_DIRECTORY

    def can_hold(self, index: int) -> bool:
        """Return whether the log has enough directories for this batch number; damage may have destroyed a few."""
        lost = index // A_DIRECTORY - _MAX_LOST_DIRECTORIES
        return lost < 0 or lost < len(self.directories())

    def is_empty(self) -> bool:
        """Return whether there is no batch; the search stops at the first directory that has one."""
        return not any(self._numbers(directory, "") or self.packs(directory) for directory in self.directories())

    def files_from(self, index: int) -> list[Path]:
        """List the files of the batches from number `index` on; directories with only earlier batches are not read."""
        numbers = [
            (number, kind)
            for directory in self.directories()
            if int(directory) >= index // A_DIRECTORY
            for kind in ("", ".payload")
            for number in self._numbers(directory, kind)
        ]
        return [self.directory(number) / f"{number:06}{kind}.car" for number, kind in numbers if number >= index]

    def directories(self) -> list[str]:
        """List the names of the directories with batches."""
        return [name for name in disk.names(self.path) if name.isdecimal() and name.isascii()]

    def _numbers(self, directory: str, kind: str) -> list[int]:
        """List the batches that have a file of a kind in a directory; a file in a wrong directory is ignored."""
        matches = (_FILE.fullmatch(name) for name in disk.names(self.path / directory))
        numbers = [int(match[1]) for match in matches if match and (match[2] or "") == kind]
        return [number for number in numbers if f"{number // A_DIRECTORY:03}" == directory]
