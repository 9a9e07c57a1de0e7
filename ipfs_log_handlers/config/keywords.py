"""Check the names of keywords, and resolve the values that dictConfig leaves inside lists and mappings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["check_names", "refuse_unresolved", "resolved"]

_UNRESOLVED: Final = ("ext://", "cfg://")
"""Beginnings of texts that dictConfig replaces by objects."""
_MAX_SHOWN_CHARACTERS: Final = 200
"""Characters of a wrong value that an error shows."""


def resolved(value: Any) -> Any:
    """Return a value of a dictConfig with every `ext://` and `cfg://` inside its lists and mappings resolved.

    dictConfig resolves a value only when it is read by its key or index; a loop over a list or mapping gets the texts.
    """
    if not hasattr(value, "convert_with_key"):
        return value
    if isinstance(value, Mapping):
        return {key: resolved(value[key]) for key in value}
    items = [resolved(value[index]) for index in range(len(value))]
    return tuple(items) if isinstance(value, tuple) else items


def refuse_unresolved(where: str, value: object) -> None:
    """Refuse `ext://…` and `cfg://…` outside dictConfig: as the name of a field, such a text would hide no field."""
    if isinstance(value, str) and value.startswith(_UNRESOLVED):
        raise ConfigurationError(
            "only dictConfig resolves such a text",
            where=where,
            found=repr(value)[:_MAX_SHOWN_CHARACTERS],
            hint="Give the object itself.",
        )
    if isinstance(value, Mapping):
        for name, inner in value.items():
            refuse_unresolved(f"{where}.{name}", inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            refuse_unresolved(where, inner)


def check_names(owner: str, given: Iterable[object], names: Iterable[str], *, also: Iterable[str] = ()) -> None:
    """Refuse keywords that do not exist.

    Args:
        owner: name of the function that takes the keywords.
        given: the names that were given.
        names: the right names.
        also: further right names, which the caller has already removed from the given ones.

    Raises:
        ConfigurationError: a name is wrong; the error names the most similar right name, or all of them.
    """
    accepted = list(names)
    for key in given:
        if key not in accepted:
            import difflib

            known = [*accepted, *also]
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise ConfigurationError(f"no such keyword {key!r}; {advice}", where=owner)
