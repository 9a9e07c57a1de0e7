"""The settings of a handler or processor: parsed, checked and frozen in one place.

What dictConfig gives are flat keywords; `Settings.parse` turns them into values, takes defaults from the environment
(`IPFS_LOGS_HOME`, `IPFS_LOGS_KUBO`, `IPFS_LOGS_TOKEN`) and names what is wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, get_args

from ipfs_log_handlers.errors import ConfigurationError

__all__ = [
    "Batch",
    "Durability",
    "Keeper",
    "Keywords",
    "Settings",
    "WhenFull",
    "check_names",
    "default_home",
    "homes_directory",
    "program_name",
    "setting_names",
    "source",
]

Durability = Literal["process", "power"]
WhenFull = Literal["drop_new", "block"]
Keeper = Literal["thread", "none"]
Redact = Callable[[dict[str, Any]], dict[str, Any]]

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
_MOST_METADATA: Final = 64
_LONGEST_METADATA: Final = 256
_HUGE: Final = 1 << 63
_VARIABLES: Final = {"home": "IPFS_LOGS_HOME", "kubo": "IPFS_LOGS_KUBO", "token": "IPFS_LOGS_TOKEN"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """When lines become a batch: as soon as one of the three is reached."""

    records: int | None = None
    """Records in a batch; `None`: the subsystem's own number."""
    bytes: int = MIB
    """Bytes of lines in a batch: where compression stops paying (1 MiB gives all of the ratio)."""
    seconds: float = 10.0
    """Age of the oldest line: how long a reader elsewhere waits at most."""

    def __post_init__(self) -> None:
        if self.records is not None:
            _number("batch.records", self.records, int, 1, 10_000_000)
        _number("batch.bytes", self.bytes, int, KIB, 64 * MIB)
        _number("batch.seconds", self.seconds, float, 0.01, 86_400 * 365)

    @classmethod
    def parse(cls, value: object) -> Batch:
        """`None`, a `Batch`, or a mapping of any of its fields."""
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
        check_names("batch", value, [each.name for each in fields(cls)])
        return cls(**value)


class Keywords(TypedDict, total=False):
    """The keywords of a handler or processor, for type checkers; `Settings` says what each means."""

    home: str | os.PathLike[str] | None
    kubo: str | Sequence[str] | None
    token: str | None
    replicas: int
    batch: Batch | Mapping[str, float] | None
    flush_timeout: float
    durability: Durability
    when_full: WhenFull
    max_spool_bytes: int
    max_store_bytes: int | None
    keep_days: float
    max_record_bytes: int
    keeper: Keeper
    redact: Redact | str | Sequence[str] | None
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a handler can be told, checked."""

    home: Path
    """Directory of the spool, the batches and the key."""
    kubo: tuple[str, ...] = ()
    """Addresses of the stores, without credentials; empty: nothing leaves the machine."""
    token: str | None = field(default=None, repr=False)
    """Kubo's `bearer:…` or `basic:…`, or `env:NAME`, `file:PATH`. Never written to the home."""
    replicas: int = 1
    """Stores that must confirm a batch before it counts as shipped."""
    batch: Batch = field(default_factory=Batch)
    """When lines become a batch."""
    flush_timeout: float = 5.0
    """Seconds that `flush` and `close` wait at most, all handlers of a home together."""
    durability: Durability = "process"
    """`process`: survives kill -9 of the program. `power`: on the disk before `emit` returns."""
    when_full: WhenFull = "drop_new"
    """What a full disk or a full spool does to a new record: count and drop it, or wait up to `flush_timeout`."""
    max_spool_bytes: int = GIB
    """Bound of segments and of batches not yet shipped, in allocated bytes."""
    max_store_bytes: int | None = None
    """Above it, payloads that are shipped and older than `keep_days` leave the home; `None`: they all stay."""
    keep_days: float = 7.0
    """Days that a shipped payload stays in the home at least."""
    max_record_bytes: int = 8 * MIB
    """Of a larger record the longest texts are cut, with original length and digest."""
    keeper: Keeper = "thread"
    """`thread`: a thread of this program may seal and ship. `none`: `ipfs-logs ship --follow` does, beside it."""
    redact: Redact | tuple[str, ...] | None = None
    """Applied before the disk: names and patterns of fields whose values are hidden, in texts too (`redaction.py`); or
    a function of the record (its fields, `event`, `exception`, `stack`) that returns what is kept of it."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What batches say where their records do not: `version`, and what the subsystem takes besides (`component`,
    `node_id`, …)."""

    def __post_init__(self) -> None:
        _number("replicas", self.replicas, int, 1, 64)
        if self.kubo and self.replicas > len(self.kubo):
            raise ConfigurationError(
                "more replicas than stores",
                where="replicas",
                expected=f"at most {len(self.kubo)}",
                found=self.replicas,
                hint="Give kubo a list of that many addresses.",
            )
        _number("flush_timeout", self.flush_timeout, float, 0, 86_400)
        _number("max_spool_bytes", self.max_spool_bytes, int, 64 * KIB, 1 << 60)
        if self.max_store_bytes is not None:
            _number("max_store_bytes", self.max_store_bytes, int, 0, 1 << 60)
        _number("keep_days", self.keep_days, float, 0, 1e6)
        _number("max_record_bytes", self.max_record_bytes, int, KIB, 64 * MIB)
        _choice("durability", self.durability, get_args(Durability))
        _choice("when_full", self.when_full, get_args(WhenFull))
        _choice("keeper", self.keeper, get_args(Keeper))

    @classmethod
    def parse(cls, keywords: Mapping[str, Any], *, owner: str = "IPFSHandler", also: Iterable[str] = ()) -> Settings:
        """Check keywords as dictConfig gives them.

        Args:
            keywords: settings by name.
            owner: whose keywords they are, for the error at a misspelt one.
            also: names that the owner takes itself, for the hint there.

        Raises:
            ConfigurationError: a name or value is wrong; says which, and the nearest right one.
        """
        check_names(owner, keywords, setting_names(), also=also)
        given = {name: value for name, value in keywords.items() if value is not None or name == "max_store_bytes"}
        given["home"] = _home(*source(given, "home"))
        given["kubo"] = _addresses(*source(given, "kubo"))
        given["token"] = _token(*source(given, "token"))
        given["batch"] = Batch.parse(given.get("batch"))
        given["redact"] = _redact(given.get("redact"))
        given["metadata"] = _metadata(given.get("metadata"))
        return cls(**given)

    def with_records(self, records: int) -> Settings:
        """The same settings with the subsystem's batch size where none was configured."""
        if self.batch.records is not None:
            return self
        return replace(self, batch=replace(self.batch, records=records))


def setting_names() -> tuple[str, ...]:
    """The keywords that become `Settings`."""
    return tuple(each.name for each in fields(Settings))


def check_names(owner: str, given: Iterable[object], names: Iterable[str], *, also: Iterable[str] = ()) -> None:
    """Refuse a keyword that is not there.

    Args:
        owner: whose keywords they are.
        given: the names that were given.
        names: the right ones.
        also: right ones that cannot be among those given, for they were taken out before.

    Raises:
        ConfigurationError: names the nearest right one, or all of them.
    """
    accepted = list(names)
    for key in given:
        if key not in accepted:
            import difflib

            known = [*accepted, *also]
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            told = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise ConfigurationError(f"no such keyword {key!r}; {told}", where=owner)


def source(keywords: Mapping[str, object], name: str) -> tuple[object, str]:
    """What is given for `home`, `kubo` or `token`, and where: under its own name, else in the variable for it."""
    value, variable = keywords.get(name), _VARIABLES[name]
    if value is None and os.environ.get(variable):
        return os.environ[variable], variable
    return value, name


def program_name() -> str:
    """The name under which a program's logs lie: its script's, package's or, without one, `python`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec is not None and spec.name != "__main__" else ""
    if not name:
        name = Path(getattr(main, "__file__", None) or "python").stem
    clean = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).strip(".")
    return clean[:100] or "python"


def default_home() -> Path:
    """Where logs lie if nothing is said: the program's own directory under the user's state directory."""
    return homes_directory() / program_name()


def homes_directory() -> Path:
    """Where homes lie by default, one for each program."""
    import platformdirs

    return Path(platformdirs.user_state_dir("ipfs-logs", appauthor=False))


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
        raise ConfigurationError("a ~ that is nobody's directory", where=where, found=repr(value)) from error


def _addresses(value: object, where: str) -> tuple[str, ...]:
    from ipfs_log_handlers.stores.address import normalise

    if value is None or value == "":
        return ()
    if isinstance(value, str):
        value = value.replace(",", " ").split()
    if not isinstance(value, Sequence) or not all(isinstance(each, str) and each for each in value):
        raise ConfigurationError(
            "not the address of a store",
            where=where,
            expected="a URL, a multiaddr, 'auto', or a list of them",
            found=repr(value),
        )
    try:
        found = tuple(normalise(each) for each in value)
    except ConfigurationError as error:
        error.where = f"{where}: {error.where}" if error.where else where
        raise
    if len(set(found)) != len(found):
        raise ConfigurationError("a store stands twice in the list", where=where, found=", ".join(found))
    return found


def _token(value: object, where: str) -> str | None:
    from ipfs_log_handlers.stores.address import normalise_token

    if value == "":
        raise ConfigurationError("empty", where=where, hint="Leave it out where a store wants no token.")
    return normalise_token(value, where)


def _redact(value: object) -> Redact | tuple[str, ...] | None:
    if value is None or callable(value):
        return value
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Sequence) and all(isinstance(each, str) and each for each in value):
        return tuple(value)
    raise ConfigurationError(
        "not a redaction rule", where="redact", expected="a function, or names of fields", found=repr(value)
    )


def _metadata(value: object) -> dict[str, Any]:
    """Check values of `metadata`; which names a subsystem takes, the subsystem knows."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > _MOST_METADATA:
        raise ConfigurationError(
            "not metadata", where="metadata", expected="a mapping such as {'version': '2.1'}", found=repr(value)[:200]
        )
    return {str(name): _metadata_value(f"metadata.{name}", each) for name, each in value.items()}


def _metadata_value(where: str, value: object) -> Any:
    if isinstance(value, Mapping) and len(value) <= _MOST_METADATA:
        found = {str(name): _metadata_value(f"{where}.{name}", each) for name, each in value.items()}
        if all(isinstance(each, str) for each in found.values()):
            return found
    short = isinstance(value, str) and len(value) <= _LONGEST_METADATA and value.isprintable()
    if not short and not (isinstance(value, (int, float)) and -_HUGE < value < _HUGE):
        raise ConfigurationError(
            "not a value for metadata",
            where=where,
            expected=f"a printable text of at most {_LONGEST_METADATA} characters, a number or a boolean",
            found=repr(value)[:200],
        )
    return value


def _number(name: str, value: object, kind: type[int | float], least: float, most: float) -> None:
    what = "a whole number" if kind is int else "a number"
    expected = f"{what} from {_grouped(least)} to {_grouped(most)}"
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise ConfigurationError(f"not {what}", where=name, expected=expected, found=_with_kind(value))
    if not least <= value <= most:
        raise ConfigurationError("a number out of its range", where=name, expected=expected, found=repr(value))


def _grouped(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:,}"


def _with_kind(value: object) -> str:
    """A value of a wrong type, with the type where the value alone could pass for another."""
    kinds = {str: "the text ", bool: "the boolean ", float: "the float "}
    return kinds.get(type(value), "") + repr(value)[:200]


def _choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigurationError(
            "no such choice", where=name, expected=" or ".join(map(repr, choices)), found=repr(value)
        )
