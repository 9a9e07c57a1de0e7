"""Kinds of stores that a program registers: what opening and preloading hand on to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ipfs_log_handlers.stores import open_store, preload, schemes
from ipfs_log_handlers.stores.schemes import StoreScheme, register_scheme
from ipfs_log_handlers.testing.memory_store import MemoryStore


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the scheme that a test has registered."""
    monkeypatch.setattr(schemes, "_schemes", dict(schemes._schemes))


def register(seen: list[tuple[str, str, str | None]], preload: Callable[[], None] | None = None) -> None:
    """Register the scheme `bucket`, which lists how its stores are opened."""

    def open_bucket(address: str, name: str, token: str | None) -> MemoryStore:
        seen.append((address, name, token))
        return MemoryStore("bucket", name=name)

    register_scheme("bucket", StoreScheme(normalise=str.lower, open=open_bucket, preload=preload))


def test_a_scheme_gets_the_address_the_name_and_the_token() -> None:
    """The address and the token are normalised: `env:` and `file:` are not read yet."""
    seen: list[tuple[str, str, str | None]] = []
    register(seen)

    open_store("bucket:Logs", token="env:TOKEN", name="ours")
    open_store("bucket:logs", name="ours")

    assert [("bucket:logs", "ours", "env:TOKEN"), ("bucket:logs", "ours", None)] == seen


def test_a_scheme_says_what_is_imported_before_its_first_call() -> None:
    """`preload` calls the function of the scheme; a scheme without one needs nothing."""
    loaded: list[str] = []
    register([], preload=lambda: loaded.append("client"))

    preload("bucket:logs")
    preload("memory:logs")

    assert ["client"] == loaded
