"""Whether strangers can find what a daemon has is read from its configuration, as each release of Kubo writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.stores import Exposure, ExposureTeller
from ipfs_log_handlers.stores.exposure import exposure_of, has_swarm_key
from ipfs_log_handlers.stores.kubo import KuboStore
from ipfs_log_handlers.testing import FakeKubo, Response
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.kubo.daemon import Daemon

NOW = (0, 43)


@pytest.mark.parametrize(
    ("config", "version", "announces", "words"),
    [
        ({}, NOW, True, "Provide.Strategy is all"),
        ({"Provide": {"Enabled": True, "Strategy": "roots"}}, NOW, True, "Provide.Strategy is roots"),
        ({"Provide": {"Enabled": None}}, NOW, True, "Provide.Strategy is all"),
        ({"Provide": {"Strategy": "pinned+mfs+unique"}}, NOW, True, "pinned"),
        ({"Provide": {"Strategy": "mfs+unique"}}, NOW, False, "MFS"),
        ({"Provide": {"Enabled": False}}, NOW, False, "Provide.Enabled is false"),
        ({"Provide": {"DHT": {"Interval": "0"}}}, NOW, True, "announces blocks"),
        ({"Routing": {"Type": "none"}}, NOW, False, "Routing.Type is none"),
        ({"Routing": {"Type": "delegated"}}, NOW, True, "announces blocks"),
        ({"Routing": {"Type": "custom"}}, NOW, True, "announces blocks"),
        ({"Provide": {"Enabled": False}}, (0, 37), True, "Reprovider.Strategy is all"),
        ({"Provider": {"Enabled": False}}, (0, 37), False, "Provider.Enabled is false"),
        ({"Provider": {"Enabled": False}}, (0, 34), True, "announces blocks"),
        ({"Provider": {"Enabled": False}}, NOW, True, "announces blocks"),
        ({"Experimental": {"StrategicProviding": True}}, (0, 34), False, "StrategicProviding is true"),
        ({"Experimental": {"StrategicProviding": True}}, (0, 36), True, "announces blocks"),
        ({"Reprovider": {"Strategy": "roots", "Interval": "0"}}, (0, 30), True, "Reprovider.Strategy is roots"),
        ({"Provide": "nonsense", "Routing": [], "Addresses": 5}, NOW, True, "Provide.Strategy is all"),
    ],
)
def test_each_release_has_its_own_setting(
    config: dict[str, Any], version: tuple[int, int], announces: bool, words: str
) -> None:
    """A setting that this release does not know counts for nothing; the hint names the one that it knows."""
    exposure = exposure_of(config, version, has_swarm_key=False)
    assert announces is exposure.announces
    assert words in exposure.found
    assert ("can find" if announces else "cannot find") in exposure.found
    assert (exposure.hint is not None) is announces
    if exposure.hint is not None:
        setting = "Provide.E" if version >= (0, 38) else "Provider.E" if version >= (0, 35) else "StrategicProviding"
        assert setting in exposure.hint


def test_a_private_network_is_closed_whatever_it_announces() -> None:
    """Only nodes with its key can ask."""
    exposure = exposure_of({}, NOW, has_swarm_key=True)
    assert exposure.announces is False
    assert "swarm.key" in exposure.found


@pytest.mark.parametrize(
    ("addresses", "shown"),
    [
        ("/ip4/127.0.0.1/tcp/8080", None),
        (["/ip4/127.0.0.1/tcp/8080", "/ip4/0.0.0.0/tcp/80"], "/ip4/0.0.0.0/tcp/80"),
        ("/ip6/::1/tcp/8080", None),
        ("/ip6/::/tcp/8080", "/ip6/::/tcp/8080"),
        ("/dns4/localhost/tcp/8080", None),
        ("/dns4/gateway.example/tcp/8080", "/dns4/gateway.example/tcp/8080"),
        ("/unix/run/gateway.sock", None),
        ([], None),
    ],
)
def test_an_open_gateway_is_told_too(addresses: object, shown: str | None) -> None:
    """It announces nothing, and gives every block to those who know its CID."""
    config = {"Provide": {"Enabled": False}, "Addresses": {"Gateway": addresses}}
    exposure = exposure_of(config, NOW, has_swarm_key=False)
    assert exposure.announces is False
    assert shown == exposure.open_gateway
    assert (shown is not None) == ("everyone who can reach it" in exposure.found)


def asked(address: str, token: str | None = None) -> Exposure:
    """Ask a daemon."""

    async def ask() -> Exposure:
        store = KuboStore(address, token=token)
        assert isinstance(store, ExposureTeller)
        try:
            return await store.exposure()
        finally:
            await store.close()

    return asyncio.run(ask())


def test_a_token_that_may_not_ask_leaves_it_open() -> None:
    """Nothing is guessed: `None`, with the path that the token needs."""
    with FakeKubo() as fake:
        fake.respond_always("config/show", Response(status=403, body=(b"403 Forbidden",)))
        exposure = asked(f"http://127.0.0.1:{fake.port}")
    assert exposure.announces is None
    assert "/api/v0/config/show" in (exposure.hint or "")


def test_a_store_that_is_no_daemon_tells_nothing() -> None:
    """The contract of a store does not ask for it."""
    assert not isinstance(MemoryStore("x"), ExposureTeller)


@pytest.fixture(scope="module")
def daemon(kubo_binary: Path) -> Iterator[Daemon]:
    """Start a daemon with a token that may ask for the configuration."""
    with Daemon(
        kubo_binary,
        authorizations={"asks": "bearer:s3cr3t", "ships": "bearer:sh1ps"},
        allowed_paths=("/api/v0/version", "/api/v0/dag/import", "/api/v0/config/show", "/api/v0/diag/sys"),
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("settings", "announces", "words"),
    [
        ({}, False, "Routing.Type is none"),
        ({"Routing.Type": "dhtclient"}, False, "Provide.Enabled is false"),
        ({"Routing.Type": "dhtclient", "Provide.Enabled": True}, True, "Provide.Strategy is all"),
        ({"Routing.Type": "auto", "Provide.Enabled": True, "Provide.Strategy": "roots"}, True, "roots"),
        (
            {"Routing.Type": "auto", "Provide.Enabled": None, "Addresses.Gateway": "/ip4/0.0.0.0/tcp/8080"},
            True,
            "gateway",
        ),
    ],
)
def test_a_real_daemon_tells(daemon: Daemon, settings: dict[str, Any], announces: bool, words: str) -> None:
    """`config/show` gives the file as it is now, without secrets."""
    before = (daemon.repo / "config").read_text()
    try:
        daemon.configure(settings)
        exposure = asked(daemon.url, "bearer:s3cr3t")
    finally:
        (daemon.repo / "config").write_text(before)
    assert announces is exposure.announces
    assert words in exposure.found


def test_the_key_of_a_private_network_is_seen_on_the_same_machine(daemon: Daemon) -> None:
    """The daemon says where its repository is, and the key lies there."""
    before = (daemon.repo / "config").read_text()
    daemon.configure({"Routing.Type": "auto", "Provide.Enabled": True})
    (daemon.repo / "swarm.key").write_text("/key/swarm/psk/1.0.0/\n/base16/\n" + "ab" * 32 + "\n")
    try:
        assert asked(daemon.url, "bearer:s3cr3t").announces is False
        config = {"Identity": {"PeerID": "another"}}
        assert not has_swarm_key({"IPFS_PATH": str(daemon.repo)}, config)
        assert not has_swarm_key({"IPFS_PATH": str(daemon.repo / "gone")}, config)
        assert not has_swarm_key(None, {})
    finally:
        (daemon.repo / "swarm.key").unlink()
        (daemon.repo / "config").write_text(before)
