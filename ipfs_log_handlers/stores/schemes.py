"""Register kinds of stores that an address of the form `SCHEME:NAME` names.

The package itself has none: every address of its own is Kubo's. `ipfs_log_handlers.testing` registers `memory:`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ipfs_log_handlers.stores import Store

__all__ = ["StoreScheme", "register_scheme", "scheme_of"]

_schemes: Final[dict[str, StoreScheme]] = {}
"""The registered schemes, by the text before the colon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreScheme:
    """One kind of store, registered under the text before the colon of its addresses."""

    normalise: Callable[[str], str]
    """Function that returns the one spelling of the text after the colon; raises `ConfigurationError`."""
    open: Callable[[str, str, str | None], Store]
    """Function that makes the store from a normalised address, the store's name in the home, and the token as
    `stores.address.normalise_token` returns it (`None`: no token); uses no network."""
    preload: Callable[[], None] | None = None
    """Function that imports whatever the first call of a store needs, for `stores.preload`; `None`: nothing more."""


def register_scheme(name: str, scheme: StoreScheme) -> None:
    """Let addresses that begin with `name` and a colon mean stores of this kind.

    Args:
        name: lower-case letters; `http`, `https` and `auto` are taken.
        scheme: the kind. One registered before under the same name is replaced.
    """
    if not name.isascii() or not name.islower() or not name.isalpha() or name in {"http", "https", "auto"}:
        raise ValueError(f"not the name of a store scheme: {name!r}")
    _schemes[name] = scheme


def scheme_of(address: str) -> StoreScheme | None:
    """Return the registered kind that an address names; `None` for an address of Kubo."""
    return _schemes.get(address.partition(":")[0])
