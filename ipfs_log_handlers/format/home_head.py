"""Write and read home heads: the newest head block of each log of a home, signed; one CID for a whole home.

A block of canonical DAG-CBOR, `{v, logs, note}`. `logs` lists `{log, index, head: link}`, sorted by `log`; the links
let one recursive pin keep each head block, its newest manifest and that batch. `note` is a C2SP signed note by the key
of the home, and it decides: everything else must agree with it. Its text is

    ipfs-logs home head v1                     no checkpoint begins so: the origin of a log has no space
    ipfs-logs/6ac6…                            name of the key
    1796035200                                 counter: of two home heads, the one with the larger number is newer
    2026-11-28T18:00:00.000000Z                when it was made
    ipfs-logs/6ac6…/audit/1b0e44d2 1233 bafy…  a line for each log: name, number of its newest batch, CID of its head

Specs: https://c2sp.org/signed-note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.checkpoint import (
    MAX_NOTE,
    SecretKey,
    VerifierKey,
    key_name_of,
    note_text,
    open_note,
    sign_note,
)
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.moment import micros, rfc3339

__all__ = ["MAX_BLOCK", "MAX_COUNTER", "MAX_LOGS", "HomeHead", "LogHead"]

VERSION: Final = 1
"""Version of this format; no other version is read."""
MAX_LOGS: Final = 256
"""Logs of a home head: their lines fit into a note."""
MAX_BLOCK: Final = 2 * MAX_NOTE
"""Bytes of a home head; a longer one is not read."""
MAX_COUNTER: Final = (1 << 63) - 1
"""Largest counter, as that of an IPNS record."""

_TITLE: Final = "ipfs-logs home head v1"
_KEY_NAME: Final = re.compile(r"ipfs-logs/[0-9a-f]{16}", re.ASCII)
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_KEYS: Final = ("v", "logs", "note")
_LOG_KEYS: Final = frozenset(("log", "index", "head"))


@dataclass(frozen=True, slots=True, order=True)
class LogHead:
    """The newest head block of one log."""

    log: str
    """Name of the log."""
    index: int
    """Number of its newest batch."""
    head: Cid
    """CID of the head block of this batch."""

    def __post_init__(self) -> None:
        key_name_of(self.log)
        if type(self.index) is not int or not 0 <= self.index <= MAX_COUNTER:
            raise FormatError("not the number of a batch", expected=f"0 to {MAX_COUNTER}", found=ascii(self.index)[:80])
        if type(self.head) is not Cid or self.head.codec != DAG_CBOR:
            raise FormatError("`head` is a link to a head block", found=ascii(self.head)[:80])

    @property
    def line(self) -> str:
        """The line of the note."""
        return f"{self.log} {self.index} {self.head.text}"

    @classmethod
    def parse(cls, line: str) -> LogHead:
        """Read a line of the note."""
        parts = line.split(" ")
        if len(parts) != 3 or not _NUMBER.fullmatch(parts[1]):
            raise FormatError("not a line of a home head", expected="log, number and CID", found=ascii(line)[:200])
        return cls(parts[0], int(parts[1]), Cid.parse(parts[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeHead:
    """The newest head of each log of a home at one moment. Read and checked by `decode` and `verify`."""

    key_name: str
    """Name of the key of the home."""
    counter: int
    """Number that grows with every home head of a home."""
    time: int
    """When it was made, µs since 1970."""
    logs: tuple[LogHead, ...]
    """The newest head of each log, sorted by name; at least one."""
    note: bytes
    """The signed note."""

    @classmethod
    def sign(cls, key: SecretKey, *, counter: int, time: int, logs: Iterable[LogHead]) -> HomeHead:
        """Make a home head.

        Args:
            key: the key of the home.
            counter: larger than that of every earlier home head of this home.
            time: µs since 1970.
            logs: the newest head of each log of this key; 1 to 256.

        Raises:
            FormatError: a value is out of its range, a log is there twice, or belongs to another key.
        """
        logs = tuple(sorted(logs))
        lines = [_TITLE, key.name, str(counter), rfc3339(time), *(log.line for log in logs)]
        return cls._of_note(sign_note("".join(f"{line}\n" for line in lines).encode(), key))

    @classmethod
    def decode(cls, block: bytes) -> HomeHead:
        """Read a block. Its signature is not checked: `verify` does that.

        Raises:
            FormatError: it is not a home head in its one encoding, or one of a version that this code does not know.
        """
        members = dagcbor.decode_map(block, "a home head", version=VERSION, keys=_KEYS, max_bytes=MAX_BLOCK)
        if type(members["note"]) is not bytes:
            raise FormatError("`note` is bytes", found=type(members["note"]).__name__)
        head = cls._of_note(members["note"])
        if _logs_in(members["logs"]) != head.logs:
            raise FormatError("a home head and its note do not name the same heads", found=ascii(members["logs"])[:200])
        return head

    @classmethod
    def _of_note(cls, note: bytes) -> HomeHead:
        text = note_text(note).decode()
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 5 or lines[0] != _TITLE:
            raise FormatError("not the note of a home head", expected=_TITLE, found=ascii(text)[:200])
        name, counter, time, *rest = lines[1:]
        if not _KEY_NAME.fullmatch(name) or not _NUMBER.fullmatch(counter) or int(counter) > MAX_COUNTER:
            raise FormatError("not the note of a home head", expected="key and counter", found=ascii(text)[:200])
        if len(rest) > MAX_LOGS:
            raise FormatError("a home head has too many logs", expected=f"at most {MAX_LOGS}", found=len(rest))
        moment = micros(time)
        if moment is None or moment < 0 or rfc3339(moment) != time:
            raise FormatError("not the time of a home head", expected="RFC 3339 with µs and Z", found=ascii(time)[:80])
        logs = tuple(map(LogHead.parse, rest))
        names = [log.log for log in logs]
        if names != sorted(set(names)):
            raise FormatError("logs of a home head are out of order, or there twice", found=ascii(names)[:200])
        stranger = next((log for log in names if key_name_of(log) != name), None)
        if stranger is not None:
            raise FormatError("a log in a home head belongs to another key", expected=name, found=stranger)
        return cls(key_name=name, counter=int(counter), time=moment, logs=logs, note=note)

    def encode(self) -> bytes:
        """Return the block."""
        logs = [{"log": log.log, "index": log.index, "head": log.head} for log in self.logs]
        return dagcbor.encode({"v": VERSION, "logs": logs, "note": self.note})

    @property
    def cid(self) -> Cid:
        """The CID of the block."""
        return Cid.of(DAG_CBOR, self.encode())

    def verify(self, key: VerifierKey) -> None:
        """Check that `key` signed this home head.

        Raises:
            VerificationError: the key did not sign it.
        """
        if key.name != self.key_name:
            raise VerificationError("the home head belongs to another key", expected=key.name, found=self.key_name)
        open_note(self.note, key)


def _logs_in(value: Any) -> tuple[LogHead, ...]:
    if not isinstance(value, list) or len(value) > MAX_LOGS:
        raise FormatError("`logs` is a list", expected=f"at most {MAX_LOGS} logs", found=ascii(value)[:80])
    for entry in value:
        if not isinstance(entry, dict) or entry.keys() != _LOG_KEYS:
            raise FormatError("not a log of a home head", expected="log, index, head", found=ascii(entry)[:200])
    return tuple(LogHead(**entry) for entry in value)
