"""Name, read and list the files of the keys to which batches are encrypted: one key for each subsystem and period.

A key has an id, the `kid`: `audit/2026-03`, and `audit/2026-03.2`, `.3`, … for further keys of the same period. That of
the records with one value of a field has a hash of the value after the period (`scope_keys.py`). Its files are in the
key directory of a home, `keys/periods/audit/`, and no block contains them:

    2026-03.json        the public key, those for whom the secret key is wrapped, and the checksum of the next file
    2026-03.age         the secret key, an age file for them; `age -d -i THEIR_KEY 2026-03.age` prints it
    2026-03.shredding   it is being destroyed: nothing is encrypted to it any more
    2026-03.shredded    it was destroyed; the id is never used again

The key directory of the holder of issued keys has the same files. `data_keys.py` makes keys, `key_shredding.py`
destroys them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import FormatError, HomeError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.format.age_recipient import normalise_recipient
from ipfs_log_handlers.format.kid import MAX_NUMBER, Kid, bounds
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.layout import HomeDir

__all__ = [
    "MAX_BYTES",
    "KeyFiles",
    "KeyState",
    "KnownKey",
    "PublicPart",
    "keys_in",
    "kids_of",
    "load",
    "locked",
    "next_kid",
    "sha256",
    "state",
]

KeyState = Literal["present", "issued", "shredding", "shredded", "missing"]
"""Of a key: its wrapped secret is here; only its public key is here; its destruction has begun, or is done; unknown."""

MAX_BYTES: Final = 64 << 10
"""Largest number of bytes of a file in the key directory."""
_VERSION: Final = 1
"""Version of the `.json` file; no other version is read."""
_SUFFIXES: Final = ("json", "age", "shredding", "shredded")
"""Ends of the names of the files of a key."""
_LOCK_WAIT_S: Final = 10.0
"""Seconds that a process waits for another one that changes the key directory; it takes milliseconds."""
_RETRY_S: Final = 0.01
"""Seconds between two tries to take the lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """What the key directory says about a key."""

    kid: str
    """Its id."""
    state: KeyState
    """Its state."""
    recipient: str | None = None
    """The public key; `None`: the file with it cannot be read."""
    wrapped_for: tuple[str, ...] = ()
    """The recipients for whom the secret key was wrapped; empty: it was issued."""
    made: int | None = None
    """When it was made or accepted, by the clock of the machine, µs since 1970."""
    damage: str | None = None
    """Why it is not used, although it is not shredded: a file is lost or damaged."""

    @property
    def subsystem(self) -> str:
        """The subsystem whose batches it encrypts."""
        return Kid.parse(self.kid).subsystem

    @property
    def period(self) -> str:
        """The period in which it is used."""
        return Kid.parse(self.kid).period

    @property
    def scope(self) -> str | None:
        """The id of the value whose records are encrypted to it; `None`: it is not the key of a value."""
        return Kid.parse(self.kid).scope or None

    def as_json(self) -> dict[str, Any]:
        """Return the key with the keys of `ipfs-logs keys list`."""
        return {
            "kid": self.kid,
            "subsystem": self.subsystem,
            "period": self.period,
            "scope": self.scope,
            "state": self.state,
            "recipient": self.recipient,
            "wrapped_for": list(self.wrapped_for),
            "made": None if self.made is None else rfc3339(self.made),
            "damage": self.damage,
        }


# -- files


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Name the files of one key."""

    directory: Path
    """`periods/<subsystem>` in the key directory."""
    stem: str
    """The part of their names before the last dot."""

    @classmethod
    def of(cls, place: HomeDir | Path, kid: str) -> KeyFiles:
        """Name the files of a key in the key directory of a home, or in another key directory.

        Raises:
            FormatError: it is not the id of a key.
        """
        parsed = Kid.parse(kid)
        return cls(_periods(place) / parsed.subsystem, kid.rpartition("/")[2])

    def make_directories(self) -> None:
        """Make the directory of the files, synced. The caller holds the lock.

        Raises:
            OSError: the disk refuses.
        """
        for directory in (self.directory.parent, self.directory):
            disk.ensure_directory(directory, sync=True)

    def _file(self, suffix: str) -> Path:
        return self.directory / f"{self.stem}.{suffix}"

    @property
    def public(self) -> Path:
        """The public key, and what it was wrapped for."""
        return self._file("json")

    @property
    def wrapped(self) -> Path:
        """The secret key, an age file."""
        return self._file("age")

    @property
    def shredding(self) -> Path:
        """Exists while the key is being destroyed."""
        return self._file("shredding")

    @property
    def shredded(self) -> Path:
        """Exists when the key was destroyed."""
        return self._file("shredded")


def _key_directory(place: HomeDir | Path) -> Path:
    return place.keys if isinstance(place, HomeDir) else place


def _periods(place: HomeDir | Path) -> Path:
    return _key_directory(place) / "periods"


@contextlib.contextmanager
def locked(place: HomeDir | Path) -> Iterator[None]:
    """Let only one process at a time change a key directory; it is made if it is missing, synced.

    Raises:
        HomeError: another process holds the lock for too long, or the directory belongs to another user.
    """
    directory = _key_directory(place)
    if isinstance(place, HomeDir):
        place.make(sync=True)
    else:
        disk.add_root(directory)
    disk.ensure_directory(directory, sync=True)
    path = directory / "lock"
    deadline = clock.monotonic() + _LOCK_WAIT_S
    while (descriptor := disk.take_lock(path)) is None:
        if clock.monotonic() >= deadline:
            raise HomeError("another process holds the lock of the keys", where=path, hint="Run this again.")
        clock.pause(_RETRY_S)
    try:
        yield
    finally:
        disk.close_locked(descriptor)


@dataclass(frozen=True, slots=True)
class PublicPart:
    """The content of a `.json` file."""

    recipient: str
    """The public key."""
    wrapped_for: tuple[str, ...]
    """Those for whom the secret key was wrapped; empty: it was issued."""
    sha256: str | None
    """Of the `.age` file, hexadecimal; `None`: the key was issued, and its secret is elsewhere."""
    made: int
    """When it was made or accepted, µs since 1970."""

    def encode(self, kid: str) -> bytes:
        """Return the bytes of the file: one line with checksum and JSON."""
        members = {
            "v": _VERSION,
            "kid": kid,
            "recipient": self.recipient,
            "wrapped_for": list(self.wrapped_for),
            "sha256": self.sha256,
            "made": self.made,
        }
        return line.record(json.dumps(members, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, data: bytes, kid: str) -> PublicPart:
        """Parse the bytes of the file.

        Raises:
            FormatError: it is damaged, of another version, or the file of another key.
        """
        try:
            if data[-1:] != b"\n":
                raise FormatError("the file was cut")
            members = json.loads(line.decode(data[:-1]).json)
            recipient, made, sha256 = members["recipient"], members["made"], members["sha256"]
            if (members["v"], members["kid"]) != (_VERSION, kid) or type(made) is not int:
                raise FormatError("not the file of this key", found=repr((members["v"], members["kid"]))[:200])
            if normalise_recipient(recipient) != recipient or not isinstance(sha256, (str, type(None))):
                raise FormatError("not a public key", found=repr(recipient)[:200])
            return cls(recipient, tuple(map(normalise_recipient, members["wrapped_for"])), sha256, made)
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError("not the file of a key", found=repr(data[:80])) from error


# -- looking


def state(place: HomeDir | Path, kid: str) -> KeyState:
    """Return the state of a key in the key directory of a home, or in another key directory.

    Raises:
        FormatError: it is not the id of a key.
        OSError: the directory cannot be read.
    """
    files = KeyFiles.of(place, kid)
    if disk.exists(files.shredded):
        return "shredded"
    if disk.exists(files.shredding):
        return "shredding"
    if disk.exists(files.wrapped):
        return "present"
    return "issued" if disk.exists(files.public) else "missing"


def load(place: HomeDir | Path, kid: str) -> KnownKey:
    """Read what the key directory says about a key; `damage` says why it cannot be used.

    Raises:
        FormatError: it is not the id of a key.
        OSError: a file cannot be read now.
    """
    found = state(place, kid)
    files = KeyFiles.of(place, kid)
    try:
        public = PublicPart.decode(disk.read(files.public, MAX_BYTES), kid)
    except FileNotFoundError:
        lost = found in ("present", "shredding")
        return KnownKey(kid=kid, state=found, damage=f"{files.public} is missing" if lost else None)
    except (FormatError, disk.WrongFileError) as error:
        return KnownKey(kid=kid, state=found, damage=f"{files.public}: {error}")
    known = KnownKey(kid=kid, state=found, recipient=public.recipient, wrapped_for=public.wrapped_for, made=public.made)
    damage = _damage(files, public) if found in ("present", "issued") else None
    return known if damage is None else replace(known, damage=damage)


def _damage(files: KeyFiles, public: PublicPart) -> str | None:
    """Say why the wrapped secret of a key is not the one that was made; `None`: it is, or it was issued."""
    if public.sha256 is None:
        return None
    try:
        data = disk.read(files.wrapped, MAX_BYTES)
    except FileNotFoundError:
        return f"{files.wrapped} is missing"
    except disk.WrongFileError as error:
        return f"{files.wrapped}: {error.strerror}"
    return None if sha256(data) == public.sha256 else f"{files.wrapped} is damaged"


def kids_of(place: HomeDir | Path, subsystem: str, period: str) -> list[str]:
    """List the ids of the keys of a period, also of those that were shredded, in the order in which they were made.

    Raises:
        FormatError: it is not a period.
        OSError: the directory cannot be read.
    """
    bounds(period)
    return [kid.text for kid in _kids(place, subsystem) if kid.period == period]


def _kids(place: HomeDir | Path, subsystem: str) -> list[Kid]:
    stems = {
        stem
        for name in disk.names(_periods(place) / subsystem)
        for stem, dot, suffix in [name.rpartition(".")]
        if dot and suffix in _SUFFIXES
    }
    kids = []
    for stem in stems:
        with contextlib.suppress(FormatError):
            kids.append(Kid.parse(f"{subsystem}/{stem}"))
    return sorted(kids, key=lambda kid: (kid.period, kid.scope, kid.number))


def keys_in(place: HomeDir | Path, subsystem: str | None = None) -> list[KnownKey]:
    """Describe the keys of a key directory, by subsystem and period.

    Args:
        place: a home, or a key directory.
        subsystem: only its keys; `None`: all.

    Raises:
        OSError: the directory cannot be read.
    """
    names = sorted(disk.names(_periods(place))) if subsystem is None else [subsystem]
    return [load(place, kid.text) for name in names for kid in _kids(place, name)]


# -- the next key


def next_kid(place: HomeDir | Path, subsystem: str, period: str, scope: str = "") -> str:
    """Return the id of a further key of a period and scope: one of which no file exists. The caller holds the lock.

    Raises:
        HomeError: the period has too many keys.
    """
    bounds(period)
    numbers = [kid.number for kid in _kids(place, subsystem) if (kid.period, kid.scope) == (period, scope)]
    number = max(numbers, default=0) + 1
    if number > MAX_NUMBER:
        raise HomeError("too many keys of one period", where=_periods(place) / subsystem, found=number - 1)
    return Kid(subsystem=subsystem, period=period, number=number, scope=scope).text


def sha256(data: bytes) -> str:
    """Return the checksum of a wrapped key, hexadecimal."""
    return hashlib.sha256(data).hexdigest()
