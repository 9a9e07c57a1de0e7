"""Read and write `name.state`: the newest home head of a home, its record under the IPNS name, and what was published.

The file is replaced and synced before anything that it describes leaves the machine. So after a crash at any moment, no
number is used for two records: the same home head and the same record, byte for byte, are sent again. It is one line
with checksum and JSON, like the lines of a segment. Without the file, the next number is the time in seconds, which is
larger than each number that was used.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.home_head import MAX_BLOCK, HomeHead
from ipfs_log_handlers.format.ipns_record import MAX_SEQUENCE, IpnsRecord, public_key_of
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.layout import HomeDir

__all__ = ["Confirmed", "NameState", "PublishError", "load", "store"]

_VERSION: Final = 1
"""Version of this file; no other version is read."""
_MAX_BYTES: Final = 4 * MAX_BLOCK
"""Largest number of bytes of the file: the home head in base64, and CIDs of older ones."""
_MAX_PINNED: Final = 64
"""Number of home heads at one store that are remembered, so that they can be unpinned."""
_MAX_SECONDS: Final = 253_402_300_799
"""The end of the year 9999, seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a resolve has given back: the newest published home head."""

    cid: str
    """CID of the home head."""
    sequence: int
    """Sequence number of the record."""
    at: float
    """When the resolve gave it back, seconds since 1970."""
    until: int
    """End of the record, µs since 1970."""
    address: str
    """The store that resolved the name."""
    through: Mapping[str, int] = field(default_factory=dict)
    """By log: number of its newest batch in this home head."""

    def __post_init__(self) -> None:
        Cid.parse(self.cid)
        if not isinstance(self.address, str) or not isinstance(self.through, Mapping):
            raise FormatError("address and logs of what was published", found=repr(self.address)[:200])
        if not all(type(index) is int and 0 <= index <= MAX_SEQUENCE for index in self.through.values()):
            raise FormatError("a batch that was published is not a number", found=repr(self.through)[:200])


@dataclass(frozen=True, slots=True)
class PublishError:
    """Why the newest home head is not published."""

    message: str
    """The reason, in words."""
    at: float
    """When, seconds since 1970."""
    next_retry: float
    """When it is tried again, seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NameState:
    """The state of a home's name."""

    name: str = ""
    """The IPNS name; empty before its key is made."""
    sequence: int = 0
    """Largest number that was used: sequence number of the newest record, or counter of the newest home head."""
    block: bytes = b""
    """The newest home head; empty before the first one."""
    validity: int = 0
    """End of the newest record, µs since 1970; 0: the newest home head has no record yet."""
    ttl: int = 0
    """TTL of the newest record, ns."""
    pinned: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By name of a store: CIDs of the home heads that may be pinned there."""
    confirmed: Confirmed | None = None
    """What was published last."""
    last_error: PublishError | None = None
    """Why the newest home head is not published; `None` if it is, or was not tried."""

    def __post_init__(self) -> None:
        numbers = [(self.sequence, MAX_SEQUENCE), (self.validity, _MAX_SECONDS * 1_000_000), (self.ttl, MAX_SEQUENCE)]
        if self.confirmed is not None:
            numbers += [(self.confirmed.sequence, MAX_SEQUENCE), (self.confirmed.until, _MAX_SECONDS * 1_000_000)]
        if not all(type(number) is int and 0 <= number <= most for number, most in numbers):
            raise FormatError("a number of a name is out of its range", found=repr(numbers)[:200])
        if self.name:
            public_key_of(self.name)
        for cids in self.pinned.values():
            for cid in cids:
                Cid.parse(cid)
        times = [self.confirmed.at] if self.confirmed is not None else []
        times += [self.last_error.at, self.last_error.next_retry] if self.last_error is not None else []
        if not all(type(time) in (int, float) and 0 <= time <= _MAX_SECONDS for time in times):
            raise FormatError("a time of a name is out of its range", found=repr(times)[:200])
        if self.last_error is not None and not isinstance(self.last_error.message, str):
            raise FormatError("the reason of an error is text", found=repr(self.last_error)[:200])
        if self.block:
            HomeHead.decode(self.block)

    @property
    def head(self) -> HomeHead | None:
        """The newest home head; `None` before the first one."""
        return HomeHead.decode(self.block) if self.block else None

    @property
    def record(self) -> IpnsRecord | None:
        """The newest record; `None`: the newest home head has none yet. It leads to the newest home head."""
        head = self.head
        if head is None or not self.validity:
            return None
        return IpnsRecord(value=head.cid, sequence=self.sequence, validity=self.validity, ttl=self.ttl)

    @property
    def is_published(self) -> bool:
        """Whether a resolve has given the newest record back."""
        record, confirmed = self.record, self.confirmed
        return (
            record is not None
            and confirmed is not None
            and (confirmed.cid, confirmed.sequence) == (record.value.text, record.sequence)
        )

    def next_number(self, now: float) -> int:
        """Return a number that is larger than each one before, also if this file was lost or is from a backup.

        Args:
            now: seconds since 1970.
        """
        return max(self.sequence + 1, int(now))

    def with_pin(self, store: str, cid: Cid) -> NameState:
        """Note that a home head may be pinned at a store from now on."""
        before = [other for other in self.pinned.get(store, ()) if other != cid.text]
        return replace(self, pinned={**self.pinned, store: (*before, cid.text)[-_MAX_PINNED:]})

    def without_pins(self, store: str, cids: tuple[str, ...]) -> NameState:
        """Note that home heads are not pinned at a store any more."""
        left = tuple(cid for cid in self.pinned.get(store, ()) if cid not in cids)
        return replace(self, pinned={**self.pinned, store: left})

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        members: dict[str, Any] = {"v": _VERSION, "name": self.name, "sequence": self.sequence}
        members |= {"validity": self.validity, "ttl": self.ttl}
        members["head"] = base64.b64encode(self.block).decode("ascii")
        members["pinned"] = {store: list(cids) for store, cids in self.pinned.items()}
        done, error = self.confirmed, self.last_error
        members["published"] = done and [done.cid, done.sequence, done.at, done.until, done.address, dict(done.through)]
        members["trouble"] = error and [error.message, error.at, error.next_retry]
        return line.record(json.dumps(members, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, data: bytes) -> NameState:
        """Parse the content of the file.

        Raises:
            FormatError: it is damaged or of another version.
        """
        try:
            if data[-1:] != b"\n":
                raise FormatError("the state of a name was cut")
            members = json.loads(line.decode(data[:-1]).json)
            if members.pop("v") != _VERSION:
                raise FormatError("the state of a name is of another version")
            members["block"] = base64.b64decode(members.pop("head"), validate=True)
            members["pinned"] = {store: tuple(cids) for store, cids in members["pinned"].items()}
            done, error = members.pop("published"), members.pop("trouble")
            members["confirmed"] = done and Confirmed(*done)
            members["last_error"] = error and PublishError(*error)
            return cls(**members)
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError("not the state of a name", found=repr(data[:80])) from error


def load(home: HomeDir) -> NameState:
    """Read the state of a home's name; a new one if the file is missing.

    Raises:
        FormatError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        return NameState.decode(disk.read(home.name_state, _MAX_BYTES))
    except FileNotFoundError:
        return NameState()
    except disk.WrongFileError as error:
        raise FormatError("a name cannot be read", where=home.name_state, found=error.strerror) from error


def store(home: HomeDir, state: NameState, *, sync: bool = True) -> None:
    """Replace the state of a home's name. The caller holds the keeper's lock.

    Args:
        home: the home.
        state: its content.
        sync: let it survive a power cut; not needed for what only tells how it went.

    Raises:
        OSError: the disk refuses; the file is as before.
    """
    disk.replace(home.name_state, state.encode(), sync=sync)
