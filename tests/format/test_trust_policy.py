"""A policy names the logs that a reader trusts, and what this version cannot check is refused and not ignored."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.format.trust_policy import MAX_POLICY, parse_policy
from tests.support.mutations import flips

ONE, TWO = (SecretKey.generate(bytes([n]) * 32).verifier for n in (1, 2))


def test_the_keys_of_the_logs_are_read() -> None:
    """With comments, empty lines, addresses and an explicit `quorum none`."""
    text = f"# ours\n\nlog {ONE.text}\n  log {TWO.text}\thttps://example.org/log\nlog {ONE.text}\nquorum none\n"
    assert parse_policy(text.encode()) == (ONE, TWO)
    assert parse_policy(f"log {ONE.text}".encode()) == (ONE,)


@pytest.mark.parametrize("line", ["witness w1 key", "group g any w1", "quorum g", "quorum none none", "quorum"])
def test_a_line_about_witnesses_is_an_error(line: str) -> None:
    """It asks for a check that is not made."""
    with pytest.raises(ConfigurationError, match="not supported yet"):
        parse_policy(f"log {ONE.text}\n{line}\n".encode(), "policy.txt")


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing\n", "quorum none\n", "log\n", "log junk\n", f"log {ONE.text} a b\n", f"logs {ONE.text}\n",
        f"log {ONE.text}\nquorum none\nquorum none\n", f"{ONE.text}\n",
    ],
)  # fmt: skip
def test_a_policy_that_is_malformed_is_an_error(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ConfigurationError):
        parse_policy(text.encode())


def test_no_flipped_bit_makes_another_key_trusted() -> None:
    """The ID of a key is that of its name and bytes."""
    data = f"log {ONE.text}\nlog {TWO.text}\nquorum none\n".encode()
    for mutant in flips(data):
        try:
            keys = parse_policy(mutant)
        except ConfigurationError:
            continue
        assert set(keys) <= {ONE, TWO}
    with pytest.raises(ConfigurationError):
        parse_policy(b"\xff")
    with pytest.raises(ConfigurationError):
        parse_policy(bytes(MAX_POLICY + 1))
