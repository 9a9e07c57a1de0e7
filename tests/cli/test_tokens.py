"""A token of a server has four forms, and is in no message."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from ipfs_log_handlers.cli.tokens import token_of

TOKEN = "0123456789abcdef-given"


def test_a_token_is_given_made_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, from the environment, from a file whose line may end, and a new one each time."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("A_TOKEN", TOKEN)
    assert [TOKEN] * 3 == [token_of(given) for given in (TOKEN, "env:A_TOKEN", f"file:{tmp_path / 'token'}")]
    made = {token_of("new") for _ in range(3)}
    assert 3 == len(made)
    assert made == {token_of(token) for token in made}


def test_a_bad_token_is_refused_without_showing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too short, with a space, not in ASCII, or not there; the error names the option or the variable."""
    long = tmp_path / "long"
    long.write_text("x" * 5000)
    monkeypatch.setenv("EMPTY", "")
    for given, reason in [
        ("hunter2", "at least 16 letters"),
        ("hunter2 hunter2 hunter2", "at least 16 letters"),
        ("hunter2-hunter2-hünter2", "at least 16 letters"),
        ("env:EMPTY", "it is empty"),
        ("env:NO_SUCH_VARIABLE", "there is no such variable"),
        (f"file:{tmp_path}", "cannot be read"),
        ("file:a\0b", "no file has the name"),
        (f"file:{long}", "more than 4096 bytes"),
    ]:
        with pytest.raises(click.UsageError, match=reason) as refused:
            token_of(given, "A_VARIABLE")
        assert refused.value.message.startswith("A_VARIABLE")
        assert "hunter" not in refused.value.message
