"""Remember the newest head of each log that was verified, in files of the reader: a server cannot set them back.

A file for each log holds the signed note with its newest accepted checkpoint, and the verifier key that checked it. A
file for each source (a home, a directory of CAR files, a name) lists the logs that were found there. Files are 0600 in
a directory 0700, and are replaced in one step under a lock; a larger size is never replaced by a smaller one.
docs/formats.md describes the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.config import homes_directory
from ipfs_log_handlers.errors import FormatError, HomeError, LogStoreError, VerificationError
from ipfs_log_handlers.format.checkpoint import MAX_NOTE, Checkpoint, VerifierKey, key_name_of
from ipfs_log_handlers.home import disk

__all__ = ["KNOWN_LOGS_VARIABLE", "KnownLog", "KnownLogs", "known_logs_directory"]

KNOWN_LOGS_VARIABLE: Final = "IPFS_LOGS_KNOWN_LOGS"
"""Environment variable with the directory."""
_LOG_FORM: Final = "ipfs-logs/known-log/v1"
"""First line of the file of a log."""
_SOURCE_FORM: Final = "ipfs-logs/known-source/v1"
"""First line of the file of a source."""
_MAX_FILE: Final = MAX_NOTE + 4096
"""Bytes of the file of a log; a longer one is not read."""
_MAX_SOURCE: Final = 16 << 20
"""Bytes of the file of a source; a longer one is not read."""
_LOCK_S: Final = 30.0
"""Seconds to wait for another verification that is writing; it holds the lock for some milliseconds."""
_LOCK_POLL_S: Final = 0.01
"""Seconds between two tries to get the lock."""


def known_logs_directory(given: str | Path | None = None) -> Path:
    """Return the directory of the remembered heads.

    Args:
        given: a directory; `None`: that of `IPFS_LOGS_KNOWN_LOGS`, else `.known-logs` beside the user's homes.

    Raises:
        ConfigurationError: this user has no home directory.
    """
    chosen = given or os.environ.get(KNOWN_LOGS_VARIABLE) or homes_directory() / ".known-logs"
    return Path(os.path.abspath(os.path.expanduser(chosen)))


@dataclass(frozen=True, slots=True)
class KnownLog:
    """What is remembered of one log."""

    checkpoint: Checkpoint
    """Its newest accepted checkpoint."""
    note: bytes
    """The signed note with it."""
    key: VerifierKey | None
    """The key that checked the note; `None`: nobody gave one."""

    @property
    def origin(self) -> str:
        """Name of the log."""
        return self.checkpoint.origin

    @classmethod
    def of(cls, note: bytes, key: VerifierKey | None) -> KnownLog:
        """Read a note, and check its signature if there is a key.

        Raises:
            FormatError, VerificationError: it is no checkpoint, or not one of this key.
        """
        checkpoint = Checkpoint.parse(note) if key is None else Checkpoint.open(note, key)
        key_name_of(checkpoint.origin)
        return cls(checkpoint, note, key)

    def encode(self) -> bytes:
        """Return the bytes of its file."""
        key = "-" if self.key is None else self.key.text
        return f"{_LOG_FORM}\n{key}\n".encode() + self.note

    @classmethod
    def decode(cls, data: bytes) -> KnownLog:
        """Read a file.

        Raises:
            FormatError, VerificationError: it is damaged.
        """
        lines = data.split(b"\n", 2)
        if len(lines) != 3 or lines[0] != _LOG_FORM.encode():
            raise FormatError("not a remembered head", expected=_LOG_FORM, found=ascii(lines[0][:80]))
        try:
            text = lines[1].decode("ascii")
        except UnicodeDecodeError as error:
            raise FormatError("not a verifier key", found=ascii(lines[1][:80])) from error
        return cls.of(lines[2], None if text == "-" else VerifierKey.parse(text))


class KnownLogs:
    """The remembered heads of one reader.

    Args:
        directory: their directory; it is made with the first head.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        """The directory."""
        disk.add_root(directory)

    # -- one log

    def file(self, log: str) -> Path:
        """Return the path of the file of a log."""
        key_name_of(log)  # so that the name of a log is never a path
        return self.directory / f"{log.removeprefix('ipfs-logs/').replace('/', '.')}.log"

    def load(self, log: str) -> KnownLog | None:
        """Read what is remembered of a log; `None`: nothing.

        Raises:
            VerificationError: the file is damaged, or of another log.
            OSError: it cannot be read.
        """
        path = self.file(log)
        try:
            known = KnownLog.decode(disk.read(path, _MAX_FILE))
        except FileNotFoundError:
            return None
        except LogStoreError as error:
            raise VerificationError(
                f"the remembered head is damaged: {error.message}",
                where=path,
                hint="Restore the file from a copy; or delete it, and the next head is taken as the first one.",
            ) from error
        if known.origin != log:
            raise VerificationError("a remembered head of another log", where=path, expected=log, found=known.origin)
        return known

    def keep(self, known: KnownLog) -> None:
        """Remember a head; call this within `lock`.

        Raises:
            VerificationError: a larger head is remembered, or the remembered one is damaged.
            OSError: it cannot be written.
        """
        before = self.load(known.origin)
        if before is not None and before.checkpoint.size > known.checkpoint.size:
            raise VerificationError(
                "a larger head is remembered", expected=before.checkpoint.size, found=known.checkpoint.size
            )
        if before != known:
            disk.replace(self.file(known.origin), known.encode())

    def keep_evidence(self, log: str, name: str, data: bytes) -> Path:
        """Write the evidence of a fork, and return its path; an equal file is left as it is.

        Raises:
            OSError: it cannot be written.
        """
        disk.ensure_directory(self.directory)
        path = self.file(log).with_suffix(f".{name}-{hashlib.sha256(data).hexdigest()[:8]}.fork.json")
        if not disk.exists(path):
            disk.replace(path, data)
        return path

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Let no other verification write meanwhile.

        Raises:
            HomeError: another one holds the lock for very long.
            OSError: the directory cannot be written.
        """
        disk.ensure_directory(self.directory)
        path, until = self.directory / "lock", clock.monotonic() + _LOCK_S
        while (descriptor := disk.take_lock(path)) is None:
            if clock.monotonic() > until:
                raise HomeError("another verification holds the remembered heads", where=path)
            clock.pause(_LOCK_POLL_S)
        try:
            yield
        finally:
            disk.close_locked(descriptor)

    # -- one source

    def source_file(self, source: str) -> Path:
        """Return the path of the file of a source."""
        return self.directory / f"{hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.source"

    def logs_of(self, source: str) -> tuple[str, ...]:
        """Name the logs that were found at a source.

        Raises:
            VerificationError: the file is damaged.
            OSError: it cannot be read.
        """
        path = self.source_file(source)
        try:
            lines = disk.read(path, _MAX_SOURCE).decode("utf-8", "surrogateescape").split("\n")
        except FileNotFoundError:
            return ()
        if lines[:2] != [_SOURCE_FORM, json.dumps(source)] or lines[-1]:
            raise VerificationError(
                "the list of the logs of a source is damaged",
                where=path,
                hint="Restore the file from a copy; or delete it, and the logs that are there are taken as all.",
            )
        for log in lines[2:-1]:
            try:
                key_name_of(log)
            except FormatError as error:
                raise VerificationError("the list of the logs of a source is damaged", where=path) from error
        return tuple(lines[2:-1])

    def add_logs(self, source: str, logs: Iterable[str]) -> None:
        """Remember that some logs are at a source; call this within `lock`. Raises as `logs_of`."""
        before = self.logs_of(source)
        after = sorted({*before, *logs})
        if after != sorted(before):
            text = "".join(f"{line}\n" for line in (_SOURCE_FORM, json.dumps(source), *after))
            disk.replace(self.source_file(source), text.encode())

    def keys_of(self, source: str) -> list[VerifierKey]:
        """Return the keys that are pinned for the logs of a source; raises as `load` and `logs_of`."""
        known = [self.load(log) for log in self.logs_of(source)]
        return list(dict.fromkeys(each.key for each in known if each is not None and each.key is not None))
