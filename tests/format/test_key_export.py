"""Exported keys: openssl reads them, and a damaged one is never another key."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import key_export
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.format.ipns_record import name_of_key
from tests.support import mutations

KEY = SecretKey.generate(bytes(range(32)))
NAME = SecretKey(name_of_key(SecretKey("unnamed", bytes(32)).verifier.public), bytes(32))
NAMED = key_export.encode(KEY, name=NAME)
PLAIN, LOCKED = key_export.encode(KEY), key_export.encode(KEY, b"a long passphrase")


def read(data: bytes, passphrase: bytes | None = None) -> SecretKey | None:
    """Return the key; `None` for one that is refused."""
    try:
        return key_export.decode(data, passphrase).key
    except FormatError:
        return None


def test_both_ways_and_a_copy_of_the_key_file():
    """The key comes back, from an export with and without passphrase, and from the line in `writer.key`."""
    assert KEY == read(PLAIN) == read(LOCKED, b"a long passphrase") == read(KEY.text.encode() + b"\n")
    assert KEY.verifier.text.encode() in PLAIN
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in LOCKED


def test_the_key_of_a_name_comes_along():
    """Both keys come back, with and without passphrase; the name is the checksum of its key."""
    name = NAME
    for passphrase in (None, b"a long passphrase"):
        data = key_export.encode(KEY, passphrase, name=name)
        assert key_export.decode(data, passphrase) == (KEY, name)
        assert data.startswith(PLAIN.partition(b"-----")[0])
    assert key_export.decode(PLAIN).name is None
    plain = key_export.encode(KEY, name=name)
    for mutant in mutations.mutants(plain):
        try:
            found = key_export.decode(mutant)
        except FormatError:
            continue
        assert found.key == KEY
        assert found.name == name or (found.name is None and mutant == PLAIN)
    assert all(read(mutant) is None for mutant in mutations.flips(plain))


@pytest.mark.parametrize(("data", "passphrase"), [(PLAIN, ""), (LOCKED, "a long passphrase"), (NAMED, "")])
def test_openssl_reads_it(data, passphrase):
    """`openssl pkey` gives the public half."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    ended = subprocess.run(
        [openssl, "pkey", "-passin", f"pass:{passphrase}", "-pubout", "-outform", "DER"],
        input=data,
        capture_output=True,
    )
    assert ended.stdout[-32:] == KEY.verifier.public, ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("data", [PLAIN, LOCKED, KEY.text.encode() + b"\n"])
def test_every_flipped_bit_cut_and_added_byte(data):
    """A file that was changed anywhere is refused, or gives the same key (the last line may lack its end)."""
    passphrase = b"a long passphrase" if data is LOCKED else None
    for mutant in mutations.mutants(data):
        assert read(mutant, passphrase) in (None, KEY)
    refused = [mutant for mutant in mutations.flips(data) if read(mutant, passphrase) is None]
    assert len(refused) == 8 * len(data)


@pytest.mark.parametrize(("data", "passphrase"), [(PLAIN, b"x"), (LOCKED, None), (LOCKED, b"a wrong passphrase")])
def test_a_passphrase_that_does_not_fit(data, passphrase):
    """It is missing, wrong, or given for a key without one: an error that says so, and not what was read."""
    with pytest.raises(FormatError, match=r"passphrase"):
        key_export.decode(data, passphrase)


def test_other_keys_are_refused():
    """A key of another kind, one without its verifier key, the export of one beside the block of another."""
    block = ed448.Ed448PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    head, begin, own = PLAIN.partition(b"-----BEGIN")
    other = key_export.encode(SecretKey.generate(bytes(32))).partition(b"-----BEGIN")[2]
    for data in (head + block, begin + own, head + begin + other, SecretKey("mine", bytes(32)).text.encode()):
        assert read(data) is None
    with pytest.raises(FormatError, match="name of its own"):
        key_export.encode(SecretKey("mine", bytes(32)))


@given(st.binary(max_size=300), st.integers(0, len(PLAIN)), st.integers(0, len(PLAIN)))
def test_any_bytes_are_a_key_or_our_error(data, start, end):
    """Whatever the bytes are."""
    assert read(data) is None
    assert read(PLAIN[:start] + data + PLAIN[end:]) in (None, KEY)
