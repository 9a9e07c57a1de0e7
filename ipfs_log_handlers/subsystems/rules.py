"""Rules: what a batch says of its records, as data.

The keeper that seals a batch may be another process, which never imported the program's subsystems. So a rule is no
code but one of a few aggregates with the names of fields; it travels as JSON in the header of each segment, and the
keeper (`keeper/meta.py`) applies it.

A subsystem's rules count the records that are whole events of it: the event is one of its own, and the fields which
that event requires are there. A subsystem that names no events counts all of its records.
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
"""Names of fields that must be there; of those in an inner tuple, any one."""

KINDS: Final = ("count", "counts", "distinct", "distinct_count", "single", "worst")
_MOST: Final = 64
_LONGEST: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One aggregate over the records of a batch. The functions of this module make them."""

    rule: str
    """Which: `count, counts, distinct, distinct_count, single, worst`."""
    field: str = ""
    """The field it looks at; records without it count in no rule but `count`."""
    per: str = ""
    """Only the last record of each value of this field counts."""
    where: tuple[tuple[str, Scalar], ...] = ()
    """Only records whose fields have these values count."""
    order: tuple[str, ...] = ()
    """`worst`: values from the worst on; the last one is the answer where none is found."""
    plural: str = ""
    """`single`: the key under which the values stand where they are several."""
    configured: str = ""
    """`single`: the name under which a configuration gives the value for when the records do not agree."""
    otherwise: Scalar = None
    """`single`: that value. In a text, `{first}` stands for the s since 1970 of the batch's first record and `{index}`
    for the number of the batch."""
    logger: bool = False
    """`single`: a record without the field has the last part of its logger's name."""
    prefixes: tuple[tuple[str, str], ...] = ()
    """`single` with `logger`: names for loggers and all below them, the longest prefix first."""

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
        if max(map(len, (self.where, self.order, self.prefixes))) > _MOST:
            _refuse("a rule is too long", f"at most {_MOST} entries", "more")

    @property
    def fields(self) -> Iterator[str]:
        """The fields of a record that it looks at."""
        yield from (name for name in (self.field, self.per, *dict(self.where)) if name)
        if self.logger:
            yield "logger"

    def as_json(self) -> dict[str, Any]:
        """As it stands in headers; `Rule.parse` reads it."""
        members = {name: getattr(self, name) for name in self.__slots__}
        for name in ("where", "prefixes"):
            members[name] = dict(members[name])
        members["order"] = list(self.order)
        return {name: value for name, value in members.items() if value or (name == "otherwise" and value is not None)}

    @classmethod
    def parse(cls, told: object) -> Rule:
        """A rule, or the mapping of its fields that a configuration or a header gives.

        Raises:
            ConfigurationError: it is none.
        """
        if isinstance(told, cls):
            return told
        if not isinstance(told, Mapping) or not all(isinstance(key, str) for key in told):
            _refuse("not a rule", "a mapping such as {'rule': 'distinct', 'field': 'status'}", told)
        members = dict(told)
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
    """How many records: all, or those with these values in their fields."""
    return Rule(rule="count", where=tuple(where.items()))


def counts(field: str, *, per: str = "", **where: Scalar) -> Rule:
    """How many records by the value of a field; with `per` only the last record of each value of that field counts."""
    return Rule(rule="counts", field=field, per=per, where=tuple(where.items()))


def distinct(field: str) -> Rule:
    """The values of a field, sorted."""
    return Rule(rule="distinct", field=field)


def distinct_count(field: str) -> Rule:
    """How many values a field has."""
    return Rule(rule="distinct_count", field=field)


def worst(field: str, *, per: str, order: Sequence[str]) -> Rule:
    """The first of `order` that the last record of any value of `per` has; the last of `order` where none has one."""
    return Rule(rule="worst", field=field, per=per, order=tuple(order))


def single(
    field: str = "", *, plural: str, configured: str | None = None, otherwise: Scalar = None, logger: bool = False
) -> Rule:
    """The value of a field if all records that have it agree, else the configured one, and the sorted list besides.

    Args:
        field: its name; without one, `logger` tells the value.
        plural: the key of the list.
        configured: the name of the value in a handler's `metadata`; the field's own, where it is not given.
        otherwise: the value where nothing is configured.
        logger: a record without the field has the last part of its logger's name.
    """
    named = field if configured is None else configured
    return Rule(rule="single", field=field, plural=plural, configured=named, otherwise=otherwise, logger=logger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All that the keeper must know to say of a batch what its subsystem promises."""

    required: Mapping[str, Required] = field(default_factory=dict)
    """The subsystem's events, and what a record of each must have; none: every record counts."""
    meta: Mapping[str, Rule] = field(default_factory=dict)
    """The keys of `meta`, and how each is found."""
    zone: tuple[str, ...] = ()
    """Fields whose least and greatest numbers and small sets of values go into `stats`."""

    def __bool__(self) -> bool:
        return bool(self.meta or self.zone)

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id or "none"

    @property
    def id(self) -> str:
        """Sixteen hex digits that tell these rules from others; empty when there are none."""
        if not self:
            return ""
        import json
        from hashlib import sha256

        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:16]

    def configured(self, values: Mapping[str, Any]) -> Rules:
        """The same rules with the values that a handler's `metadata` gives."""
        if not values:
            return self
        meta = {name: _with_configured(rule, values) for name, rule in self.meta.items()}
        required = {
            event: tuple(each for each in names if isinstance(each, tuple) or each not in values)
            for event, names in self.required.items()
        }
        return replace(self, meta=meta, required=required)

    def as_json(self) -> dict[str, Any]:
        """As it stands in segment headers and `settings.json`."""
        return {
            "required": {
                event: [each if isinstance(each, str) else list(each) for each in names]
                for event, names in self.required.items()
            },
            "meta": {name: rule.as_json() for name, rule in self.meta.items()},
            "zone": list(self.zone),
        }

    @classmethod
    def from_json(cls, told: object) -> Rules | None:
        """Read it back; `None` for what is not the rules of a subsystem, whatever it is."""
        try:
            members: Any = told
            if members.keys() != {"required", "meta", "zone"} or max(map(len, members.values())) > _MOST:
                return None
            required = {event: required_fields(names) for event, names in members["required"].items()}
            meta = {name: Rule.parse(rule) for name, rule in members["meta"].items()}
            if not all(map(is_text, required)) or not all(map(is_name, meta)):
                return None
            return cls(required=required, meta=meta, zone=_listed("zone", members["zone"]))
        except (ConfigurationError, AttributeError, TypeError, ValueError):
            return None


def required_fields(names: object) -> Required:
    """A list of names, some of them lists of alternatives, as a value.

    Raises:
        ConfigurationError: it is none.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        _refuse("an event lists the fields that it requires", "a list of names", names)
    if len(names) > _MOST:
        _refuse("an event requires too much", f"at most {_MOST} fields", len(names))
    return tuple(each if is_name(each) else _listed("fields", each) for each in names)


def _with_configured(rule: Rule, values: Mapping[str, Any]) -> Rule:
    if rule.rule != "single":
        return rule
    found = values.get(rule.configured) if rule.configured else None
    prefixes = values.get(rule.plural) if rule.logger else None
    return replace(
        rule,
        otherwise=rule.otherwise if found is None else found,
        prefixes=rule.prefixes if prefixes is None else _by_length(prefixes),
    )


def _by_length(prefixes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(prefixes.items(), key=lambda pair: (-len(pair[0]), pair[0])))


def _listed(what: str, names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or len(names) > _MOST:
        _refuse(f"`{what}` is a list", f"at most {_MOST} texts", names)
    if not all(map(is_name if what != "order" else is_text, names)):
        _refuse(f"`{what}` lists names", "short, printable, no quotes", names)
    return tuple(names)


def is_text(value: object) -> TypeGuard[str]:
    """Whether it is a short text that UTF-8 can hold."""
    if type(value) is not str or len(value) > _LONGEST:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_scalar(value: object) -> TypeGuard[Scalar]:
    """Whether a manifest can hold it as one value: a short text, a 64-bit or finite number, a boolean, nothing."""
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    return value is None or type(value) is bool or (type(value) is float and isfinite(value)) or is_text(value)


def is_name(value: object) -> TypeGuard[str]:
    """Whether a field or a key can have this name: short, printable, without quote and backslash."""
    return is_text(value) and bool(value) and value.isprintable() and not {'"', "\\"} & set(value)


def _refuse(message: str, expected: str, found: object) -> NoReturn:
    raise ConfigurationError(message, where="rules", expected=expected, found=repr(found)[:200])
