"""Compile regular expressions with RE2, whose time grows with the text alone: no expression of a client is slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ipfs_log_handlers.loki.refusal import Refusal

__all__ = ["compiled", "whole_value"]

_MAX_CHARS: Final = 4_096
"""Largest length of an expression."""
_MAX_MEMORY_BYTES: Final = 8 << 20
"""Memory that one expression may take."""


def compiled(expression: str) -> Callable[[bytes], bool]:
    """Return a function that finds an expression anywhere in the UTF-8 of a text.

    Raises:
        Refusal: it is no expression, is too large, or the library is not installed.
    """
    search = _of(expression).search
    return lambda text: search(text) is not None


def whole_value(expression: str) -> Callable[[str], bool]:
    """Return a function that says whether an expression matches a whole text, as selectors want it.

    Raises:
        Refusal: it is no expression, is too large, or the library is not installed.
    """
    match = _of(f"(?s:{expression})", given=expression).fullmatch
    return lambda text: match(text.encode("utf-8", "replace")) is not None


def _of(expression: str, given: str | None = None) -> Any:
    shown = ascii(given or expression)[:80]
    if len(expression) > _MAX_CHARS:
        raise Refusal(f"the regular expression {shown} is longer than {_MAX_CHARS} characters")
    try:
        import re2
    except ImportError:
        raise Refusal(
            "regular expressions need the library google-re2: the person who runs this server can install it with "
            "pip install 'ipfs_log_handlers[loki]'"
        ) from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY_BYTES
    options.never_capture = True
    try:
        if given is not None:
            re2.compile(given.encode("utf-8", "replace"), options)  # alone, so that no bracket closes one of ours
        return re2.compile(expression.encode("utf-8", "replace"), options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise Refusal(f"the regular expression {shown} cannot be used: {text}") from error
