"""A whole frame is inflated at once by the library that is there; test_payload.py compares the ways to read."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from unittest import mock

import pytest

from ipfs_log_handlers.format import zstd_frame
from ipfs_log_handlers.format.payload import compress
from ipfs_log_handlers.format.zstd_frame import inflate_at_once

TEXT = b'{"a":1}\n' * 500
FRAME = compress(TEXT)


@pytest.fixture
def zstandard() -> Iterator[ModuleType]:
    """Return the library, which must be there: else a comparison with the other one would compare nothing."""
    found = zstd_frame._zstandard()
    assert found is not None
    yield found
    zstd_frame._zstandard.cache_clear()


@pytest.mark.parametrize("is_installed", [True, False])
def test_only_a_whole_frame_of_the_right_size_is_inflated(zstandard, is_installed):
    """Whichever library does it."""
    with mock.patch.object(zstd_frame, "_zstandard", return_value=zstandard if is_installed else None):
        assert inflate_at_once(memoryview(FRAME), len(TEXT)) == TEXT
        for data, raw in ((FRAME[:-1], len(TEXT)), (FRAME + b"x", len(TEXT)), (FRAME * 2, len(TEXT)), (b"", 0)):
            assert inflate_at_once(memoryview(data), raw) is None
        for raw in (0, len(TEXT) - 1, len(TEXT) + 1):
            assert inflate_at_once(memoryview(FRAME), raw) is None


@pytest.mark.parametrize(
    ("version", "is_used"), [("0.18.0", False), ("0.21.0", False), ("0.22b1", True), ("1.0", True), ("?", False)]
)
def test_an_old_zstandard_is_not_used(zstandard, monkeypatch, version, is_used):
    """It cannot refuse bytes after a frame."""
    monkeypatch.setattr(zstandard, "__version__", version)
    zstd_frame._zstandard.cache_clear()
    assert (zstd_frame._zstandard() is zstandard) is is_used
    assert inflate_at_once(memoryview(FRAME), len(TEXT)) == TEXT
