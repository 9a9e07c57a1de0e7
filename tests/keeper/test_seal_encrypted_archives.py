"""Encrypted archives: who can open them, what is in clear, what a crash leaves, and how they are erased."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.api import Home, open_home
from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.config.encryption import RECIPIENTS_VARIABLE
from ipfs_log_handlers.errors import ErasedError, HomeError, NoIdentityError
from ipfs_log_handlers.format import encrypted_archive
from ipfs_log_handlers.format.encryption import Envelope
from ipfs_log_handlers.home import data_keys, key_shredding, pending_archives
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.rotator import Rotator
from ipfs_log_handlers.runtime.process import forget_home
from ipfs_log_handlers.spool.archiver import ArchiveMetadata
from tests.support import file_trees, forked, kill_steps, sample_homes
from tests.support.archives import archiver, managing
from tests.support.encrypted import ALICE, ALICE_KEY, BOB
from tests.support.logging_home import lines, put_segment

ENCRYPT = Encrypt(recipients=(ALICE_KEY,))
SECRETS = (b"quagga", b"zebra-77", b"orders-of-ada")
"""The content, metadata and name of an archive."""


def _archive(home: Path, text: bytes = b"quagga quagga quagga\n", name: str = "orders-of-ada") -> str:
    about = ArchiveMetadata(name=name, version="1", metadata={"customer": "zebra-77"})
    return archiver(home, encrypt=ENCRYPT).put_bytes(text, about).root.text


def _read(home: Path, cid: str, identity: str | tuple[()] = ALICE) -> bytes:
    opened = open_home(home)
    version = opened.archive_with_cid(cid, identity=identity)
    assert version is not None
    with opened.open_archive(version, identity=identity) as archive:
        entry = archive.entry()
        assert entry is not None
        return b"".join(archive.read(entry))


def _reports(home: Path, identity: str | tuple[()] = ()) -> list[tuple[bool, int, int]]:
    return [(report.ok, report.encrypted, report.erased) for report in open_home(home).verify(identity=identity)]


def test_an_archive_is_for_the_recipients(home: Path) -> None:
    """Pending and sealed, the identity opens it by its CID and name; without one it is verified, and has no name."""
    cid = _archive(home)
    assert _read(home, cid) == b"quagga quagga quagga\n"
    sample_homes.seal(home)
    assert _read(home, cid) == b"quagga quagga quagga\n"
    (version,) = open_home(home).archives(identity=ALICE)
    assert (version.name, version.version, version.size) == ("orders-of-ada", "1", 21)
    assert version.metadata == {"customer": "zebra-77"}
    assert open_home(home).archive_with_cid(str(version.content), identity=ALICE) == version
    for identity in ((), BOB):
        (closed,) = open_home(home).archives(identity=identity)
        assert (closed.name, closed.size, closed.closed, closed.root.text) == (None, None, "encrypted", cid)
        with pytest.raises(NoIdentityError):
            _read(home, cid, identity)
    assert _reports(home) == [(True, 1, 0)]
    assert _reports(home, ALICE) == [(True, 0, 0)]


def test_the_cid_of_its_content_finds_it_everywhere(home: Path) -> None:
    """An identity gives the history of a version, and the version in a history, by the CID that it has in clear."""
    _archive(home)
    sample_homes.seal(home)
    opened = open_home(home)
    (version,) = opened.archives(identity=ALICE)
    content = str(version.content)
    assert opened.archives(content, identity=ALICE) == (version,)
    assert opened.archive_as_of("orders-of-ada", content, identity=ALICE) == version
    assert opened.archives(content) == ()


def test_nothing_of_it_is_in_clear(home: Path) -> None:
    """No file of the log has its content, name or metadata, and its blocks never have them."""
    _archive(home)
    (car,) = (home / "logs" / "archived").glob("*.car")
    assert not any(secret in car.read_bytes() for secret in SECRETS)
    sample_homes.seal(home)
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".car"]) >= 1
    assert [path for path in files if any(secret in path.read_bytes() for secret in SECRETS)] == []


def test_a_directory_with_links_comes_back(home: Path, tmp_path: Path) -> None:
    """Its files, links and names; one file of it is read alone."""
    tree = file_trees.on_disk(tmp_path / "tree", file_trees.NESTED)
    made = archiver(home, encrypt=ENCRYPT).put(tree, ArchiveMetadata(name="tree"))
    sample_homes.seal(home)
    with managing(home) as manager:
        loaded = manager.load(made.root.text, tmp_path / "back", identity=ALICE)
        refused = manager.load("tree", tmp_path / "no")
    assert loaded["success"], loaded
    assert file_trees.read(tmp_path / "back") == file_trees.read(tree)
    assert not refused["success"]
    assert "IPFS_LOGS_IDENTITY" in refused["error"]


class TestWhoAsksForIt:
    def test_the_records_of_the_subsystem(self, home: Path, tmp_path: Path) -> None:
        """An archive in a log of encrypted records is encrypted, although its program has no such setting."""
        put_segment(HomeDir(home).subsystem_dir("logs"), lines(1, 3), encrypt=ENCRYPT)
        (tmp_path / "file").write_text("quagga")
        assert open_home(home).archive(tmp_path / "file").ciphertext is not None
        assert open_home(home).archive(tmp_path / "file", subsystem="wal").ciphertext is None

    def test_the_environment(self, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """`IPFS_LOGS_RECIPIENTS` encrypts archives of every subsystem; without an identity, they are numbered, too."""
        monkeypatch.setenv(RECIPIENTS_VARIABLE, ALICE_KEY)
        (tmp_path / "file").write_text("quagga")
        made = [Home(home).archive(tmp_path / "file", subsystem="wal") for _ in range(2)]
        assert [(version.name, version.version, version.closed) for version in made] == [
            ("file", "1", None),
            ("file", "2", None),
        ]
        monkeypatch.setenv("IPFS_LOGS_IDENTITY", ALICE)
        third = Home(home).archive(tmp_path / "file", subsystem="wal")
        assert (third.version, third.meta["parent"]) == ("3", made[1].root.text)

    def test_a_manager(self, home: Path, tmp_path: Path) -> None:
        """`store` gives the CID of the encrypted bytes, `load` the bytes; a version of it needs no identity."""
        with managing(home, encrypt={"recipients": ALICE_KEY}) as manager:
            stored = manager.store(data="quagga", metadata={"name": "orders", "type": "logs"})
            assert Path(manager.load(stored["cid"], tmp_path / "one", identity=ALICE)["path"]).read_text() == "quagga"
            sample_homes.seal(home)
            again = manager.version(stored["cid"], "1.1")
            assert (again["success"], again["cid"]) == (True, stored["cid"]), again
            sample_homes.seal(home)
            assert Path(manager.load(stored["cid"], tmp_path / "two", identity=ALICE)["path"]).read_text() == "quagga"
        assert _reports(home, ALICE) == [(True, 0, 0)]

    def test_a_manager_makes_no_encrypted_version_of_blocks_in_clear(self, home: Path, tmp_path: Path) -> None:
        """A version of an archive in clear is read and encrypted, if archives are encrypted now."""
        with managing(home) as manager:
            clear = manager.store(data="quagga", metadata={"name": "orders"})
        with managing(home, encrypt={"recipients": ALICE_KEY}) as manager:
            again = manager.version("orders", "2")
            assert again["cid"] != clear["cid"]
            assert Path(manager.load(again["cid"], tmp_path / "two", identity=ALICE)["path"]).read_text() == "quagga"

    def test_a_rotator(self, home: Path, tmp_path: Path) -> None:
        """A rotated file is encrypted; where no key was issued it is counted as failed, and not archived in clear."""
        for encrypt, counts in (
            ({"recipients": ALICE_KEY}, (1, 0)),
            ({"recipients": "issued", "period": "day"}, (0, 1)),
        ):
            rotator = Rotator(home=home, keeper="none", encrypt=encrypt)
            (tmp_path / "shop.log").write_text("quagga")
            rotator(str(tmp_path / "shop.log"), str(tmp_path / "shop.log.1"))
            assert (rotator.archived, rotator.failed) == counts, rotator.last_error
            forget_home(home)
        assert "no key was issued" in str(rotator.last_error)
        (archive,) = pending_archives.load_all(HomeDir(home).subsystem_dir("logs").archived, {})
        assert archive.ciphertext is not None


class TestErasure:
    def test_it_is_erased_with_its_key(self, home: Path) -> None:
        """Afterwards it is listed as erased and still verified; its CID cannot be opened."""
        cid = _archive(home)
        sample_homes.seal(home)
        (key,) = data_keys.keys_in(HomeDir(home))
        open_home(home).shred_keys(key.period, subsystem="logs", reason="asked for")
        (version,) = open_home(home).archives(identity=ALICE)
        assert version.closed == "erased"
        with pytest.raises(ErasedError):
            _read(home, cid)
        assert _reports(home, ALICE) == [(True, 0, 1)]
        with managing(home) as manager:
            assert "destroyed" in manager.version(cid, "2")["error"]

    def test_one_that_waits_for_its_batch(self, home: Path) -> None:
        """It was encrypted before its key was destroyed: it is sealed, and erased."""
        _archive(home)
        (key,) = data_keys.keys_in(HomeDir(home))
        key_shredding.begin_shred(HomeDir(home), key.kid, {"reason": "asked for"})
        key_shredding.finish_shred(HomeDir(home), key.kid)
        sample_homes.seal(home)
        assert _reports(home, ALICE) == [(True, 0, 1)]

    def test_a_key_that_is_destroyed_while_an_archive_is_made(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The archive is refused, because nobody could open it; the next one gets another key."""
        real = encrypted_archive.encrypt

        def encrypt(*arguments: Any) -> object:
            made = real(*arguments)
            (key,) = data_keys.keys_in(HomeDir(home))
            key_shredding.begin_shred(HomeDir(home), key.kid, {"reason": "asked for"})
            return made

        with monkeypatch.context() as patch:
            patch.setattr(encrypted_archive, "encrypt", encrypt)
            with pytest.raises(HomeError, match="was destroyed while"):
                _archive(home)
        assert list((home / "logs" / "archived").iterdir()) == []
        assert _read(home, _archive(home)) == b"quagga quagga quagga\n"


def test_the_clock_is_set_back_over_the_edge_of_a_period(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is sealed at the beginning of the period of its key, and the key fits."""
    _archive(home)
    monkeypatch.setattr("ipfs_log_handlers.keeper.log_writer.now_us", lambda: 1_000_000_000_000_000)
    sample_homes.seal(home)
    manifest = Batches(HomeDir(home).subsystem_dir("logs").current.batches).manifest(0)
    assert Envelope.of(manifest).kid.holds(manifest.sealed)
    assert _reports(home, ALICE) == [(True, 0, 0)]


def test_an_older_release_never_seals_it_in_clear(home: Path) -> None:
    """Its description has another version than that of an archive in clear."""
    _archive(home)
    (description,) = (home / "logs" / "archived").glob("*.json")
    assert json.loads(description.read_bytes()[9:])["v"] == 2


def _archive_and_die(home: Path, number: int) -> None:
    kill_steps.kill_at(number)
    cid = _archive(home)
    (home.parent / f"{home.name}.promised").write_text(cid)
    sample_homes.seal(home)


@pytest.mark.slow
def test_killed_at_every_third_step(tmp_path: Path) -> None:
    """An archive that was promised can be opened and is in the chain once; else nothing of it is left.

    The kills are before and after calls that change the disk: while the key is made, the archive written and sealed.
    """
    number, done = 1, False
    while not done:
        home = tmp_path / f"home-{number}"
        done = forked.run_in_child(_archive_and_die, home, number)
        with contextlib.suppress(HomeError):
            sample_homes.seal(home)
        other = _archive(home, b"another", "another")
        sample_homes.seal(home)
        assert _read(home, other) == b"another"
        promised = tmp_path / f"{home.name}.promised"
        named = [version for version in open_home(home).archives(identity=ALICE) if version.name == "orders-of-ada"]
        assert len(named) == 1 if promised.exists() else len(named) <= 1, number
        assert all(_read(home, version.root.text) == b"quagga quagga quagga\n" for version in named), number
        assert _reports(home, ALICE) == [(True, 0, 0)], number
        number += 3
    assert number > 60  # the kills reach to the end of sealing
