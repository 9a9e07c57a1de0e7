"""Keys of periods: made and wrapped before anything is encrypted to them, issued ahead, replaced when they are lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pyrage import decrypt, ssh, x25519

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.errors import ConfigurationError, FormatError, HomeError, VerificationError, WrongIdentityError
from ipfs_log_handlers.format.kid import bounds
from ipfs_log_handlers.home import data_keys, disk
from ipfs_log_handlers.home.data_keys import DataKey, MissingKeyError
from ipfs_log_handlers.home.key_directory import KeyFiles, PublicPart, keys_in, kids_of, load, state
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.encrypted import ALICE, ALICE_KEY, BOB, BOB_KEY, SEALED
from tests.support.logging_home import spy
from tests.support.mutations import mutants

TO_ALICE = Encrypt(recipients=(ALICE_KEY,))
TO_BOTH = Encrypt(recipients=(ALICE_KEY, BOB_KEY))
ISSUED = Encrypt()
AGAIN = "audit/2026-03"


def identity(text: str) -> x25519.Identity:
    """Return an identity of age."""
    return x25519.Identity.from_str(text)


@pytest.fixture
def at(tmp_path: Path) -> HomeDir:
    """Return a home that does not exist yet."""
    return HomeDir(tmp_path / "home")


def made(home: HomeDir, encrypt: Encrypt = TO_ALICE, now: int = SEALED) -> DataKey:
    """Return the key for a batch of `audit`."""
    return data_keys.key_for(home, "audit", encrypt, now)


class TestKeyFor:
    def test_made_once_for_a_period(self, at: HomeDir) -> None:
        """The first batch of a period makes it; all others of the period use it, also of another process."""
        key = made(at)
        assert key == made(at) == data_keys.key_for(HomeDir(at.path), "audit", TO_ALICE, SEALED + 1)
        assert (AGAIN, "present") == (key.kid, state(at, key.kid))
        assert key.recipient != data_keys.key_for(at, "wal", TO_ALICE, SEALED).recipient

    def test_at_the_edge_of_a_period(self, at: HomeDir) -> None:
        """The last microsecond of a month has the key of that month, and the next one another."""
        edge = bounds("2026-03")[1]
        before, after = made(at, now=edge - 1), made(at, now=edge)
        assert ("audit/2026-03", "audit/2026-04") == (before.kid, after.kid)
        assert before.recipient != after.recipient
        assert before == made(at, now=edge - 1)  # a clock that is set back finds the same key

    def test_wrapped_for_each_recipient_and_nobody_else(self, at: HomeDir) -> None:
        """Either secret key opens it, the tool age too; the secret is in no file."""
        key = made(at, TO_BOTH)
        for text in (ALICE, BOB):
            secret = data_keys.unwrap(at, key.kid, [identity(text)])
            assert key.recipient == str(identity(secret).to_public())
        with pytest.raises(WrongIdentityError, match="none of the identities"):
            data_keys.unwrap(at, key.kid, [x25519.Identity.generate()])
        content = b"".join(path.read_bytes() for path in at.keys.rglob("*") if path.is_file())
        assert secret.encode() not in content
        assert b"AGE-SECRET-KEY" not in content

    def test_the_wrapped_file_is_what_age_keygen_writes(self, at: HomeDir) -> None:
        """`age -d` of it prints a file that `age -i` takes."""
        key = made(at)
        text = decrypt(KeyFiles.of(at, key.kid).wrapped.read_bytes(), [identity(ALICE)]).decode()
        assert [f"# public key: {key.recipient}", "AGE-SECRET-KEY-1"] == [
            text.splitlines()[2],
            text.splitlines()[3][:16],
        ]

    def test_for_an_ssh_key(self, at: HomeDir) -> None:
        """An ssh-ed25519 key opens it, as age does."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        secret = Ed25519PrivateKey.generate()
        public = secret.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        pem = secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        key = made(at, Encrypt.parse({"recipients": public.decode()}))
        opened = data_keys.unwrap(at, key.kid, [ssh.Identity.from_buffer(pem)])
        assert key.recipient == str(identity(opened).to_public())

    def test_only_this_user_can_read_the_files(self, at: HomeDir) -> None:
        """0600 in 0700, as all of a home."""
        made(at)
        assert {0o600} == {path.stat().st_mode & 0o777 for path in at.keys.rglob("*") if path.is_file()}
        assert {0o700} == {path.stat().st_mode & 0o777 for path in [at.keys, *at.keys.rglob("*")] if path.is_dir()}
        assert [] == at.subsystem_dirs()

    def test_the_wrapped_secret_is_on_the_disk_before_the_public_key(
        self, at: HomeDir, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In this order, each synced: a kill in between leaves a secret that nothing was encrypted to."""
        steps: list[str] = []
        spy(monkeypatch, disk, "write_new", lambda path, _: steps.append(path.name.split(".")[1]))
        spy(monkeypatch, disk, "sync_directory", lambda path: steps.append(path.name))
        made(at)
        assert ["age", "audit", "json", "audit"] == steps[-4:]

    def test_other_recipients_get_another_key_at_once(self, at: HomeDir) -> None:
        """Who is taken off the list cannot open the next batch; who was on it before is not asked for another key."""
        first, second = made(at, TO_ALICE), made(at, TO_BOTH)
        assert ("audit/2026-03", "audit/2026-03.2") == (first.kid, second.kid)
        assert (first, second) == (made(at, TO_ALICE), made(at, TO_BOTH))
        assert (BOB_KEY,) == load(at, made(at, Encrypt(recipients=(BOB_KEY,))).kid).wrapped_for
        with pytest.raises(WrongIdentityError):
            data_keys.unwrap(at, first.kid, [identity(BOB)])

    def test_threads_make_one_key(self, at: HomeDir) -> None:
        """Processes that need the first key of a period at the same time get the same."""
        found: list[DataKey] = []
        threads = [threading.Thread(target=lambda: found.append(made(at))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (8, 1) == (len(found), len(set(found)))
        assert [AGAIN] == kids_of(at, "audit", "2026-03")

    def test_without_the_library(self, at: HomeDir, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is made, and the error has the command; a key that is there needs no library."""
        key = made(at)
        monkeypatch.setitem(__import__("sys").modules, "pyrage", None)
        assert key == made(at)
        with pytest.raises(ConfigurationError, match=r"pip install 'ipfs_log_handlers\[encrypt\]'"):
            made(at, TO_BOTH)
        assert [AGAIN] == [known.kid for known in keys_in(at)]


class TestLostAndDamaged:
    def test_a_lost_secret_is_not_encrypted_to(self, at: HomeDir) -> None:
        """Its file was removed without a word: nothing more becomes unreadable."""
        key = made(at)
        KeyFiles.of(at, key.kid).wrapped.unlink()
        assert "is missing" in str(load(at, key.kid).damage)
        assert "audit/2026-03.2" == made(at).kid
        with pytest.raises(MissingKeyError, match="is not here"):
            data_keys.unwrap(at, key.kid, [identity(ALICE)])

    def test_a_lost_public_key_costs_no_secret(self, at: HomeDir) -> None:
        """The wrapped secret of the batches so far is not overwritten, and still opens them."""
        key = made(at)
        KeyFiles.of(at, key.kid).public.unlink()
        assert "audit/2026-03.2" == made(at).kid
        assert key.recipient == str(identity(data_keys.unwrap(at, key.kid, [identity(ALICE)])).to_public())

    def test_every_changed_bit_is_found(self, at: HomeDir) -> None:
        """A key of which any bit is wrong is not used, and another one is made once."""
        key = made(at)
        files = KeyFiles.of(at, key.kid)
        public = files.public.read_bytes()
        for mutant in mutants(public):
            with pytest.raises(FormatError):
                PublicPart.decode(mutant, key.kid)
        for path in (files.public, files.wrapped):
            content = path.read_bytes()
            for mutant in list(mutants(content))[::97]:
                path.write_bytes(mutant)
                assert load(at, key.kid).damage, mutant
            assert "audit/2026-03.2" == made(at).kid == made(at).kid
            path.write_bytes(content)
            assert load(at, key.kid).damage is None

    def test_a_replayed_key_is_found(self, at: HomeDir) -> None:
        """The files of another period under this name: not used, and not taken for the right ones."""
        march, april = made(at), made(at, now=bounds("2026-03")[1])
        here, other = KeyFiles.of(at, march.kid), KeyFiles.of(at, april.kid)
        here.wrapped.write_bytes(other.wrapped.read_bytes())
        with pytest.raises(VerificationError, match="the secret key of another period"):
            data_keys.unwrap(at, march.kid, [identity(ALICE)])
        here.public.write_bytes(other.public.read_bytes())
        assert load(at, march.kid).damage
        assert made(at).recipient not in (march.recipient, april.recipient)

    def test_other_content_is_no_key(self, at: HomeDir) -> None:
        """An age file for the right person, with something else in it."""
        key = made(at)
        from pyrage import encrypt

        KeyFiles.of(at, key.kid).wrapped.write_bytes(encrypt(b"hello", [identity(ALICE).to_public()]))
        with pytest.raises(VerificationError, match="not the secret key of a period"):
            data_keys.unwrap(at, key.kid, [identity(ALICE)])

    @pytest.mark.parametrize("kid", ["../../etc", "audit", "audit/..", "audit/2026-03/x", ""])
    def test_an_id_never_becomes_another_path(self, at: HomeDir, kid: str) -> None:
        """It comes from a manifest, which may be a stranger's."""
        for ask in (state, load):
            with pytest.raises(FormatError):
                ask(at, kid)


class TestIssued:
    def test_the_machine_that_logs_never_has_a_secret(self, at: HomeDir, tmp_path: Path) -> None:
        """The holder makes the keys of a year; only their public halves are in the home."""
        holder = tmp_path / "holder"
        issued = data_keys.issue(holder, "audit", ["2026-03", "2026-04"], [ALICE_KEY], SEALED)
        assert issued == data_keys.issue(holder, "audit", ["2026-03", "2026-04"], [ALICE_KEY], SEALED)
        assert issued == data_keys.accept(at, issued, SEALED)
        assert [] == data_keys.accept(at, issued, SEALED)
        assert issued[0] == made(at, ISSUED) == made(at, TO_BOTH)  # an issued key comes first
        assert "issued" == state(at, issued[0].kid)
        assert not list(at.keys.rglob("*.age"))
        with pytest.raises(MissingKeyError, match="it is issued"):
            data_keys.unwrap(at, issued[0].kid, [identity(ALICE)])
        secret = data_keys.unwrap(holder, issued[0].kid, [identity(ALICE)])
        assert issued[0].recipient == str(identity(secret).to_public())

    def test_without_an_issued_key_nothing_is_made(self, at: HomeDir) -> None:
        """The records wait; the error has the next step."""
        with pytest.raises(MissingKeyError, match="no key was issued for audit in 2026-03, so its records wait"):
            made(at, ISSUED)
        assert not at.keys.exists()

    def test_another_key_under_the_same_id_is_refused(self, at: HomeDir, tmp_path: Path) -> None:
        """Two holders, or a new directory: nothing is replaced."""
        first = data_keys.issue(tmp_path / "one", "audit", ["2026-03"], [ALICE_KEY], SEALED)
        second = data_keys.issue(tmp_path / "two", "audit", ["2026-03"], [ALICE_KEY], SEALED)
        data_keys.accept(at, first, SEALED)
        with pytest.raises(HomeError, match="belongs here to another key"):
            data_keys.accept(at, second, SEALED)
        assert first[0] == made(at, ISSUED)

    def test_somebody_must_be_able_to_unwrap(self, tmp_path: Path) -> None:
        """A key without a recipient would be lost at once."""
        with pytest.raises(ConfigurationError):
            data_keys.issue(tmp_path, "audit", ["2026-03"], [], SEALED)
