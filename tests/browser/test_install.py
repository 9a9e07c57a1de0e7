"""Finding a Chromium: the chosen one, the installed one, or a sentence that says what to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.browser import install


@pytest.fixture
def only_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only directory on PATH, which is empty."""
    monkeypatch.delenv(install.CHOICE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def _program(path: Path, code: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_chromium_on_path_is_found(only_path: Path) -> None:
    """The one on PATH is used as it is."""
    assert _program(only_path / "chromium") == install.chromium()


def test_the_chosen_browser_is_used_or_refused(only_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable wins; a program that does not run is named, with what to do."""
    _program(only_path / "chromium")
    chosen = _program(only_path / "other")
    monkeypatch.setenv(install.CHOICE, str(chosen))
    assert chosen == install.chromium()

    _program(chosen, code=3)
    with pytest.raises(install.NoChromiumError, match=rf"{install.CHOICE} is .*--version fails.*apt-get install"):
        install.chromium()


def test_without_apt_or_root_the_message_says_what_to_do(only_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who cannot install Debian's package is told how to get one."""
    with pytest.raises(install.NoChromiumError, match=r"no apt-get to install it: install Chromium"):
        install.chromium()

    _program(only_path / "apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(install.NoChromiumError, match=r"only root can install it: install Chromium"):
        install.chromium()
    assert 1 == install.main()
