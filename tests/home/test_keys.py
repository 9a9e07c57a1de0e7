from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.format.checkpoint import SecretKey
from ipfs_log_handlers.home import disk, keys
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.logging_home import refuse, spy
from tests.support.mutations import cuts, flips


@pytest.fixture
def empty(tmp_path: Path) -> HomeDir:
    """Make a home without a key."""
    disk.ensure_directory(tmp_path / "home")
    return HomeDir(tmp_path / "home")


class TestMaking:
    def test_once(self, empty: HomeDir) -> None:
        """Home rule 11: made when there is none, the same one ever after; 0600, in Go's form, nothing beside it."""
        assert keys.load(empty) is None
        made = keys.load_or_make(empty)
        assert made.text == keys.load_or_make(empty).text
        assert 0o600 == empty.key.stat().st_mode & 0o777
        assert empty.key.read_text().startswith(f"PRIVATE+KEY+{made.name}+")
        assert [empty.key] == list(empty.path.iterdir())

    def test_name(self, empty: HomeDir) -> None:
        """Home, names: `ipfs-logs/<16 hex of SHA-256(public key)>`, and each key is another one."""
        name = keys.load_or_make(empty).name
        assert name.startswith("ipfs-logs/")
        assert 16 == len(name.removeprefix("ipfs-logs/"))
        empty.key.unlink()
        assert name != keys.load_or_make(empty).name

    def test_order(self, empty: HomeDir, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 11: temporary file, fsync, link, fsync of the directory."""
        steps = list[str]()
        for name in ("fsync", "link"):
            spy(monkeypatch, os, name, lambda *_, name=name: steps.append(name))
        keys.load_or_make(empty)
        assert ["fsync", "link", "fsync"] == steps

    def test_never_overwrites(self, empty: HomeDir, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 11: a key that appeared meanwhile stays, and is the one that is used."""
        other = SecretKey.generate(bytes(32))
        real = disk.link

        def link(here: Path, there: Path) -> None:
            disk.write_new(empty.key, [other.text.encode() + b"\n"])
            real(here, there)

        monkeypatch.setattr(disk, "link", link)
        assert other.text == keys.load_or_make(empty).text

    @pytest.mark.parametrize("step", ["write", "fsync", "link"])
    def test_failure(self, empty: HomeDir, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        """Home rule 11: a crash or a full disk leaves no key or a whole one, never a part."""
        refuse(monkeypatch, step, OSError(errno.ENOSPC, "full"))
        with pytest.raises(OSError, match="full"):
            keys.load_or_make(empty)
        monkeypatch.undo()
        assert keys.load(empty) is None
        assert keys.load_or_make(empty).name


class TestLoading:
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
    def test_open_to_others(self, empty: HomeDir, mode: int) -> None:
        """A key that others could read is refused, and the error says what to do."""
        keys.load_or_make(empty)
        empty.key.chmod(mode)
        with pytest.raises(HomeError, match="chmod 600"):
            keys.load(empty)

    def test_foreign(self, empty: HomeDir, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 29: another user's key is refused."""
        keys.load_or_make(empty)
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        with pytest.raises(HomeError, match="another user"):
            keys.load(empty)

    def test_link(self, empty: HomeDir, tmp_path: Path) -> None:
        """A key is never looked for behind a link."""
        keys.load_or_make(empty)
        empty.key.rename(tmp_path / "key")
        empty.key.symlink_to(tmp_path / "key")
        with pytest.raises(OSError, match="symbolic"):
            keys.load(empty)

    def test_mutants(self, empty: HomeDir) -> None:
        """Home rule 11: a key that is cut or damaged is an error, never a new key and never another one."""
        keys.load_or_make(empty)
        data = empty.key.read_bytes()
        for mutant in [*list(cuts(data))[:-1], *flips(data[:-1]), data + b"x", data + data]:
            empty.key.write_bytes(mutant)
            with pytest.raises(HomeError, match="not a signing key"):
                keys.load_or_make(empty)
