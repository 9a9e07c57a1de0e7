"""The key of a name: made once, and every changed bit of its file is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.format.ipns_record import name_of_key
from ipfs_log_handlers.home import disk, keys, name_key
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.logging_home import spy
from tests.support.mutations import mutants


@pytest.fixture
def empty(tmp_path: Path) -> HomeDir:
    """Make a home without a key."""
    disk.ensure_directory(tmp_path / "home")
    return HomeDir(tmp_path / "home")


def test_made_once(empty):
    """0600, nothing beside it, another key than the one that signs the logs; its name is the IPNS name."""
    assert name_key.load(empty) is None
    made = name_key.load_or_make(empty)
    assert made.text == name_key.load_or_make(empty).text
    assert made.name == name_of_key(made.verifier.public)
    assert 0o600 == empty.name_key.stat().st_mode & 0o777
    assert [empty.name_key] == list(empty.path.iterdir())
    assert keys.load_or_make(empty).seed != made.seed


def test_synced_and_never_overwritten(empty, monkeypatch):
    """Temporary file, fsync, link, fsync of the directory; a key that appeared meanwhile stays."""
    steps: list[str] = []
    for name in ("write_new", "link", "sync_directory"):
        spy(monkeypatch, disk, name, lambda *_, name=name: steps.append(name))
    made = name_key.load_or_make(empty)
    assert steps == ["write_new", "link", "sync_directory"]
    (empty.path / "name.key.tmp").write_bytes(b"left by a killed process")
    assert name_key.load_or_make(empty).text == made.text


@pytest.mark.slow
def test_every_changed_bit_is_found(empty):
    """Also cuts and what stands behind it: another key would be another name, and readers would find nothing."""
    name_key.load_or_make(empty)
    content = empty.name_key.read_bytes()
    for mutant in mutants(content):
        empty.name_key.write_bytes(mutant)
        with pytest.raises(HomeError, match="not the key of a name"):
            name_key.load(empty)


@pytest.mark.parametrize("text", [SecretKey.generate(bytes(32)).text, SecretKey("k51", bytes(32)).text, ""])
def test_another_key_is_refused(empty, text):
    """The key of the logs, or a key under a name that is not its own."""
    empty.name_key.write_text(text + "\n")
    empty.name_key.chmod(0o600)
    with pytest.raises(HomeError, match="not the key of a name"):
        name_key.load(empty)


def test_others_can_read_it(empty):
    """Then it is refused, with what to do."""
    name_key.load_or_make(empty)
    empty.name_key.chmod(0o640)
    with pytest.raises(HomeError, match=r"other users can read.*chmod 600"):
        name_key.load(empty)
