"""What a keeper must know of a subsystem when its writers are other processes, or gone: policy and store addresses.

Writers put it into the header of each segment; the keeper copies the newest into `settings.json`. Never a secret:
tokens stay in their process or come from the environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.subsystems.registry import Subsystem
from ipfs_log_handlers.subsystems.rules import Rules, is_text

__all__ = ["Policy", "load", "read", "rules_in", "store"]

_CHECK: Final = "crc32"
"""Member that holds the checksum of the others; without it, whoever wrote the file is believed."""
_MOST: Final = 1 << 60
_FORMER: Final = "former_rules"
_MOST_FORMER: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How the batches of one subsystem are cut, kept and shipped."""

    type: str
    """`type` in the metadata of each batch."""
    version: str
    """`version` in the metadata of each batch."""
    records: int
    """Records in a batch."""
    bytes: int
    """Bytes of lines in a batch."""
    seconds: float
    """Age of the oldest line at which a batch is sealed."""
    stores: tuple[str, ...]
    """Addresses, without credentials."""
    replicas: int
    """Stores that must confirm a batch."""
    keep_days: float
    """Days that a shipped payload stays."""
    max_spool_bytes: int
    """Bound of segments and unshipped batches."""
    max_store_bytes: int | None
    """Bound of batches above which shipped payloads may leave."""
    rules: Rules
    """What each batch says of its records."""

    @classmethod
    def of(cls, settings: Settings, subsystem: Subsystem) -> Policy:
        """The policy in a handler's settings, with what the subsystem itself says."""
        return cls(
            type=subsystem.type,
            version=str(settings.metadata.get("version", subsystem.version)),
            records=settings.batch.records or subsystem.records,
            bytes=settings.batch.bytes,
            seconds=settings.batch.seconds,
            stores=settings.kubo,
            replicas=settings.replicas,
            keep_days=settings.keep_days,
            max_spool_bytes=settings.max_spool_bytes,
            max_store_bytes=settings.max_store_bytes,
            rules=subsystem.rules.configured(settings.metadata),
        )

    def as_json(self) -> dict[str, Any]:
        """As it stands in segment headers and `settings.json`."""
        members = {name: getattr(self, name) for name in self.__slots__}
        members["stores"] = list(self.stores)
        members["rules"] = self.rules.as_json()
        return members

    @classmethod
    def default(cls, home: Path, name: str) -> Policy:
        """The policy of a subsystem of which nothing was configured, or nothing is known here."""
        subsystem = subsystems.get(name) if name in subsystems.names() else Subsystem(name=name, type=name)
        return cls.of(Settings(home=home), subsystem)

    @classmethod
    def from_json(cls, members: Mapping[str, Any], fallback: Policy) -> Policy:
        """Read it back; what is missing or of a wrong type is taken from `fallback`."""
        values: dict[str, Any] = {}
        for name in cls.__slots__:
            value, default = members.get(name), getattr(fallback, name)
            if name == "rules":
                values[name] = Rules.from_json(value) or default
                continue
            found = value if _fits(name, value) else default
            values[name] = tuple(found or ()) if name == "stores" else found
        if "max_store_bytes" in members and members["max_store_bytes"] is None:
            values["max_store_bytes"] = None
        return cls(**values)


def _fits(name: str, value: object) -> bool:
    """Whether a value can be that setting: a header is a foreign process's word, and one must not stop the others."""
    if name == "stores":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if name in ("type", "version"):
        return is_text(value)
    if name in ("seconds", "keep_days"):
        return type(value) in (int, float) and 0 <= value <= _MOST  # type: ignore[operator]
    least = 0 if name == "max_store_bytes" else 1
    return type(value) is int and least <= value <= _MOST


def load(path: Path, fallback: Policy) -> Policy:
    """The policy in `settings.json`; `fallback` where there is none, or a damaged one.

    Raises:
        OSError: it cannot be read now; whoever went on with the fallback would ship nowhere.
    """
    try:
        return Policy.from_json(read(path), fallback)
    except (FileNotFoundError, FormatError):
        return fallback


def read(path: Path) -> dict[str, Any]:
    """The members of `settings.json`.

    Raises:
        FormatError: it is damaged.
        OSError: it cannot be read; `FileNotFoundError` when it is not there.
    """
    members = _parsed(path)
    told = members.pop(_CHECK, None)
    if told not in (None, _checksum(members)):
        raise FormatError("the checksum of settings does not hold", expected=told, found=_checksum(members), where=path)
    return members


def _parsed(path: Path) -> dict[str, Any]:
    """What stands in the file, whether its checksum holds or not."""
    data = disk.read(path)
    try:
        return dict(json.loads(data))
    except (ValueError, TypeError, RecursionError) as error:
        raise FormatError("settings are not JSON", where=path, found=str(error)) from error


def rules_in(path: Path) -> dict[str, Rules]:
    """By their ids, the rules in `settings.json`: those in force, and former ones by which batches were sealed.

    `verify` counts a batch again by the rules that its manifest names. When the file is lost, so are those rules; where
    it is damaged, those that are whole still have their ids.

    Raises:
        OSError: it cannot be read now.
    """
    try:
        members = _parsed(path)
    except (FileNotFoundError, FormatError):
        return {}
    former = members.get(_FORMER)
    told = [members.get("rules"), *(former if isinstance(former, list) else ())]
    return {rules.id: rules for each in told if (rules := Rules.from_json(each))}


def store(path: Path, policy: Policy) -> None:
    """Replace `settings.json`. Losing it costs a default policy until the next segment."""
    known = rules_in(path)
    former = [rules.as_json() for name, rules in known.items() if name != policy.rules.id][:_MOST_FORMER]
    members = policy.as_json() | ({_FORMER: former} if former else {})
    text = json.dumps({**members, _CHECK: _checksum(members)}, indent=1)
    disk.replace(path, text.encode() + b"\n", sync=False)


def _checksum(members: Mapping[str, Any]) -> str:
    return f"{crc32(json.dumps(members, sort_keys=True).encode()):08x}"
