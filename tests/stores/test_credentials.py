"""A token belongs to the addresses that its owner named beside it."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.stores.credentials import Credentials

OURS, OTHER = "http://127.0.0.1:5001", "http://127.0.0.1:5002"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IPFS_LOGS_KUBO", raising=False)
    monkeypatch.delenv("IPFS_LOGS_TOKEN", raising=False)


def tokens(*addresses: str, token: str | None = None) -> list[str | None]:
    """Return what our store and another one get."""
    credentials = Credentials.named(addresses, token)
    return [credentials.token(OURS), credentials.token(OTHER)]


def test_a_token_goes_to_the_addresses_beside_it_alone() -> None:
    """No other store gets it, whoever names that one."""
    assert ["bearer:x", None] == tokens(OURS, token="bearer:x")
    assert [None, None] == tokens(OURS)


def test_a_token_without_an_address_is_refused() -> None:
    """The home may name one, and the home may be somebody else's; the error says what to do."""
    with pytest.raises(ConfigurationError, match="a token was given without the address") as caught:
        Credentials.named((), "bearer:x")

    assert "--kubo" in str(caught.value)


def test_a_token_without_an_address_is_for_the_stores_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user has named those, too."""
    monkeypatch.setenv("IPFS_LOGS_KUBO", OURS)

    assert ["bearer:x", None] == tokens(token="bearer:x")
    assert [None, "bearer:x"] == tokens(OTHER, token="bearer:x")


@pytest.mark.parametrize(
    ("variable", "named", "expected"),
    [
        (OURS, (), ["bearer:env", None]),
        (OURS, (OTHER,), ["bearer:env", None]),
        ("", (OTHER,), [None, "bearer:env"]),
        ("", (), [None, None]),
        ("no address", (OTHER,), [None, None]),
        (f"{OURS} {OTHER}", (), ["bearer:env", "bearer:env"]),
    ],
)
def test_the_token_of_the_environment_belongs_to_the_stores_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, named: tuple[str, ...], expected: list[str | None]
) -> None:
    """Only where the environment names no store, it is for the store that the user names otherwise."""
    monkeypatch.setenv("IPFS_LOGS_TOKEN", "bearer:env")
    monkeypatch.setenv("IPFS_LOGS_KUBO", variable)

    assert expected == tokens(*named)


def test_a_handler_with_a_store_of_its_own_does_not_take_the_token_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kubo=` in a configuration, and `IPFS_LOGS_KUBO` with its token for another store."""
    monkeypatch.setenv("IPFS_LOGS_TOKEN", "bearer:env")
    assert "bearer:env" == Settings.parse({"kubo": OURS}).token
    monkeypatch.setenv("IPFS_LOGS_KUBO", OTHER)

    assert Settings.parse({"kubo": OURS}).token is None
    assert "bearer:env" == Settings.parse({"kubo": OTHER}).token
    assert "bearer:env" == Settings.parse({}).token
    assert "bearer:own" == Settings.parse({"kubo": OURS, "token": "bearer:own"}).token


def test_credentials_do_not_show_their_tokens() -> None:
    """Neither a log nor a traceback holds a secret."""
    assert "bearer:x" not in repr(Credentials.named((OURS,), "bearer:x"))
