"""Note which batches of a mirrored log are here without their payloads: the file `absent` beside its pieces.

Two lines of text, `pruned 0-2 7-7` and `missing 5-5`: the runs of batches whose payload was given up, as a signed act
says, and of those whose payload no source had. The file is replaced before a piece without a payload gets its name, so
it may name a batch whose payload is here, and never forgets one. It is there also when it names no batch: a run that
finds no file, or a damaged one, makes it from the pieces (`mirror_pieces.restore_absences`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.act import ranges_of
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.imported_logs import MirroredDir

__all__ = ["AbsentPayloads"]

_FILE: Final = "absent"
_MAX_BYTES: Final = 16 << 20
"""Bytes of the file that are read: some 1,000,000 runs."""
_LINES: Final = re.compile(r"pruned((?: \d{1,18}-\d{1,18})*)\nmissing((?: \d{1,18}-\d{1,18})*)\n", re.ASCII)

Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentPayloads:
    """The batches of a mirrored log that are here without their payloads."""

    pruned: Runs = ()
    """First and last number of each run of batches whose payload was given up by an act."""
    missing: Runs = ()
    """The same for batches whose payload no source had."""

    @classmethod
    def of(cls, pruned: Iterable[int], missing: Iterable[int]) -> AbsentPayloads:
        """Note these batches; a batch that is in both was given up."""
        given_up = set(pruned)
        return cls(pruned=ranges_of(sorted(given_up)), missing=ranges_of(sorted(set(missing) - given_up)))

    def all_pruned(self, through: int) -> Iterator[int]:
        """Yield the batches up to a number whose payload was given up, in order."""
        return _numbers(self.pruned, through)

    def all_missing(self, through: int) -> Iterator[int]:
        """Yield the batches up to a number whose payload no source had, in order."""
        return _numbers(self.missing, through)

    @property
    def pruned_count(self) -> int:
        """Number of batches whose payload was given up."""
        return _count(self.pruned)

    @property
    def missing_count(self) -> int:
        """Number of batches whose payload no source had."""
        return _count(self.missing)

    @classmethod
    def load(cls, target: MirroredDir) -> AbsentPayloads:
        """Read the file of a log; a missing or damaged one names no batch.

        Raises:
            OSError: it cannot be read.
        """
        return cls.read(target) or cls()

    @classmethod
    def read(cls, target: MirroredDir) -> AbsentPayloads | None:
        """Read the file of a log; `None` if it is missing or damaged.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return cls.decode(disk.read(target.path / _FILE, _MAX_BYTES))
        except (FileNotFoundError, FormatError, disk.WrongFileError):
            return None

    @classmethod
    def decode(cls, data: bytes) -> AbsentPayloads:
        """Read the content of the file.

        Raises:
            FormatError: it is damaged.
        """
        match = _LINES.fullmatch(data.decode("ascii", "replace"))
        if match is None:
            raise FormatError("not a list of absent payloads", found=ascii(data[:80]))
        return cls(pruned=_runs(match[1]), missing=_runs(match[2]))

    def encode(self) -> bytes:
        """Return the content of the file."""
        return f"pruned{_text(self.pruned)}\nmissing{_text(self.missing)}\n".encode()

    def store(self, target: MirroredDir) -> None:
        """Replace the file, synced; call this only while the log is locked.

        Raises:
            OSError: the disk refuses.
        """
        if self != AbsentPayloads.read(target):
            disk.replace(target.path / _FILE, self.encode())


def _numbers(runs: Runs, through: int) -> Iterator[int]:
    return (number for first, last in runs for number in range(first, min(last, through) + 1))


def _count(runs: Runs) -> int:
    return sum(last - first + 1 for first, last in runs)


def _text(runs: Runs) -> str:
    return "".join(f" {first}-{last}" for first, last in runs)


def _runs(text: str) -> Runs:
    runs: list[tuple[int, int]] = []
    for word in text.split():
        first, last = map(int, word.split("-"))
        if word != f"{first}-{last}" or not (runs[-1][1] if runs else -1) < first <= last:
            raise FormatError("runs of batches do not ascend, or a number is not as it is written", found=word)
        runs.append((first, last))
    return tuple(runs)
