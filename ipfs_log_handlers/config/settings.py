"""Hold the settings of a handler or processor, and check their values.

dictConfig gives flat keywords; `Settings.parse` turns them into values, takes defaults from the environment
(`IPFS_LOGS_HOME`, `IPFS_LOGS_KUBO`, `IPFS_LOGS_PINS` and their tokens, `IPFS_LOGS_PUBLISH`, `IPFS_LOGS_RECIPIENTS`)
and names what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, get_args

from ipfs_log_handlers.config.addresses import VARIABLES, own_token, pin_services, store_addresses
from ipfs_log_handlers.config.encryption import (
    Encrypt,
    EncryptKeywords,
    encrypt_of_subsystem,
    encrypt_setting,
    refuse_without_library,
)
from ipfs_log_handlers.config.keywords import check_names, refuse_unresolved, resolved
from ipfs_log_handlers.config.location import default_home
from ipfs_log_handlers.config.redact import Redact, RedactAction, RedactRules, parse_redact
from ipfs_log_handlers.config.retention import RetentionRule
from ipfs_log_handlers.errors import ConfigurationError

__all__ = [
    "DEFAULT_QUIET_SECONDS",
    "DEFAULT_SECONDS",
    "Batch",
    "Durability",
    "Gil",
    "Include",
    "Keeper",
    "Keywords",
    "Settings",
    "WhenFull",
    "configured_home",
    "setting_names",
    "source",
]

Durability = Literal["process", "power"]
WhenFull = Literal["drop_new", "block"]
Keeper = Literal["thread", "none"]
Gil = Literal["auto", "release"]
Include = Literal["source", "thread", "process", "task", "host"]
Default = Callable[[Any], Any]
OnDrop = Callable[[str, int], object]

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
"""Bytes of a kibibyte, a mebibyte and a gibibyte."""
_MAX_METADATA_NAMES: Final = 64
"""Largest number of names in `metadata`, and in a mapping inside it."""
_MAX_METADATA_CHARACTERS: Final = 256
"""Largest number of characters of a text in `metadata`."""
_MAX_METADATA_NUMBER: Final = 1 << 63
"""Limit of a number in `metadata`: it must fit into a signed integer of 64 bits."""
_MAX_BYTES: Final = 1 << 60
"""Largest value of a setting that counts bytes."""
_FLAGS: Final = {"1": True, "0": False, "true": True, "false": False, "yes": True, "no": False}
"""Values of a variable of the environment that stands for a boolean."""
_MAX_SHOWN_CHARACTERS: Final = 200
"""Characters of a wrong value that an error shows."""


DEFAULT_SECONDS: Final = 10.0
"""Age in seconds at which a batch is sealed by default."""
DEFAULT_QUIET_SECONDS: Final = 60.0
"""Age in seconds at which a batch is sealed by default if little is logged. Its records are durable before that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Limits of a batch: it is due as soon as one of the three is reached."""

    records: int | None = None
    """Records in a batch; `None`: the number of the subsystem."""
    bytes: int = MIB
    """Bytes of lines in a batch; larger batches are not compressed better."""
    seconds: float | None = None
    """Age in seconds of the oldest line at which a batch is sealed; a reader on another machine waits at most so long.
    `None`: 10 s if at least 16 KiB of lines wait, otherwise 60 s. A record is durable during this time."""

    def __post_init__(self) -> None:
        if self.records is not None:
            _number("batch.records", self.records, int, 1, 10_000_000)
        _number("batch.bytes", self.bytes, int, KIB, 64 * MIB)
        if self.seconds is not None:
            _check_batch_seconds(self.seconds)

    @classmethod
    def parse(cls, value: object) -> Batch:
        """Return a batch policy from `None`, a `Batch`, or a mapping of any of its fields."""
        if value is None:
            return cls()
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                "not a batch policy",
                where="batch",
                expected="a mapping such as {'records': 100, 'seconds': 10}",
                found=repr(value),
            )
        check_names("batch", value, [field.name for field in fields(cls)])
        if "seconds" in value:  # users get the default by leaving the key out
            _check_batch_seconds(value["seconds"])
        return cls(**value)


def _check_batch_seconds(value: object) -> None:
    _number("batch.seconds", value, float, 0.01, 86_400 * 365)


class Keywords(TypedDict, total=False):
    """Keywords of a handler or processor, for type checkers; `Settings` says what they mean."""

    home: str | os.PathLike[str] | None
    kubo: str | Sequence[str] | None
    token: str | None
    pins: str | Sequence[str] | None
    pins_token: str | None
    replicas: int
    batch: Batch | Mapping[str, float] | None
    flush_timeout: float
    durability: Durability
    when_full: WhenFull
    max_spool_bytes: int
    max_store_bytes: int | None
    keep_days: float
    retention: RetentionRule | Mapping[str, str] | None
    max_record_bytes: int
    keeper: Keeper
    gil: Gil
    publish: bool
    encrypt: Encrypt | EncryptKeywords | Literal[False] | None
    allow_public: bool
    redact: Redact | str | Sequence[str] | Mapping[str, RedactAction] | None
    metadata: Mapping[str, Any] | None
    include: Include | Sequence[Include] | None
    default: Default | None
    on_drop: OnDrop | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a handler, checked."""

    home: Path
    """Directory of the spool, the batches and the key."""
    kubo: tuple[str, ...] = ()
    """Addresses of the stores, without credentials; empty: no data leaves the machine."""
    token: str | None = field(default=None, repr=False)
    """Kubo's `bearer:…` or `basic:…`, or `env:NAME`, `file:PATH`. Never written to the home."""
    pins: tuple[str, ...] = ()
    """Addresses of pin services, which keep further copies of the batches that a store has confirmed:
    `cluster+http://HOST:9094` or `remote:SERVICE`."""
    pins_token: str | None = field(default=None, repr=False)
    """Credential of the clusters in `pins`, in the forms of `token`. Never written to the home."""
    replicas: int = 1
    """Copies, at stores and pin services together, that must be confirmed before a batch counts as shipped."""
    batch: Batch = field(default_factory=Batch)
    """Limits of a batch; a batch is due when one of them is reached."""
    flush_timeout: float = 5.0
    """Seconds that `flush` and `close` wait at most, for all handlers of a home together."""
    durability: Durability = "process"
    """`process`: a record survives kill -9 of the program. `power`: it is on the disk before `emit` returns."""
    when_full: WhenFull = "drop_new"
    """The treatment of new records while disk or spool are full: drop and count them, or wait up to `flush_timeout`."""
    max_spool_bytes: int = GIB
    """Allocated bytes that segments and batches not yet shipped may take."""
    max_store_bytes: int | None = None
    """Bytes of batches above which shipped payloads older than `keep_days` are deleted here; `None`: no limit."""
    keep_days: float = 7.0
    """Days that a shipped payload stays in the home at least."""
    retention: RetentionRule | None = None
    """How long records are kept everywhere, and what happens to their payloads then; `None`: they are kept for ever."""
    max_record_bytes: int = 8 * MIB
    """Bytes of a record; in a larger record the longest texts are cut; their length and digest are kept."""
    keeper: Keeper = "thread"
    """`thread`: a thread of this program may seal and ship. `none`: `ipfs-logs ship --follow` does so, beside it."""
    gil: Gil = "auto"
    """What the accelerator does with Python's global lock (GIL) while it writes a record. `auto`: it keeps the lock, so
    that a thread that computes cannot delay the thread that logs; if the disk stalls, it gives the lock up for a while.
    `release`: it always gives the lock up, so that a stalled disk never stalls another thread."""
    publish: bool = False
    """Whether the home is published after shipping: a name then leads others to the newest head of each log in it."""
    encrypt: Encrypt | None = None
    """The public keys to which batches are encrypted when they are sealed; `None`: batches are not encrypted."""
    encrypt_from: Literal["keyword", "environment"] | None = field(
        default=None, compare=False, metadata={"keyword": False}
    )
    """What said how to encrypt; `None`: nothing did."""
    allow_public: bool = False
    """Whether records of a private subsystem are shipped also to stores where strangers can find them."""
    redact: Redact | RedactRules | None = None
    """Names and patterns of fields whose values are hidden before a record reaches the disk, in texts too
    (`redaction.py`), and detectors such as `@email`, which find values without a name; or a mapping from these to
    `hide` or `pseudonym`; or a function of the record (its fields, `event`, `exception`, `stack`) that returns the dict
    to keep."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Key/value pairs for the metadata of each batch, if its records do not give them: `version`, and further names of
    the subsystem (`component`, `node_id`, …)."""
    include: tuple[Include, ...] = ()
    """Fields about its origin that every record gets, by name: `source` (`file`, `line`, `function`), `thread`,
    `process`, `task` and `host`."""
    default: Default | None = None
    """Function that turns a value of a type that `format.values` does not know into a JSON value."""
    on_drop: OnDrop | None = None
    """Function that is called on the thread that logged when records could not be kept. It gets the reason, as in
    `dropped` of `status()`, and the number of records. Exceptions of this function are counted under `failures`."""

    def __post_init__(self) -> None:
        _number("replicas", self.replicas, int, 1, 64)
        copies = len(self.kubo) + len(self.pins)
        if self.kubo and self.replicas > copies:
            raise ConfigurationError(
                "more replicas than stores" if not self.pins else "more replicas than stores and pin services",
                where="replicas",
                expected=f"at most {copies}",
                found=self.replicas,
                hint="Give kubo a list of that many addresses.",
            )
        _number("flush_timeout", self.flush_timeout, float, 0, 86_400)
        _number("max_spool_bytes", self.max_spool_bytes, int, 64 * KIB, _MAX_BYTES)
        if self.max_store_bytes is not None:
            _number("max_store_bytes", self.max_store_bytes, int, 0, _MAX_BYTES)
        _number("keep_days", self.keep_days, float, 0, 1e6)
        _number("max_record_bytes", self.max_record_bytes, int, KIB, 64 * MIB)
        _choice("durability", self.durability, get_args(Durability))
        _choice("when_full", self.when_full, get_args(WhenFull))
        _choice("keeper", self.keeper, get_args(Keeper))
        _choice("gil", self.gil, get_args(Gil))
        for name, value in (("publish", self.publish), ("allow_public", self.allow_public)):
            if type(value) is not bool:
                raise ConfigurationError("not a boolean", where=name, expected="true or false", found=_with_kind(value))

    @classmethod
    def parse(cls, keywords: Mapping[str, Any], *, owner: str = "IPFSHandler", also: Iterable[str] = ()) -> Settings:
        """Return the settings that the keywords of a dictConfig give.

        Args:
            keywords: settings by name.
            owner: name of the function that takes the keywords, for the error about a misspelt keyword.
            also: further keywords of this function, for the hint in that error.

        Raises:
            ConfigurationError: a name or value is wrong; the error names it, and the most similar right one.
        """
        keywords = {str(name): resolved(value) for name, value in keywords.items()}
        check_names(owner, keywords, setting_names(), also=also)
        for name, value in keywords.items():
            refuse_unresolved(name, value)
        given = {name: value for name, value in keywords.items() if value is not None or name == "max_store_bytes"}
        given["home"] = configured_home(given.get("home"))
        given["kubo"] = store_addresses(*source(given, "kubo"))
        given["token"] = own_token("kubo", given["kubo"], *source(given, "token"))
        given["pins"] = pin_services(given["kubo"], *source(given, "pins"))
        given["pins_token"] = own_token("pins", given["pins"], *source(given, "pins_token"))
        given["publish"] = _publish(given["kubo"], *source(given, "publish"))
        given["batch"] = Batch.parse(given.get("batch"))
        said = "encrypt" in given
        given["encrypt"] = encrypt_setting(given.get("encrypt"))
        given["encrypt_from"] = "keyword" if said else "environment" if given["encrypt"] is not None else None
        if given["encrypt"] is not None and given.get("keeper", "thread") == "thread":
            refuse_without_library("encrypt")
        given["retention"] = RetentionRule.parse(given.get("retention"))
        given["redact"] = parse_redact(given.get("redact"))
        given["metadata"] = _metadata(given.get("metadata"))
        given["include"] = _include(given.get("include"))
        given["default"] = _function("default", given.get("default"), "one value")
        given["on_drop"] = _function("on_drop", given.get("on_drop"), "a reason and a number")
        return cls(**given)

    def encrypt_for(self, name: str, own: object) -> Encrypt | None:
        """Return how the batches of a subsystem are encrypted; `None`: they are not.

        The keyword of the handler counts first, then the subsystem, then `IPFS_LOGS_RECIPIENTS`. Wrong settings of a
        subsystem are `Encrypt()`: its records are not sealed in clear, and wait for an issued key.

        Args:
            name: the subsystem.
            own: its own setting.
        """
        if own is None or self.encrypt_from == "keyword":
            return self.encrypt
        try:
            return encrypt_of_subsystem(name, own)
        except ConfigurationError:
            return Encrypt()

    def with_records(self, records: int) -> Settings:
        """Return these settings with the subsystem's batch size, if none was configured."""
        if self.batch.records is not None:
            return self
        return replace(self, batch=replace(self.batch, records=records))


def setting_names() -> tuple[str, ...]:
    """Return the keywords that become `Settings`."""
    return tuple(field.name for field in fields(Settings) if field.metadata.get("keyword", True))


def source(keywords: Mapping[str, object], name: str) -> tuple[object, str]:
    """Return the value of a setting with an environment variable, and its source: its keyword, else the variable."""
    value, variable = keywords.get(name), VARIABLES[name]
    if value is None and os.environ.get(variable):
        return os.environ[variable], variable
    return value, name


def configured_home(path: object = None) -> Path:
    """Return the absolute path of a home.

    Args:
        path: the directory; `None`: `IPFS_LOGS_HOME`, else the program's own below the user's state directory.

    Raises:
        ConfigurationError: the path is malformed; if it came from the environment, the error names the variable.
    """
    return _home(*source({"home": path}, "home"))


def _home(value: object, where: str) -> Path:
    if value is None:
        return default_home().absolute()
    if not isinstance(value, (str, os.PathLike)) or not str(value) or isinstance(os.fspath(value), bytes):
        raise ConfigurationError("not a directory", where=where, expected="a path", found=repr(value))
    if "\0" in str(value):
        raise ConfigurationError("not a directory", where=where, expected="a path without NUL", found=repr(value))
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigurationError(
            "the home directory for ~ is unknown", where=where, found=repr(value), hint="Give an absolute path."
        ) from error


def _publish(stores: Sequence[str], value: Any, where: str) -> Any:
    """Return whether the home is published; the word of the environment is only for handlers that have a store."""
    if where != VARIABLES["publish"]:
        return False if value is None else value
    word = str(value).strip().lower()
    if word not in _FLAGS:
        raise ConfigurationError("not a boolean", where=where, expected=" or ".join(_FLAGS), found=ascii(value)[:80])
    return _FLAGS[word] and bool(stores)


def _include(value: object) -> tuple[Include, ...]:
    choices = get_args(Include)
    if isinstance(value, str):
        value = [value]
    names = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
    for name in names if value is not None else ():
        if name not in choices:
            raise ConfigurationError(
                "not a part of the origin of a record",
                where="include",
                expected=f"a list of any of {', '.join(choices)}",
                found=repr(name)[:_MAX_SHOWN_CHARACTERS],
            )
    return tuple(choice for choice in choices if choice in names)


def _function(name: str, value: object, arguments: str) -> Callable[..., Any] | None:
    if value is not None and not callable(value):
        raise ConfigurationError(
            "not a function",
            where=name,
            expected=f"a function of {arguments}, in a dictConfig 'ext://module.function'",
            found=repr(value)[:_MAX_SHOWN_CHARACTERS],
        )
    return value


def _metadata(value: object) -> dict[str, Any]:
    """Check the values of `metadata`; the subsystem checks the names."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > _MAX_METADATA_NAMES:
        raise ConfigurationError(
            "not metadata",
            where="metadata",
            expected="a mapping such as {'version': '2.1'}",
            found=repr(value)[:_MAX_SHOWN_CHARACTERS],
        )
    return {str(name): _metadata_value(f"metadata.{name}", inner) for name, inner in value.items()}


def _metadata_value(where: str, value: object) -> Any:
    if isinstance(value, Mapping) and len(value) <= _MAX_METADATA_NAMES:
        members = {str(name): _metadata_value(f"{where}.{name}", inner) for name, inner in value.items()}
        if all(isinstance(inner, str) for inner in members.values()):
            return members
    short = isinstance(value, str) and len(value) <= _MAX_METADATA_CHARACTERS and value.isprintable()
    if not short and not (isinstance(value, (int, float)) and -_MAX_METADATA_NUMBER < value < _MAX_METADATA_NUMBER):
        raise ConfigurationError(
            "not a value for metadata",
            where=where,
            expected=f"a printable text of at most {_MAX_METADATA_CHARACTERS} characters, a number or a boolean",
            found=repr(value)[:_MAX_SHOWN_CHARACTERS],
        )
    return value


def _number(name: str, value: object, kind: type[int | float], minimum: float, maximum: float) -> None:
    description = "a whole number" if kind is int else "a number"
    expected = f"{description} from {_grouped(minimum)} to {_grouped(maximum)}"
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise ConfigurationError(f"not {description}", where=name, expected=expected, found=_with_kind(value))
    if not minimum <= value <= maximum:
        raise ConfigurationError("a number out of its range", where=name, expected=expected, found=repr(value))


def _grouped(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:,}"


def _with_kind(value: object) -> str:
    """Return the text of a value of a wrong type, with its type if the text alone would look like a right value."""
    kinds = {str: "the text ", bool: "the boolean ", float: "the float "}
    return kinds.get(type(value), "") + repr(value)[:_MAX_SHOWN_CHARACTERS]


def _choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigurationError(
            "not one of the choices", where=name, expected=" or ".join(map(repr, choices)), found=repr(value)
        )
