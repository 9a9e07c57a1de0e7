"""List the logs that a home has begun, signed line by line, so that a deleted log or subsystem is noticed.

`logs.list` is in the home, outside of every subsystem. Each line is `<name of the log> <base64 of a signature>`. The
key of the log signs the name together with the SHA-256 of all lines before it, so that no line before the last one can
be deleted, changed or moved. A line is added when the first batch of a log is sealed: no list names a log that was
never sealed, and after a crash in between, the next keeper adds the line.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.checkpoint import SecretKey, VerifierKey, key_name_of, subsystem_of
from ipfs_log_handlers.home import disk, quarantine
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import logs_of

__all__ = ["LogList", "add", "load", "vanished"]

MAX_BYTES: Final = 16 << 20
"""Largest number of bytes of the list; a line has some 150, and a home begins few logs."""
_LINE: Final = re.compile(rb"([^ \n]+) ([A-Za-z0-9+/]{86}==)")
_TITLE: Final = b"ipfs-logs list of logs\n"
"""First line of the signed text, so that the signature is not valid for any other text."""


@dataclass(frozen=True, slots=True)
class LogList:
    """The content of the list."""

    data: bytes = b""
    """The bytes of the file."""
    problem: str | None = None
    """The reason why the file cannot be read; `None` if it can be read, or if there is none."""

    @property
    def names(self) -> list[str]:
        """Return the names of the logs, in the order in which they began; damaged lines are left out."""
        return [name for _, name, _, _ in self._lines() if name]

    def problems(self, known: Mapping[str, VerifierKey]) -> Iterator[tuple[str, str]]:
        """Yield the problems of the list: the expected line, and the problem.

        Args:
            known: keys by name. A line of another key is not checked; its log is reported as another problem.
        """
        if self.problem is not None:
            yield "readable", self.problem
        for number, name, signature, before in self._lines():
            if not name:
                yield f"a log and a signature in line {number}", "a damaged line"
                continue
            key = known.get(key_name_of(name))
            if key is not None:
                damaged = not _is_signed(key, name, before, signature)
            else:  # a log of another key, unless the name of the key is what is damaged
                named_anew = [(key, name.replace(key_name_of(name), key.name, 1)) for key in known.values()]
                damaged = any(_is_signed(key, name, before, signature) for key, name in named_anew)
            if damaged:
                yield f"line {number} and the lines before it as they were signed", f"another list up to {name}"
                return  # the signatures of all later lines cover the same lines

    def restored(self, key: VerifierKey, here: Iterable[str]) -> list[str]:
        """Return the names in a damaged list. A name that is damaged is replaced by the log that its signature names.

        Args:
            key: the key of the home.
            here: names of the logs whose files are in the home: only these can take the place of a damaged name.
        """
        here = [log for log in here if key_name_of(log) == key.name]
        names: list[str] = []
        digest = sha256()
        for _, read, signature, _ in self._lines():
            if not read:
                continue
            before = digest.hexdigest()
            signed = [] if read in here else [log for log in here if _is_signed(key, log, before, signature)]
            names.append(signed[0] if signed else read)
            digest.update(_line(names[-1], signature))
        return names

    def _lines(self) -> Iterator[tuple[int, str, bytes, str]]:
        """Yield number, log, signature and the digest of all lines before; an empty log for a damaged line."""
        digest = sha256()
        for number, line in enumerate(self.data.split(b"\n"), 1):
            match = _LINE.fullmatch(line)
            name = _log_or_nothing(match[1]) if match else ""
            if line:
                yield number, name, b64decode(match[2]) if match else b"", digest.hexdigest()
            digest.update(line + b"\n")


def _log_or_nothing(text: bytes) -> str:
    """Return the name of a log; an empty text if the text is not a name."""
    try:
        name = text.decode("ascii")
        subsystem_of(name)
    except (FormatError, UnicodeDecodeError):
        return ""
    return name


def _line(name: str, signature: bytes) -> bytes:
    return name.encode("ascii") + b" " + b64encode(signature) + b"\n"


def _is_signed(key: VerifierKey, name: str, before: str, signature: bytes) -> bool:
    """Look whether a signature is that of a log's line."""
    try:
        key.verify(_signed_text(name, before), signature)
    except VerificationError:
        return False
    return True


def _signed_text(name: str, before: str) -> bytes:
    return _TITLE + f"{before}\n{name}\n".encode("ascii")


def load(home: HomeDir) -> LogList:
    """Read the list; return an empty one if there is none. Raises no error: the result contains the problem."""
    try:
        return LogList(disk.read(home.log_list, MAX_BYTES))
    except FileNotFoundError:
        return LogList()
    except OSError as error:
        return LogList(problem=error.strerror or str(error))


def vanished(home: HomeDir) -> list[str]:
    """Name the logs in the list of which no file is left.

    Raises:
        OSError: the home cannot be read.
    """
    listed = load(home).names  # before the directories: a log is listed after its first batch is sealed
    here: set[str] = set()
    for subsystem_dir in home.subsystem_dirs():
        here |= {log.name or log.suffix for log in logs_of(subsystem_dir)}
    return [name for name in listed if not {name, name[-8:]} & here]


def add(home: HomeDir, key: SecretKey, logs: Iterable[str]) -> None:
    """Add the logs that are missing from the list. The caller holds the keeper's lock, and each log has a sealed batch.

    A damaged list is kept as `logs.list.<n>`, and a new list is written with the names that can still be read.

    Args:
        home: the home.
        key: its key; logs of another key are left out.
        logs: names of logs, in the order in which they began.

    Raises:
        OSError: the disk refuses; the list is as before.
    """
    stored = load(home)
    data, listed, wanted = stored.data, stored.names, [*logs]
    damaged = any(stored.problems({key.name: key.verifier}))
    if damaged:
        with suppress(OSError):
            quarantine.keep(home.path, home.log_list)
        data, listed, wanted = b"", [], [*stored.restored(key.verifier, wanted), *wanted]
    for name in dict.fromkeys(wanted):
        if name not in listed and key_name_of(name) == key.name:
            signature = key.sign(_signed_text(name, sha256(data).hexdigest()))
            data += _line(name, signature)
    if data != stored.data:
        disk.replace(home.log_list, data)
