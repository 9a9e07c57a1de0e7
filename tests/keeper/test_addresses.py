"""The stores of a command: those it was given, else the configured ones, else those of `IPFS_LOGS_KUBO`."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.addresses import Addresses, addresses_of
from ipfs_log_handlers.stores.credentials import KUBO_VARIABLE as VARIABLE
from ipfs_log_handlers.stores.credentials import environment_addresses, normalised_addresses
from tests.support import sample_homes


@pytest.fixture
def configured(home, monkeypatch):
    """Make a home whose subsystems ship to two stores, and a variable that names a third one."""
    monkeypatch.setenv(VARIABLE, "memory:variable")
    sample_homes.log(home, range(1), kubo="memory:one")
    sample_homes.log(home, range(1), "wal", kubo=["memory:two", "memory:one"])
    return HomeDir(home)


def test_given_addresses_replace_all_others(configured):
    """Each once, in their order."""
    found = addresses_of(configured, ["memory:b", "memory:a", "memory:b"])
    both = ("memory:b", "memory:a")
    assert found == Addresses(all=both, override=both, named=frozenset(both))


def test_configured_addresses_come_before_the_variable(configured, monkeypatch):
    """Those of all subsystems, sorted; nothing replaces them. The user named those that stand in the variable, too."""
    both = ("memory:one", "memory:two")
    assert addresses_of(configured) == Addresses(all=both, override=None)
    monkeypatch.setenv(VARIABLE, "memory:two memory:variable")
    assert addresses_of(configured) == Addresses(all=both, override=None, named=frozenset({"memory:two"}))


def test_the_variable_counts_where_none_is_configured(home, monkeypatch):
    """It is named, for messages."""
    sample_homes.log(home, range(1))
    monkeypatch.setenv(VARIABLE, "memory:a, memory:b memory:a")
    both = ("memory:a", "memory:b")
    assert addresses_of(HomeDir(home)) == Addresses(all=both, override=both, variable=VARIABLE, named=frozenset(both))
    assert environment_addresses() == both


def test_without_any_nothing_is_shipped(home, monkeypatch):
    """An empty variable is none."""
    monkeypatch.setenv(VARIABLE, "")
    sample_homes.log(home, range(1))
    assert addresses_of(HomeDir(home)) == Addresses(all=(), override=())


def test_a_malformed_address_names_its_place(home, monkeypatch):
    """The option, the argument or the variable."""
    with pytest.raises(ConfigurationError, match=r"^--kubo: "):
        normalised_addresses(["foo"], "--kubo")
    with pytest.raises(ConfigurationError, match=r"^stores: "):
        addresses_of(HomeDir(home), ["foo"])
    monkeypatch.setenv(VARIABLE, "foo")
    with pytest.raises(ConfigurationError, match=f"^{VARIABLE}: "):
        addresses_of(HomeDir(home))
