"""Programs of other languages, built once for the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kubo.build import CannotBuildKubo, go_program

ROOT = Path(__file__).resolve().parents[1]


def _built(module: Path, package: str = ".") -> Path:
    """Return the program of a Go module; where it cannot be built, the test fails and is not skipped."""
    try:
        return go_program(module, package)
    except CannotBuildKubo as error:
        reason = str(error)
    pytest.fail(f"this test needs a Go program: {reason}", pytrace=False)


@pytest.fixture(scope="session")
def tlog() -> Path:
    """Return the program with Go's `sumdb/note` and `sumdb/tlog`."""
    return _built(ROOT / "vectors" / "foreign" / "tlog")


@pytest.fixture(scope="session")
def go_reader() -> Path:
    """Return the reader of logs in Go, written from docs/formats.md."""
    return _built(ROOT / "interop" / "reader")


@pytest.fixture(scope="session")
def age() -> Path:
    """Return `age`, the program of those who defined the format."""
    return _built(ROOT / "interop" / "age", "filippo.io/age/cmd/age")
