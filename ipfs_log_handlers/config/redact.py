"""Check the setting `redact`: a function, names of fields and detectors, or a mapping from these to what is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["DETECTOR_MARK", "Redact", "RedactAction", "RedactDetector", "RedactRules", "parse_redact"]

Redact = Callable[[dict[str, Any]], dict[str, Any]]
RedactAction = Literal["hide", "pseudonym"]
RedactDetector = Literal["credit_card", "iban", "email", "jwt", "aws_key", "bearer_token"]
RedactRules = tuple["str | tuple[str, RedactAction]", ...]
"""Names and patterns of fields, and detectors with their mark: alone, or with what is done; the first one wins."""

DETECTOR_MARK: Final = "@"
"""First character of the name of a detector, which distinguishes it from the name of a field."""
_MAX_SHOWN_CHARACTERS: Final = 200
"""Characters of a wrong value that an error shows."""


def parse_redact(value: object) -> Redact | RedactRules | None:
    """Return the setting in one form: a function, or rules; `None` hides nothing.

    Raises:
        ConfigurationError: it is nothing of the kind; the error names the nearest detector or action.
    """
    if value is None or callable(value):
        return value
    if isinstance(value, str):
        value = [value]
    is_list = isinstance(value, (Mapping, Sequence)) and not isinstance(value, (bytes, bytearray))
    names: list[Any] = list(value) if is_list else [value]  # type: ignore[call-overload]
    if not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(
            "not a redaction rule",
            where="redact",
            expected="a function, names of fields, or a mapping such as {'user_id': 'pseudonym'}",
            found=repr(value)[:_MAX_SHOWN_CHARACTERS],
        )
    for name in names:
        if name.startswith(DETECTOR_MARK):
            _check_detector(name)
    if not isinstance(value, Mapping):
        return tuple(names)
    for name, action in value.items():
        _check_action(name, action)
    return tuple(value.items())


def _check_action(name: str, action: object) -> None:
    if action not in get_args(RedactAction):
        raise ConfigurationError(
            "not what redact can do with a value",
            where=f"redact.{name}",
            expected=" or ".join(map(repr, get_args(RedactAction))),
            found=repr(action)[:_MAX_SHOWN_CHARACTERS],
        )


def _check_detector(name: str) -> None:
    known = [DETECTOR_MARK + detector for detector in get_args(RedactDetector)]
    if name in known:
        return
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    raise ConfigurationError(
        f"no such detector{f'; did you mean {near[0]!r}?' if near else ''}",
        where="redact",
        expected=f"one of {', '.join(known)}",
        found=repr(name)[:_MAX_SHOWN_CHARACTERS],
        hint=f"For a field whose name begins with {DETECTOR_MARK}, write [{DETECTOR_MARK}]{name[1:]}.",
    )
