"""Keyrings: which identity opens a batch, how it comes to the key of the period, and what is said where none does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.errors import (
    ConfigurationError,
    ErasedError,
    FormatError,
    NoIdentityError,
    ReplayedKeyError,
    VerificationError,
    WrongIdentityError,
)
from ipfs_log_handlers.format.encryption import EXTENSION, Revealed, hide, recipient_of
from ipfs_log_handlers.format.kid import Kid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home import data_keys, key_shredding
from ipfs_log_handlers.home.key_directory import KeyFiles
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.identities import keyring_of
from ipfs_log_handlers.reader.keyring import NO_KEYS
from tests.support import sample_homes
from tests.support.encrypted import ALICE, ALICE_KEY, BOB, KID, SEALED, clear_manifest, encrypted_batch


@pytest.fixture
def batch(home: Path) -> Manifest:
    """Return a manifest that is encrypted to the key of its month, which the home has wrapped for Alice."""
    key = data_keys.key_for(HomeDir(home), "audit", Encrypt(recipients=(ALICE_KEY,)), SEALED)
    return encrypted_batch(key.recipient)[0]


def test_a_recipient_unwraps_the_key_of_the_period(home: Path, batch: Manifest) -> None:
    """From the home, or from a copy of its key directory."""
    assert isinstance(keyring_of(ALICE, None, home).open(batch), Revealed)
    assert isinstance(keyring_of(ALICE, home / "keys", None).open(batch), Revealed)
    assert isinstance(keyring_of([BOB, ALICE], None, home).open(batch), Revealed)


def test_the_key_of_the_period_opens_without_a_directory(home: Path, batch: Manifest) -> None:
    """Who was given the secret key of a month needs nothing else."""
    opener = keyring_of(ALICE, None, home)._identities[0].opener
    secret = data_keys.unwrap(HomeDir(home), KID.text, [opener])
    assert keyring_of(secret, None, None).open(batch).cid == batch.cid
    assert recipient_of(secret) == batch.ext[EXTENSION]["recipient"]


def test_an_ssh_key_unwraps_the_key_of_the_period(home: Path) -> None:
    """A recipient may be an ssh-ed25519 key; its private half is the identity."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    key = data_keys.key_for(HomeDir(home), "audit", Encrypt(recipients=(public,)), SEALED)
    text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    assert isinstance(keyring_of(text, None, home).open(encrypted_batch(key.recipient)[0]), Revealed)


def test_without_an_identity(home: Path, batch: Manifest) -> None:
    """The error names the key, and how to give one; it knows how many records there are."""
    for keyring in (keyring_of(None, None, home), NO_KEYS):
        with pytest.raises(NoIdentityError, match=r"audit/2026-03.*--identity FILE or IPFS_LOGS_IDENTITY") as caught:
            keyring.open(batch)
        assert type(caught.value) is NoIdentityError
        assert caught.value.records == batch.records
        assert keyring.look(batch) is batch


def test_a_secret_that_was_overwritten_is_erased(home: Path, batch: Manifest) -> None:
    """Its destruction was interrupted before the file was removed; without the mark it is damage."""
    KeyFiles.of(HomeDir(home), KID.text).wrapped.write_bytes(bytes(200))
    with pytest.raises(VerificationError, match="damaged"):
        keyring_of(ALICE, None, home).open(batch)
    key_shredding.begin_shred(HomeDir(home), KID.text, {"reason": "asked for"})
    with pytest.raises(ErasedError):
        keyring_of(ALICE, None, home).open(batch)


def test_with_the_identities_of_others(home: Path, batch: Manifest) -> None:
    """That is told from having none, and from damage; the second time, too."""
    keyring = keyring_of(BOB, None, home)
    for _ in range(2):
        with pytest.raises(WrongIdentityError, match="no identity that was given opens the key audit/2026-03"):
            keyring.open(batch)
    with pytest.raises(WrongIdentityError):
        keyring_of(ALICE, None, None).open(batch)  # Alice has no key directory here


def test_a_destroyed_key(home: Path, batch: Manifest) -> None:
    """Nobody can open the batch any more, whatever identity they have, and the error says so."""
    key_shredding.begin_shred(HomeDir(home), KID.text, {})
    assert isinstance(keyring_of(ALICE, None, home).open(batch), Revealed)
    key_shredding.finish_shred(HomeDir(home), KID.text)
    for identity in (None, ALICE):
        with pytest.raises(ErasedError, match="erased by policy: the key audit/2026-03 was destroyed"):
            keyring_of(identity, None, home).open(batch)


def test_a_damaged_wrapped_key_is_not_called_foreign(home: Path, batch: Manifest) -> None:
    """What is wrong with the file in the key directory is said."""
    path = KeyFiles.of(HomeDir(home), KID.text).wrapped
    sample_homes.flip_last_byte(path)
    with pytest.raises(Exception, match="damaged"):
        keyring_of(ALICE, None, home).open(batch)


def test_the_key_of_another_period(home: Path, batch: Manifest) -> None:
    """A batch that is encrypted to another key than the directory has for its period is refused."""
    replayed, _ = encrypted_batch(ALICE_KEY)
    keyring = keyring_of(ALICE, None, home)
    assert isinstance(keyring.open(batch), Revealed)
    with pytest.raises(ReplayedKeyError, match="two periods, or two for one"):
        keyring.open(replayed)  # Alice's own key opens it, but it is not the key of the month
    for _ in range(2):
        with pytest.raises(ReplayedKeyError, match="another key than that of its period"):
            keyring_of(ALICE, None, home).open(encrypted_batch(recipient_of(BOB))[0])


def test_one_key_for_two_periods() -> None:
    """A reader who has only the key notices that a second kid uses it."""
    keyring = keyring_of(ALICE, None, None)
    march, _ = encrypted_batch(ALICE_KEY)
    assert isinstance(keyring.open(march), Revealed)
    clear = clear_manifest(encrypted_batch(ALICE_KEY)[1], sealed=SEALED + 40 * 86_400_000_000)
    april = hide(clear, Kid.parse("audit/2026-04"), ALICE_KEY)
    with pytest.raises(ReplayedKeyError, match="two periods"):
        keyring.open(april)


def test_a_manifest_in_clear_stays_as_it_is() -> None:
    """No key is needed, and none is looked for."""
    clear = clear_manifest(b"x" * 99, encoding="jsonl+zstd")
    assert NO_KEYS.open(clear) is clear


def test_a_malformed_envelope(batch: Manifest) -> None:
    """It is damage, not a missing identity."""
    with pytest.raises(FormatError):
        NO_KEYS.open(replace(batch, ext={}))


# -- where identities come from


def _files(directory: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = directory / f"{len(list(directory.iterdir()))}.txt"
        path.write_text(text)
        return path

    directory.mkdir()
    return write


def test_identities_come_from_files_texts_and_the_environment(
    home: Path, batch: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of age-keygen, with comments; several of them; a text; or the file that a variable names."""
    write = _files(tmp_path / "identities")
    path = write(f"# created: 2026-01-01\n# public key: {ALICE_KEY}\n{ALICE}\n\n{BOB}\n")
    for given in (path, str(path), [write(BOB), path], f"  {ALICE}\n"):
        assert isinstance(keyring_of(given, None, home).open(batch), Revealed)
    monkeypatch.setenv("IPFS_LOGS_IDENTITY", str(path))
    assert isinstance(keyring_of(None, None, home).open(batch), Revealed)
    with pytest.raises(NoIdentityError):
        keyring_of((), None, home).open(batch)  # an empty list is an answer: none


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no identity in this file"),
        ("# only a comment\n", "no identity in this file"),
        ("hello\n", "not an identity of age"),
        (ALICE[:-1], "not an identity of age"),
        ("age-encryption.org/v1\n-> scrypt\n", "not an identity of age"),
        (ALICE_KEY, "not an identity of age"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nxxxx\n", "this ssh key cannot be used"),
    ],
)
def test_files_without_an_identity_are_refused(tmp_path: Path, text: str, words: str) -> None:
    """The error names the file and what it must have, and shows nothing of its text."""
    path = _files(tmp_path / "identities")(text)
    with pytest.raises(ConfigurationError, match=words) as caught:
        keyring_of(path, None, None)
    assert str(path) in str(caught.value)
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_missing_file_or_directory_is_named(tmp_path: Path) -> None:
    """Nothing is read before that is clear."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keyring_of(tmp_path / "missing", None, None)
    with pytest.raises(ConfigurationError, match="no such directory"):
        keyring_of(None, tmp_path / "missing", None)


def test_secrets_are_not_shown() -> None:
    """Neither the keyring nor an identity shows its secret."""
    keyring = keyring_of(ALICE, None, None)
    assert ALICE not in repr(keyring) + repr(keyring._identities)
