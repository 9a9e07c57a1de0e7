"""Hold the settings of encryption, `encrypt={…}`, and check their values.

They name public keys only, so they may be in the header of a segment: any keeper then encrypts as the program wants.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict, get_args

from ipfs_log_handlers.config.keywords import check_names
from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format.age_recipient import is_secret, normalise_recipient
from ipfs_log_handlers.format.kid import PERIODS, Period

__all__ = [
    "RECIPIENTS_VARIABLE",
    "Encrypt",
    "EncryptKeywords",
    "Expose",
    "encrypt_of_subsystem",
    "encrypt_setting",
    "refuse_without_library",
]

Expose = Literal["levels", "loggers", "events"]
"""A part of the zone map that stays readable without a key."""

RECIPIENTS_VARIABLE: Final = "IPFS_LOGS_RECIPIENTS"
"""Environment variable with the recipients, separated by commas, of handlers that name none."""
ISSUED: Final = "issued"
"""In the place of recipients: only keys that were issued ahead are used, and this machine makes none."""
_MAX_RECIPIENTS: Final = 32
"""Largest number of recipients."""
_MAX_SCOPE: Final = 200
"""Largest number of characters of the name of a field."""
_NO_SCOPES: Final = frozenset({"time", "event", "seq", "pid", "subsystem"})
"""Keys of a record that say nothing of whom it is about; `subsystem` is not in its line."""
_HELP: Final = "a mapping such as {'recipients': ['age1…'], 'period': 'month'}"


class EncryptKeywords(TypedDict, total=False):
    """The members of `encrypt`, for type checkers; `Encrypt` says what they mean."""

    recipients: str | Sequence[str]
    period: Period
    expose: Expose | Sequence[Expose]
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encrypt:
    """The settings of encryption, checked."""

    recipients: tuple[str, ...] = ()
    """Public keys, `age1…` or ssh-ed25519, of those who can read: the key of each period is made here and encrypted to
    them. Empty: keys were issued ahead, and this machine makes none."""
    period: Period = "month"
    """How long one key is used, in UTC by the time of sealing: what was sealed in a period can be erased with its
    key."""
    expose: tuple[Expose, ...] = ()
    """Parts of the zone map that stay readable without a key, so that a query without one can skip batches."""
    scope: str | None = None
    """A field, such as `tenant_id`: the records with each of its values have a key of their own in each period, so that
    they can be erased alone. `None`: all records of a period have one key."""

    @classmethod
    def parse(cls, value: object, where: str = "encrypt") -> Encrypt:
        """Return the settings of a mapping; recipients that are missing come from `IPFS_LOGS_RECIPIENTS`.

        Args:
            value: an `Encrypt`, or a mapping of its fields. `recipients` may be the text `issued`.
            where: the setting, for errors.

        Raises:
            ConfigurationError: a name or value is wrong, or there is no recipient.
        """
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ConfigurationError("not settings of encryption", where=where, expected=_HELP, found=_shown(value))
        check_names(where, value, [*cls.__slots__])
        recipients, source = value.get("recipients"), f"{where}.recipients"
        if recipients is None and os.environ.get(RECIPIENTS_VARIABLE):
            recipients, source = os.environ[RECIPIENTS_VARIABLE], RECIPIENTS_VARIABLE
        parsed = _recipients(recipients, source)
        return cls(
            recipients=parsed,
            period=_period(value.get("period", "month"), f"{where}.period"),
            expose=_expose(value.get("expose", ()), f"{where}.expose"),
            scope=_scope(value.get("scope"), parsed, f"{where}.scope"),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the members of a segment's header and of `settings.json`."""
        members = {"recipients": list(self.recipients), "period": self.period, "expose": list(self.expose)}
        return members if self.scope is None else {**members, "scope": self.scope}

    @classmethod
    def from_json(cls, members: object) -> Encrypt:
        """Return the settings in a header. What this release cannot read encrypts to issued keys only.

        So lines that shall be encrypted are never sealed in clear: where no key was issued, they wait in the spool.
        """
        try:
            given = dict(members)  # type: ignore[call-overload]
            if {"scope": None, **given}.keys() != set(cls.__slots__):
                return cls()
            recipients = _recipients(given["recipients"], "recipients") if given["recipients"] else ()
            return cls(
                recipients=recipients,
                period=_period(given["period"], "period"),
                expose=_expose(given["expose"], "expose"),
                scope=_scope(given.get("scope"), recipients, "scope"),
            )
        except (ConfigurationError, TypeError, ValueError):
            return cls()


def encrypt_of_subsystem(name: str, value: object) -> Encrypt | None:
    """Return the setting `encrypt` of a registered subsystem; `None`: its batches are not encrypted.

    Args:
        name: the subsystem.
        value: a mapping of the fields of `Encrypt`, or `False`.

    Raises:
        ConfigurationError: it is wrong.
    """
    return None if value is False else Encrypt.parse(value, f"{name}.encrypt")


def encrypt_setting(value: object) -> Encrypt | None:
    """Return the setting `encrypt` of a handler; `None`: batches are not encrypted.

    Args:
        value: the keyword. `None`: encrypted if `IPFS_LOGS_RECIPIENTS` is set; `False`: not encrypted.

    Raises:
        ConfigurationError: it is wrong.
    """
    if value is False:
        return None
    if value is None:
        return Encrypt.parse({}) if os.environ.get(RECIPIENTS_VARIABLE) else None
    return Encrypt.parse(value)


def refuse_without_library(where: str) -> None:
    """Refuse a setting for which this program needs the library that encrypts, where that is not installed.

    Raises:
        ConfigurationError: it is not installed; the error has the command that installs it.
    """
    if importlib.util.find_spec("pyrage") is None:
        raise ConfigurationError(
            "encryption needs pyrage, which is not installed",
            where=where,
            hint="Run: pip install 'ipfs_log_handlers[encrypt]'",
        )


def _recipients(value: object, where: str) -> tuple[str, ...]:
    if value == ISSUED:
        return ()
    if isinstance(value, str):
        value = [part for part in value.replace("\n", ",").split(",") if part.strip()]
    if not isinstance(value, Sequence) or not all(isinstance(text, str) for text in value):
        raise ConfigurationError(
            "not recipients", where=where, expected="a list of age1… or ssh-ed25519 public keys", found=_shown(value)
        )
    if not value:
        raise ConfigurationError(
            "encryption without a recipient could never be undone",
            where=where,
            hint="Name the public keys of those who may read, or 'issued' where keys are issued ahead.",
        )
    if len(value) > _MAX_RECIPIENTS:
        raise ConfigurationError(
            "too many recipients", where=where, expected=f"at most {_MAX_RECIPIENTS}", found=len(value)
        )
    try:
        recipients = tuple(normalise_recipient(text) for text in value)
    except FormatError as error:
        raise ConfigurationError(
            error.message, where=where, expected=error.expected, found=error.found, hint=error.hint
        ) from None
    if len(set(recipients)) != len(recipients):
        raise ConfigurationError("a recipient is twice in the list", where=where, found=", ".join(recipients))
    return tuple(sorted(recipients))


def _period(value: object, where: str) -> Period:
    for kind in PERIODS:
        if value == kind:
            return kind
    raise ConfigurationError(
        "not one of the choices", where=where, expected=" or ".join(map(repr, PERIODS)), found=_shown(value)
    )


def _expose(value: object, where: str) -> tuple[Expose, ...]:
    names = [value] if isinstance(value, str) else value
    choices: tuple[Expose, ...] = get_args(Expose)
    if not isinstance(names, (list, tuple, set, frozenset)) or not all(name in choices for name in names):
        raise ConfigurationError(
            "not a part of the zone map",
            where=where,
            expected=f"a list of any of {', '.join(choices)}",
            found=_shown(value),
        )
    return tuple(choice for choice in choices if choice in names)


def _scope(value: object, recipients: Sequence[str], where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_SCOPE or not value.isprintable():
        raise ConfigurationError("not the name of a field", where=where, expected="'tenant_id'", found=_shown(value))
    if value in _NO_SCOPES:
        raise ConfigurationError(
            f"`{value}` differs in each record, or is in none",
            where=where,
            hint="Name a field whose values are those to be erased, such as 'tenant_id'.",
        )
    if not recipients:
        raise ConfigurationError(
            "keys are issued before it is known which values there will be, so a value has no issued key",
            where=where,
            hint="Name recipients, so that this machine makes the keys; or leave out `scope`.",
        )
    return value


def _shown(value: object) -> str:
    """Return the text of a wrong value, without a secret."""
    text = repr(value)
    return "a secret key" if is_secret(text) else text[:200]
