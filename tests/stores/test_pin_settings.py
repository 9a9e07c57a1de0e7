"""Addresses and credentials of pin services, as users write them: one spelling each, and errors that help."""

from __future__ import annotations

import logging.config
from pathlib import Path

import pytest

from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.stores.address import normalise
from ipfs_log_handlers.stores.credentials import Credentials
from ipfs_log_handlers.stores.pin_address import normalise_pin_service
from ipfs_log_handlers.subsystems import get

CLUSTER = "cluster+http://127.0.0.1:9094"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" cluster+http://127.0.0.1:9094/ ", CLUSTER),
        ("cluster+/ip4/127.0.0.1/tcp/9094", CLUSTER),
        (f"{CLUSTER}?replication-max=3&replication-min=2", f"{CLUSTER}?replication-min=2&replication-max=3"),
        ("cluster+https://Pins.Example/x/", "cluster+https://pins.example/x"),
        ("remote:backup", "remote:backup"),
        ("remote://backup", "remote:backup"),
    ],
)  # fmt: skip
def test_one_spelling(text: str, address: str) -> None:
    """Two spellings of one address have one name in a home."""
    assert address == normalise_pin_service(text) == normalise_pin_service(address)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("http://127.0.0.1:9094", CLUSTER),
        ("/ip4/127.0.0.1/tcp/9094", CLUSTER),
        ("cluster://127.0.0.1:9094", CLUSTER),
        ("cluster:127.0.0.1:9094", CLUSTER),
        ("127.0.0.1", CLUSTER),
        (":9094", CLUSTER),
        ("cluster+http://127.0.0.1:9095", CLUSTER),
        ("cluster+http://127.0.0.1:5001", CLUSTER),
        ("backup", "remote:backup"),
        ("remote+backup", "remote:backup"),
    ],
)
def test_an_error_names_the_nearest_right_form(text: str, near: str) -> None:
    """A port, a URL or a bare name says what is meant; the ports of Kubo and of the proxy are no REST API."""
    with pytest.raises(ConfigurationError) as refused:
        normalise_pin_service(text)
    assert f"perhaps {near}" in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "cluster+", "cluster+http://", "cluster+auto", "cluster+/unix/run/x", "cluster+http://h:9094?x=1",
        "cluster+http://h:9094?replication-min=0", "cluster+http://h:9094?replication-min=3&replication-max=2",
        "remote:", "remote:a.b", "remote:a/b", "cluster+http://user:secret@h:9094", "user:secret@h", "a\nb",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    """The error is ours and shows no credential."""
    with pytest.raises(ConfigurationError) as refused:
        normalise_pin_service(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", [CLUSTER, "remote:backup", "cluster+http://user:secret@h:9094"])
def test_kubo_takes_no_pin_service(text: str) -> None:
    """The address of a pin service in `kubo` is refused with the name of the right setting."""
    with pytest.raises(ConfigurationError, match="Give it as `pins`") as refused:
        normalise(text)
    assert "secret" not in str(refused.value)


def parsed(home: Path, **keywords: object) -> Settings:
    """Parse settings."""
    return Settings.parse({"home": home, **keywords})


def test_settings(home: Path) -> None:
    """`pins` takes a text or a list; policy and `settings.json` have the addresses, and no token."""
    found = parsed(home, kubo="auto", pins=f"{CLUSTER}/, remote:backup", pins_token="bearer:secret", replicas=3)
    assert (CLUSTER, "remote:backup") == found.pins == parsed(home, kubo="auto", pins=[CLUSTER, "remote:backup"]).pins
    assert "secret" not in repr(found)
    policy = Policy.of(found, get("audit"))
    assert policy == Policy.from_json(policy.as_json(), Policy.default(home, "audit"))
    assert "secret" not in str(policy.as_json())


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"kubo": "auto", "pins": "http://h:9094"}, "pins: not the address of a pin service"),
        ({"kubo": "auto", "pins": 7}, "pins: not the address of a pin service"),
        ({"kubo": "auto", "pins": [CLUSTER, CLUSTER + "/"]}, "a pin service is twice in the list"),
        ({"pins": CLUSTER}, "pin services without a store"),
        ({"kubo": "auto", "pins": CLUSTER, "replicas": 3}, "at most 2"),
        ({"kubo": "auto", "pins": CLUSTER, "pins_token": ""}, "pins_token: empty"),
        ({"kubo": "auto", "pin": CLUSTER}, "did you mean 'pins'"),
    ],
)
def test_settings_that_are_refused(home: Path, keywords: dict[str, object], words: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError) as refused:
        parsed(home, **keywords)
    assert words in str(refused.value)


def test_dictconfig_and_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable holds for handlers with a store; another one has no use for it."""
    monkeypatch.setenv("IPFS_LOGS_PINS", f"{CLUSTER} remote:backup")
    monkeypatch.setenv("IPFS_LOGS_PINS_TOKEN", "bearer:secret")
    assert (CLUSTER, "remote:backup") == parsed(home, kubo="auto").pins
    assert () == parsed(home).pins
    assert ("bearer:secret", None) == (
        parsed(home, kubo="auto").pins_token,
        parsed(home, kubo="auto", pins="remote:other").pins_token,
    )
    handler = {"class": "ipfs_log_handlers.IPFSHandler", "home": str(home), "kubo": "auto", "keeper": "none"}
    logging.config.dictConfig({"version": 1, "handlers": {"a": {**handler, "pins": [CLUSTER]}}})
    logging.config.dictConfig({"version": 1})


def test_publish_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds for handlers with a store that do not say otherwise; another word is refused."""
    for word, meant in {"1": True, "True": True, " yes ": True, "0": False, "false": False, "": False}.items():
        monkeypatch.setenv("IPFS_LOGS_PUBLISH", word)
        assert parsed(home, kubo="auto").publish is meant
        assert parsed(home).publish is False
        assert parsed(home, kubo="auto", publish=False).publish is False
        assert parsed(home, kubo="auto", publish=True).publish is True
    monkeypatch.setenv("IPFS_LOGS_PUBLISH", "perhaps")
    with pytest.raises(ConfigurationError, match="IPFS_LOGS_PUBLISH: not a boolean"):
        parsed(home, kubo="auto")


def test_a_token_of_pin_services_goes_to_the_addresses_beside_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for the given addresses, else for those of the environment; without either it is refused."""
    given = Credentials().with_pins([CLUSTER], "bearer:a")
    assert ("bearer:a", None) == (given.token(CLUSTER), given.token("cluster+http://other:9094"))
    with pytest.raises(ConfigurationError, match="pins_token"):
        Credentials().with_pins((), "bearer:a")
    monkeypatch.setenv("IPFS_LOGS_PINS", CLUSTER)
    monkeypatch.setenv("IPFS_LOGS_PINS_TOKEN", "bearer:b")
    named = Credentials({"http://k:5001": "bearer:k"}).with_pins(["cluster+http://other:9094"])
    assert ("bearer:b", None, "bearer:k") == (
        named.token(CLUSTER),
        named.token("cluster+http://other:9094"),
        named.token("http://k:5001"),
    )
