"""Define the metadata of a batch as data: each rule is an aggregate over the records of the batch.

The keeper that seals a batch can be a process that has not imported the subsystems of the program. Therefore a rule is
not code, but the name of an aggregate with names of fields. It is written as JSON into the header of each segment, and
the keeper evaluates it (`stats/aggregates.py`).

The rules of a subsystem count complete events: records whose event is one of the subsystem, and which have all fields
that the event requires. If a subsystem has no events, all its records count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Final, NoReturn, TypeGuard

from ipfs_log_handlers.errors import ConfigurationError

__all__ = [
    "Required",
    "Rule",
    "Rules",
    "Scalar",
    "count",
    "counts",
    "distinct",
    "distinct_count",
    "is_name",
    "is_scalar",
    "is_text",
    "required_fields",
    "single",
    "worst",
]

Scalar = str | int | float | bool | None
Required = tuple[str | tuple[str, ...], ...]
"""Names of required fields; of the fields in an inner tuple, one is enough."""

KINDS: Final = ("count", "counts", "distinct", "distinct_count", "single", "worst")
"""The names of all aggregates."""
_MAX_ENTRIES: Final = 64
"""Entries in each list or mapping of a rule."""
_MAX_TEXT_LENGTH: Final = 256
"""Characters of each name and value of a rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One aggregate over the records of a batch. The functions of this module make rules."""

    rule: str
    """Name of the aggregate: `count, counts, distinct, distinct_count, single, worst`."""
    field: str = ""
    """The field that it reads; records without it count only in `count`."""
    per: str = ""
    """Only the last record of each value of this field counts."""
    where: tuple[tuple[str, Scalar], ...] = ()
    """Only records whose fields have these values count."""
    order: tuple[str, ...] = ()
    """`worst`: values, the worst first; the last one is the result if no record has any of them."""
    plural: str = ""
    """`single`: the key of the list of values, if there are several."""
    configured: str = ""
    """`single`: the name in the `metadata` of a handler that gives the value if records have different values."""
    otherwise: Scalar = None
    """`single`: the value if neither records nor configuration give one. In a text, `{first}` is replaced by the time
    of the first record (seconds since 1970) and `{index}` by the number of the batch."""
    logger: bool = False
    """`single`: for a record without the field, the last part of the name of its logger counts."""
    prefixes: tuple[tuple[str, str], ...] = ()
    """`single` with `logger`: a name for each logger and those below it, the longest prefix first."""

    def __post_init__(self) -> None:
        if self.rule not in KINDS:
            _refuse("no such rule", "one of " + ", ".join(KINDS), self.rule)
        for name in ("field", "per", "plural", "configured"):
            if getattr(self, name) != "" and not is_name(getattr(self, name)):
                _refuse(f"`{name}` of a rule is a name", "short, printable, no quotes", getattr(self, name))
        if not self.field and self.rule not in {"count", "single"}:
            _refuse(f"`{self.rule}` needs a field", "field=…", "none")
        if self.rule == "worst" and not (self.per and self.order):
            _refuse("`worst` needs `per` and `order`", "both", (self.per, self.order))
        if self.rule == "single" and not (self.plural and (self.field or self.logger)):
            _refuse("`single` needs a plural, and a field or `logger`", "both", (self.field, self.plural))
        if not all(is_name(name) and is_scalar(value) for name, value in self.where):
            _refuse("`where` gives values of fields", "texts, numbers or booleans", self.where)
        if not all(is_text(name) and is_text(value) for name, value in self.prefixes):
            _refuse("`prefixes` gives names for loggers", "texts", self.prefixes)
        if not all(map(is_text, self.order)):
            _refuse("`order` lists values", "texts", self.order)
        if not is_scalar(self.otherwise) or type(self.logger) is not bool:
            _refuse("not a value for a rule", "a short text, a number or a boolean", (self.otherwise, self.logger))
        if max(map(len, (self.where, self.order, self.prefixes))) > _MAX_ENTRIES:
            _refuse("a rule is too long", f"at most {_MAX_ENTRIES} entries", "more")

    @property
    def fields(self) -> Iterator[str]:
        """The fields of a record that it reads."""
        yield from (name for name in (self.field, self.per, *dict(self.where)) if name)
        if self.logger:
            yield "logger"

    def as_json(self) -> dict[str, Any]:
        """Return the form for headers of segments, which `Rule.parse` reads."""
        members = {name: getattr(self, name) for name in self.__slots__}
        for name in ("where", "prefixes"):
            members[name] = dict(members[name])
        members["order"] = list(self.order)
        return {name: value for name, value in members.items() if value or (name == "otherwise" and value is not None)}

    @classmethod
    def parse(cls, given: object) -> Rule:
        """Make a rule from the mapping of its fields, which a configuration or a header has; return a rule unchanged.

        Raises:
            ConfigurationError: it is not a rule.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
            _refuse("not a rule", "a mapping such as {'rule': 'distinct', 'field': 'status'}", given)
        members = dict(given)
        for name in members:
            if name not in cls.__slots__:
                _refuse("no such setting of a rule", "one of " + ", ".join(cls.__slots__), name)
        for name in ("where", "prefixes"):
            if name in members:
                if not isinstance(members[name], Mapping):
                    _refuse(f"`{name}` of a rule is a mapping", "values by name", members[name])
                members[name] = _by_length(members[name]) if name == "prefixes" else tuple(members[name].items())
        if "order" in members:
            members["order"] = _listed("order", members["order"])
        if "rule" not in members:
            _refuse("a rule without its name", "'rule': one of " + ", ".join(KINDS), sorted(members))
        return cls(**members)


def count(**where: Scalar) -> Rule:
    """Make a rule that counts records: all, or those with these values in their fields."""
    return Rule(rule="count", where=tuple(where.items()))


def counts(field: str, *, per: str = "", **where: Scalar) -> Rule:
    """Make a rule that counts records by the value of a field.

    With `per`, only the last record of each value of that other field counts.
    """
    return Rule(rule="counts", field=field, per=per, where=tuple(where.items()))


def distinct(field: str) -> Rule:
    """Make a rule that lists the values of a field, sorted."""
    return Rule(rule="distinct", field=field)


def distinct_count(field: str) -> Rule:
    """Make a rule that counts the different values of a field."""
    return Rule(rule="distinct_count", field=field)


def worst(field: str, *, per: str, order: Sequence[str]) -> Rule:
    """Make a rule that gives the first of `order` that the last record of any value of `per` has, else its last."""
    return Rule(rule="worst", field=field, per=per, order=tuple(order))


def single(
    field: str = "", *, plural: str, configured: str | None = None, otherwise: Scalar = None, logger: bool = False
) -> Rule:
    """Make a rule that gives the value of a field, if it is the same in all records that have the field.

    Otherwise it gives the configured value, and also the sorted list of all values.

    Args:
        field: name of the field; may be empty with `logger`.
        plural: the key of the list.
        configured: the name in the `metadata` of a handler that gives the value; default: the name of the field.
        otherwise: the value if none is configured.
        logger: for a record without the field, the last part of the name of its logger counts.
    """
    named = field if configured is None else configured
    return Rule(rule="single", field=field, plural=plural, configured=named, otherwise=otherwise, logger=logger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rules of a subsystem: the keeper needs them to compute the metadata of a batch."""

    required: Mapping[str, Required] = field(default_factory=dict)
    """The events of the subsystem with their required fields; empty: every record counts."""
    meta: Mapping[str, Rule] = field(default_factory=dict)
    """The keys of `meta` with their rules."""
    zone: tuple[str, ...] = ()
    """Fields of the zone map: their bounds and small sets of values are in `stats`."""

    def __bool__(self) -> bool:
        return bool(self.meta or self.zone)

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id or "none"

    @property
    def id(self) -> str:
        """Sixteen hex digits of a hash of the rules; empty if there are none."""
        if not self:
            return ""
        import json
        from hashlib import sha256

        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:16]

    def configured(self, values: Mapping[str, Any]) -> Rules:
        """Return the rules with the values from the `metadata` of a handler."""
        if not values:
            return self
        meta = {name: _with_configured(rule, values) for name, rule in self.meta.items()}
        required = {
            event: tuple(name for name in names if isinstance(name, tuple) or name not in values)
            for event, names in self.required.items()
        }
        return replace(self, meta=meta, required=required)

    def as_json(self) -> dict[str, Any]:
        """Return the form for headers of segments and `settings.json`."""
        return {
            "required": {
                event: [name if isinstance(name, str) else list(name) for name in names]
                for event, names in self.required.items()
            },
            "meta": {name: rule.as_json() for name, rule in self.meta.items()},
            "zone": list(self.zone),
        }

    @classmethod
    def from_json(cls, given: object) -> Rules | None:
        """Return the rules that `as_json` wrote; `None` for any other value."""
        try:
            members: Any = given
            if members.keys() != {"required", "meta", "zone"} or max(map(len, members.values())) > _MAX_ENTRIES:
                return None
            required = {event: required_fields(names) for event, names in members["required"].items()}
            meta = {name: Rule.parse(rule) for name, rule in members["meta"].items()}
            if not all(map(is_text, required)) or not all(map(is_name, meta)):
                return None
            return cls(required=required, meta=meta, zone=_listed("zone", members["zone"]))
        except (ConfigurationError, AttributeError, TypeError, ValueError):
            return None


def required_fields(names: object) -> Required:
    """Return a list of required fields, in which alternatives are lists, as tuples.

    Raises:
        ConfigurationError: it is not such a list.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        _refuse("an event lists the fields that it requires", "a list of names", names)
    if len(names) > _MAX_ENTRIES:
        _refuse("an event requires too much", f"at most {_MAX_ENTRIES} fields", len(names))
    return tuple(name if is_name(name) else _listed("fields", name) for name in names)


def _with_configured(rule: Rule, values: Mapping[str, Any]) -> Rule:
    if rule.rule != "single":
        return rule
    value = values.get(rule.configured) if rule.configured else None
    prefixes = values.get(rule.plural) if rule.logger else None
    return replace(
        rule,
        otherwise=rule.otherwise if value is None else value,
        prefixes=rule.prefixes if prefixes is None else _by_length(prefixes),
    )


def _by_length(prefixes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(prefixes.items(), key=lambda pair: (-len(pair[0]), pair[0])))


def _listed(what: str, names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or len(names) > _MAX_ENTRIES:
        _refuse(f"`{what}` is a list", f"at most {_MAX_ENTRIES} texts", names)
    if not all(map(is_name if what != "order" else is_text, names)):
        _refuse(f"`{what}` lists names", "short, printable, no quotes", names)
    return tuple(names)


def is_text(value: object) -> TypeGuard[str]:
    """Return whether a value is a short text that UTF-8 can encode."""
    if type(value) is not str or len(value) > _MAX_TEXT_LENGTH:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_scalar(value: object) -> TypeGuard[Scalar]:
    """Return whether a manifest can hold a value: a short text, a 64-bit or finite number, a boolean, `None`."""
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    return value is None or type(value) is bool or (type(value) is float and isfinite(value)) or is_text(value)


def is_name(value: object) -> TypeGuard[str]:
    """Return whether a field or a key can have a name: short, printable, without quote and backslash."""
    return is_text(value) and bool(value) and value.isprintable() and not {'"', "\\"} & set(value)


def _refuse(message: str, expected: str, found: object) -> NoReturn:
    raise ConfigurationError(message, where="rules", expected=expected, found=repr(found)[:200])
