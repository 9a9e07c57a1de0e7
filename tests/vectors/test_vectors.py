"""The golden files in `vectors/` are what their builders make."""

from __future__ import annotations

import pytest

from tests.vectors import build


@pytest.mark.parametrize("topic", build.topics())
def test_up_to_date(topic: str) -> None:
    """Built again, each file is the one that was kept: the bytes of a format have not moved."""
    assert build.stale(topic) == []


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` is silent and content when nothing moved."""
    assert build.main(["--check"]) == 0
    assert capsys.readouterr().err == ""
