"""Recipients: each misspelt character is found without the library for age, and a secret key is never shown."""

from __future__ import annotations

import base64

import pytest
from pyrage import RecipientError, x25519

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.age_recipient import normalise_recipient
from tests.support.encrypted import ALICE, ALICE_KEY, BOB_KEY

SSH = "ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))).decode()


def test_what_age_accepts_is_accepted():
    """Keys that were drawn, and the same with spaces around them."""
    for key in (ALICE_KEY, BOB_KEY, *(str(x25519.Identity.generate().to_public()) for _ in range(50))):
        assert key == normalise_recipient(key) == normalise_recipient(f" {key}\n")


def test_every_changed_character_is_found():
    """Also two characters that changed places, and what is missing or too much; age refuses the same."""
    wrong = [
        ALICE_KEY[:at] + character + ALICE_KEY[at + 1 :]
        for at in range(len(ALICE_KEY))
        for character in "qpzry9x8 b1-A"
        if character != ALICE_KEY[at]
    ]
    swapped = [
        ALICE_KEY[:at] + ALICE_KEY[at + 1] + ALICE_KEY[at] + ALICE_KEY[at + 2 :]
        for at in range(len(ALICE_KEY) - 1)
        if ALICE_KEY[at] != ALICE_KEY[at + 1]
    ]
    for text in [*wrong, *swapped, ALICE_KEY[:-1], ALICE_KEY + "q", "", "age1"]:
        with pytest.raises(FormatError):
            normalise_recipient(text)
        with pytest.raises(RecipientError):
            x25519.Recipient.from_str(text)
    with pytest.raises(
        FormatError
    ):  # age accepts capitals; a key has one spelling here, so that it is not twice in a list
        normalise_recipient(ALICE_KEY.upper())


def test_an_ssh_key_without_its_comment():
    """The comment names a person and is not needed."""
    assert SSH == normalise_recipient(SSH) == normalise_recipient(f"{SSH} somebody@example.org\n")
    for text in (SSH[:-4], SSH.replace("ssh-ed25519", "ssh-rsa"), SSH + "AAAA", "ssh-ed25519", "ssh-ed25519 !!!!"):
        with pytest.raises(FormatError, match="not an age recipient"):
            normalise_recipient(text)


@pytest.mark.parametrize(
    "text", [ALICE, f"# a comment\n{ALICE}", ALICE.lower(), "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz"]
)
def test_a_secret_key_is_refused_and_not_shown(text):
    """A configuration is not the place for it, and a message is not either."""
    with pytest.raises(FormatError, match="this is a secret key") as caught:
        normalise_recipient(text)
    assert not any(word in str(caught.value) for word in (ALICE[20:], ALICE[20:].lower(), "b3BlbnNz"))
