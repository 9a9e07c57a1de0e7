"""Read the setting `retention`: how long records are kept, and what happens to their payloads then."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ipfs_log_handlers.config.keywords import check_names
from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["DAY_S", "RetentionRule", "days_of"]

Apply = Literal["manual", "auto"]
DAY_S: Final = 86_400
"""Seconds of a day."""
_MAX_DAYS: Final = 1e6
"""Longest time, in days, for which records are kept."""
_AGE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([hdw])", re.ASCII)
_HOURS: Final = {"h": 1, "d": 24, "w": 24 * 7}
"""Hours of each unit."""
_EXPECTED: Final = "an age such as '400d', '52w' or '12h'"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """How long the records of a subsystem are kept everywhere, and what happens then."""

    days: float
    """Age of the newest record of a batch, in days, from which on its payload is given up."""
    apply: Apply = "manual"
    """`manual`: only `ipfs-logs retention apply` does it. `auto`: the keeper does it by itself."""

    @classmethod
    def parse(cls, value: object) -> RetentionRule | None:
        """Return the rule of a setting: `None`, a rule, or a mapping `{"keep": "400d", "then": "prune"}`.

        Raises:
            ConfigurationError: a name or value is wrong.
        """
        if value is None or isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                "not a retention rule",
                where="retention",
                expected="a mapping such as {'keep': '400d', 'then': 'prune'}",
                found=repr(value)[:200],
            )
        check_names("retention", value, ("keep", "then", "apply"))
        for name in ("keep", "then"):
            if name not in value:
                raise ConfigurationError(f"a retention rule without {name!r}", where="retention", found=dict(value))
        if value["then"] != "prune":
            raise ConfigurationError(
                "not one of the choices", where="retention.then", expected="'prune'", found=repr(value["then"])[:200]
            )
        apply = value.get("apply", "manual")
        if apply not in get_args(Apply):
            raise ConfigurationError(
                "not one of the choices",
                where="retention.apply",
                expected="'manual' or 'auto'",
                found=repr(apply)[:200],
            )
        return cls(days=days_of(value["keep"], "retention.keep"), apply=apply)

    def as_json(self) -> dict[str, Any]:
        """Return the members of a segment's header and of `settings.json`."""
        return {"days": self.days, "apply": self.apply}

    @classmethod
    def from_json(cls, value: object) -> RetentionRule | None:
        """Return the rule of these members; `None` for anything else."""
        if not isinstance(value, Mapping) or value.get("apply") not in get_args(Apply):
            return None
        days = value.get("days")
        if type(days) not in (int, float) or not 0 <= days <= _MAX_DAYS:  # type: ignore[operator]
            return None
        return cls(days=days, apply=value["apply"])  # type: ignore[arg-type]


def days_of(value: object, where: str) -> float:
    """Return an age in days: a text such as `400d`, `52w` or `12h`.

    Raises:
        ConfigurationError: it is none, or too long.
    """
    match = _AGE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    days = float(match[1]) * _HOURS[match[2]] / 24 if match else -1.0
    if not 0 <= days <= _MAX_DAYS:
        raise ConfigurationError("not an age", where=where, expected=_EXPECTED, found=repr(value)[:200])
    return days
