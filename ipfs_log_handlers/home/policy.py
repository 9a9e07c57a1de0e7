"""Store the policy and store addresses of a subsystem for a keeper in another process.

Writers put them into the header of each segment; the keeper copies the newest ones into `settings.json`. They contain
no secret: tokens stay in their process or come from the environment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import DEFAULT_QUIET_SECONDS, DEFAULT_SECONDS, Encrypt, Settings
from ipfs_log_handlers.config.retention import RetentionRule
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.segments import Header, newest_header
from ipfs_log_handlers.subsystems.registry import MAX_IDS, Subsystem, is_id
from ipfs_log_handlers.subsystems.rules import Rules, is_text

__all__ = ["Policy", "encryption_in", "load_policy", "read_settings", "rules_in", "store_policy"]

_CHECK: Final = "crc32"
"""Key of the checksum over the other members; a file without this key, written by hand, is accepted."""
_MAX_NUMBER: Final = 1 << 60
"""Largest number that a setting may have; a larger one is ignored."""
_MAX_BYTES: Final = 16 << 20
"""Largest number of bytes of `settings.json`; 33 sets of rules of the largest size fit into it."""
QUIET_BYTES: Final = 16 << 10
"""Bytes of waiting lines below which little is logged: manifest and head block would be larger than these lines."""
_FORMER: Final = "former_rules"
"""Member of `settings.json` with the rules by which older batches were counted."""
_MAX_FORMER_RULES: Final = 32
"""Number of former sets of rules that are kept, so that `verify` can count older batches again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits, retention and stores of the batches of one subsystem."""

    type: str
    """`type` in the metadata of each batch."""
    version: str
    """`version` in the metadata of each batch."""
    records: int
    """Records in a batch."""
    bytes: int
    """Bytes of lines in a batch."""
    seconds: float
    """Age of the oldest line in seconds at which a batch is sealed."""
    quiet_seconds: float
    """The same age if little is logged: less than 16 KiB of lines wait. Equal to `seconds` if that was configured."""
    stores: tuple[str, ...]
    """Addresses, without credentials."""
    pins: tuple[str, ...]
    """Addresses of pin services, without credentials."""
    replicas: int
    """Copies, at stores and pin services, that must be confirmed before a batch counts as shipped."""
    keep_days: float
    """Days that a shipped payload stays."""
    retention: RetentionRule | None
    """How long records are kept everywhere; `None`: for ever."""
    max_spool_bytes: int
    """Limit of segments and unshipped batches."""
    max_store_bytes: int | None
    """Bytes of batches above which shipped payloads may be deleted."""
    publish: bool
    """Whether the home is published after shipping."""
    encrypt: Encrypt | None
    """The public keys to which batches are encrypted; `None`: they are not encrypted."""
    private: bool
    """Whether batches that are not encrypted go only to stores where strangers cannot find them."""
    rules: Rules
    """The rules by which the metadata of batches is counted."""
    ids: tuple[str, ...]
    """Fields whose values the index pages list in Bloom filters."""

    @classmethod
    def of(cls, settings: Settings, subsystem: Subsystem) -> Policy:
        """Make the policy from a handler's settings; missing values come from the subsystem."""
        return cls(
            type=subsystem.type,
            version=str(settings.metadata.get("version", subsystem.version)),
            records=settings.batch.records or subsystem.records,
            bytes=settings.batch.bytes,
            seconds=DEFAULT_SECONDS if settings.batch.seconds is None else settings.batch.seconds,
            quiet_seconds=DEFAULT_QUIET_SECONDS if settings.batch.seconds is None else settings.batch.seconds,
            stores=settings.kubo,
            pins=settings.pins,
            replicas=settings.replicas,
            keep_days=settings.keep_days,
            retention=settings.retention,
            max_spool_bytes=settings.max_spool_bytes,
            max_store_bytes=settings.max_store_bytes,
            publish=settings.publish,
            encrypt=settings.encrypt_for(subsystem.name, subsystem.encrypt),
            private=subsystem.private and not settings.allow_public,
            rules=subsystem.rules.configured(settings.metadata),
            ids=tuple(subsystem.ids),
        )

    def max_age_s(self, waiting_bytes: int) -> float:
        """Return the age of the oldest line, in seconds, at which a batch is sealed.

        Args:
            waiting_bytes: bytes of the lines that wait.
        """
        return self.seconds if waiting_bytes >= QUIET_BYTES else self.quiet_seconds

    def as_json(self) -> dict[str, Any]:
        """Return the members of segment headers and `settings.json`."""
        members = {name: getattr(self, name) for name in self.__slots__}
        members["stores"] = list(self.stores)
        members["pins"] = list(self.pins)
        members["encrypt"] = None if self.encrypt is None else self.encrypt.as_json()
        members["retention"] = None if self.retention is None else self.retention.as_json()
        members["rules"] = self.rules.as_json()
        members["ids"] = list(self.ids)
        return members

    @classmethod
    def default(cls, home: Path, name: str) -> Policy:
        """Make the policy of a subsystem that was not configured, or is not known."""
        subsystem = subsystems.get(name) if name in subsystems.names() else Subsystem(name=name, type=name)
        return cls.of(Settings(home=home), subsystem)

    @classmethod
    def newest_of(cls, headers: Iterable[Header], fallback: Policy) -> Policy:
        """Make the policy from the newest segment; `fallback` gives missing settings, without a segment all of them."""
        newest = newest_header(headers)
        return fallback if newest is None else cls.from_json(newest.settings, fallback)

    @classmethod
    def from_json(cls, members: Mapping[str, Any], fallback: Policy) -> Policy:
        """Make the policy of these members; missing ones, and those of a wrong type, come from `fallback`."""
        values: dict[str, Any] = {}
        for name in cls.__slots__:
            value, default = members.get(name), getattr(fallback, name)
            if name == "retention":
                is_given = name in members and _CHECKS[name](value)
                values[name] = RetentionRule.from_json(value) if is_given else default
                continue
            if name == "rules":
                values[name] = Rules.from_json(value) or default
                continue
            if name == "encrypt":
                values[name] = encryption_in(members) if "encrypt" in members else default
                continue
            fitting = value if _CHECKS[name](value) else default
            values[name] = tuple(fitting or ()) if name in ("stores", "pins", "ids") else fitting
        if "max_store_bytes" in members and members["max_store_bytes"] is None:
            values["max_store_bytes"] = None
        if "quiet_seconds" not in members and "seconds" in members:
            values["quiet_seconds"] = values["seconds"]
        return cls(**values)


def encryption_in(members: Mapping[str, Any]) -> Encrypt | None:
    """Return the settings of encryption in the settings of a header; `None`: its lines need not be encrypted.

    Settings that this release cannot read are `Encrypt()`: its lines are not sealed in clear.
    """
    value = members.get("encrypt")
    return None if value is None else Encrypt.from_json(value)


def _is_count(value: object) -> bool:
    return type(value) is int and 1 <= value <= _MAX_NUMBER


def _is_duration(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= _MAX_NUMBER  # type: ignore[operator]


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(address, str) for address in value)


_CHECKS: Final[Mapping[str, Callable[[object], bool]]] = {
    "type": is_text,
    "version": is_text,
    "records": _is_count,
    "bytes": _is_count,
    "seconds": _is_duration,
    "quiet_seconds": _is_duration,
    "stores": _is_list_of_texts,
    "pins": _is_list_of_texts,
    "replicas": _is_count,
    "keep_days": _is_duration,
    "max_spool_bytes": _is_count,
    "max_store_bytes": lambda value: type(value) is int and 0 <= value <= _MAX_NUMBER,
    "publish": lambda value: type(value) is bool,
    "private": lambda value: type(value) is bool,
    "retention": lambda value: value is None or RetentionRule.from_json(value) is not None,
    "ids": lambda value: isinstance(value, list) and len(value) <= MAX_IDS and all(map(is_id, value)),
}
"""The check of each setting but `rules` and `encrypt`: a foreign header must not stop the keeper."""


def load_policy(path: Path, fallback: Policy) -> Policy:
    """Read the policy in `settings.json`; return `fallback` when the file is missing or damaged.

    Raises:
        OSError: it cannot be read now. Then the fallback is not used, because it names no store.
    """
    try:
        return Policy.from_json(read_settings(path), fallback)
    except (FileNotFoundError, FormatError):
        return fallback


def read_settings(path: Path) -> dict[str, Any]:
    """Read the members of `settings.json`.

    Raises:
        FormatError: it is damaged.
        OSError: it cannot be read; `FileNotFoundError` when it is missing.
    """
    members = _parsed(path)
    claim, actual = members.pop(_CHECK, None), _checksum(members)
    if claim not in (None, actual):
        raise FormatError("the checksum of settings is wrong", expected=claim, found=actual, where=path)
    return members


def _parsed(path: Path) -> dict[str, Any]:
    """Read the members of the file, also if its checksum is wrong."""
    try:
        data = disk.read(path, _MAX_BYTES)
    except disk.WrongFileError as error:
        raise FormatError("settings cannot be read", where=path, found=error.strerror) from error
    try:
        return dict(json.loads(data))
    except (ValueError, TypeError, RecursionError) as error:
        raise FormatError("settings are not JSON", where=path, found=str(error)) from error


def rules_in(path: Path) -> dict[str, Rules]:
    """Read the rules in `settings.json` by their ids: the current ones, and former ones of older batches.

    `verify` counts a batch again by the rules that its manifest names. If the file is lost, these rules are lost, too;
    if it is damaged, the undamaged rules still have their ids.

    Raises:
        OSError: it cannot be read now.
    """
    try:
        members = _parsed(path)
    except (FileNotFoundError, FormatError):
        return {}
    former = members.get(_FORMER)
    stored = [members.get("rules"), *(former if isinstance(former, list) else ())]
    return {rules.id: rules for members_of_rules in stored if (rules := Rules.from_json(members_of_rules))}


def store_policy(path: Path, policy: Policy) -> None:
    """Replace `settings.json`. If it is lost, the default policy is used until the next segment."""
    known = rules_in(path)
    former = [rules.as_json() for name, rules in known.items() if name != policy.rules.id][:_MAX_FORMER_RULES]
    members = policy.as_json() | ({_FORMER: former} if former else {})
    text = json.dumps({**members, _CHECK: _checksum(members)}, indent=1)
    disk.replace(path, text.encode() + b"\n", sync=False)


def _checksum(members: Mapping[str, Any]) -> str:
    return f"{crc32(json.dumps(members, sort_keys=True).encode()):08x}"
