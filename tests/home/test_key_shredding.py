"""Destroying a key: first the mark, then the bytes, then the word; never half done and called done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import data_keys, disk
from ipfs_log_handlers.home.data_keys import MissingKeyError
from ipfs_log_handlers.home.key_directory import KeyFiles, keys_in, state
from ipfs_log_handlers.home.key_shredding import begin_shred, finish_shred
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.encrypted import ALICE, ALICE_KEY, SEALED
from tests.support.logging_home import spy

TO_ALICE = Encrypt(recipients=(ALICE_KEY,))


@pytest.fixture
def at(tmp_path: Path) -> HomeDir:
    """Return a home with a key."""
    home = HomeDir(tmp_path / "home")
    data_keys.key_for(home, "audit", TO_ALICE, SEALED)
    return home


KID = "audit/2026-03"


def identities() -> list[object]:
    """Return the identities of the auditor."""
    from pyrage import x25519

    return [x25519.Identity.from_str(ALICE)]


def test_from_the_mark_on_nothing_is_encrypted_to_it(at: HomeDir) -> None:
    """A further key is made; the old one can still be opened until its bytes are gone, and says that it ends."""
    begin_shred(at, KID, {"reason": "asked for"})
    assert "shredding" == state(at, KID)
    assert "audit/2026-03.2" == data_keys.key_for(at, "audit", TO_ALICE, SEALED).kid
    assert data_keys.unwrap(at, KID, identities()).startswith("AGE-SECRET-KEY-")


def test_gone_and_never_used_again(at: HomeDir) -> None:
    """Also not by a clock that is set back, and not by somebody who issues a key with this id."""
    begin_shred(at, KID, {"reason": "asked for"})
    finish_shred(at, KID)
    finish_shred(at, KID)
    begin_shred(at, KID, {"reason": "asked for"})
    assert "shredded" == state(at, KID)
    assert "audit/2026-03.2" == data_keys.key_for(at, "audit", TO_ALICE, SEALED).kid
    with pytest.raises(MissingKeyError, match="it is shredded"):
        data_keys.unwrap(at, KID, identities())
    with pytest.raises(HomeError, match="shredded"):
        data_keys.accept(at, [data_keys.DataKey(KID, ALICE_KEY)], SEALED)
    assert ["shredded", "present"] == [known.state for known in keys_in(at)]


def test_the_bytes_are_overwritten_before_the_name_goes(at: HomeDir) -> None:
    """Who still has the file open, or another name for it, finds nothing of the secret; nor does an undelete."""
    files = KeyFiles.of(at, KID)
    before = files.wrapped.read_bytes()
    os.link(files.wrapped, at.path.with_name("second-name"))
    begin_shred(at, KID, {"reason": "asked for"})
    finish_shred(at, KID)
    after = (at.path.with_name("second-name")).read_bytes()
    assert len(before) == len(after)
    assert not any(before[start : start + 8] in after for start in range(len(before) - 8))


def test_what_a_killed_process_left_is_destroyed_too(at: HomeDir) -> None:
    """A temporary file has the same secret; those of other keys stay."""
    files = KeyFiles.of(at, KID)
    left = files.wrapped.with_name(f"{files.wrapped.name}.123.tmp")
    left.write_bytes(files.wrapped.read_bytes())
    other = data_keys.key_for(at, "audit", Encrypt(recipients=(ALICE_KEY,), period="day"), SEALED)
    begin_shred(at, KID, {"reason": "asked for"})
    finish_shred(at, KID)
    assert not left.exists()
    assert "present" == state(at, other.kid)


def test_it_is_called_done_only_after_it_is(at: HomeDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses to forget leaves the state that the next call goes on from."""
    begin_shred(at, KID, {"reason": "asked for"})
    for step in ("remove", "sync_directory", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(disk, step, refuse)
            with pytest.raises(OSError, match="not today"):
                finish_shred(at, KID)
        assert "shredding" == state(at, KID)
    finish_shred(at, KID)
    assert "shredded" == state(at, KID)


def refuse(*_: object, **__: object) -> None:
    """Refuse as a disk does."""
    raise OSError("not today")


def test_the_steps_have_an_order(at: HomeDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwrite, remove, sync, and only then the word, which is synced too."""
    begin_shred(at, KID, {"reason": "asked for"})
    steps: list[str] = []
    for name in ("write_all", "remove", "sync_directory", "rename"):
        spy(monkeypatch, disk, name, lambda *_, name=name: steps.append(name))
    finish_shred(at, KID)
    assert ["write_all", "remove", "sync_directory", "rename", "sync_directory"] == [
        step for step in steps if step != "remove" or steps.count("remove") == 1
    ]


def test_not_without_the_mark(at: HomeDir) -> None:
    """The act has to be in the log before, and nothing may be encrypted to it meanwhile."""
    with pytest.raises(HomeError, match="has not begun"):
        finish_shred(at, KID)
    assert "present" == state(at, KID)


def test_a_key_that_is_not_here(at: HomeDir) -> None:
    """An issued key, or one that the home never had: the mark holds all the same."""
    begin_shred(at, "wal/2026", {"reason": "asked for"})
    finish_shred(at, "wal/2026")
    assert "shredded" == state(at, "wal/2026")
    key = data_keys.key_for(at, "wal", Encrypt(recipients=(ALICE_KEY,), period="year"), SEALED)
    assert "wal/2026.2" == key.kid
