"""Where the files of batches lie, and how much space they take; what is in them is read by batches.py."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["BatchFiles"]

_FILE: Final = re.compile(r"([0-9]{6,})\.car", re.ASCII)
_PAYLOAD: Final = re.compile(r"([0-9]{6,})\.payload\.car", re.ASCII)


@dataclass(frozen=True, slots=True)
class BatchFiles:
    """The directory of one log's batches, looked at from outside."""

    path: Path
    """`<home>/<subsystem>/batches`."""

    def file(self, index: int) -> Path:
        """The file of a batch, there or not."""
        return self.path / f"{index // 1000:03}" / f"{index:06}.car"

    def payload_file(self, index: int) -> Path:
        """The file of an archive's blocks, there or not."""
        return self.file(index).with_suffix(".payload.car")

    def files(self, index: int) -> list[Path]:
        """The file of a batch, there or not, and that of its archive where one is there."""
        beside = self.payload_file(index)
        return [self.file(index), *([beside] if beside.exists() else [])]

    def indexes(self) -> list[int]:
        """The batches that have a file, in order, whatever the head says."""
        return self._numbers(_FILE, self.file)

    def payloads(self) -> list[int]:
        """The batches whose archive has a file, in order."""
        return self._numbers(_PAYLOAD, self.payload_file)

    def _numbers(self, names: re.Pattern[str], file: Callable[[int], Path]) -> list[int]:
        found: list[int] = []
        for directory in self.entries(self.path):
            found += [
                int(match[1])
                for entry in self.entries(directory)
                if (match := names.fullmatch(entry.name)) and file(int(match[1])) == entry
            ]
        return sorted(found)

    @staticmethod
    def entries(path: Path) -> list[Path]:
        """What is in a directory; nothing where there is none."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return [path / name for name in os.listdir(path)]
        return []
