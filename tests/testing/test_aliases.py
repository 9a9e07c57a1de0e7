"""The names that `ipfs_log_handlers.testing` had before 0.1.0 stay importable."""

from __future__ import annotations

import pytest

from ipfs_log_handlers import testing
from ipfs_log_handlers.testing import FakeKubo

ALIASES = {
    "FakeDaemon": FakeKubo,
    "Asked": testing.Request,
    "Said": testing.Response,
    "Answer": testing.Reply,
    "lines": FakeKubo.json_lines,
    "error": FakeKubo.error,
    "confirmed": FakeKubo.import_confirmation,
    "part": FakeKubo.uploaded_file,
}


@pytest.mark.parametrize("old", ALIASES)
def test_an_old_name_is_the_new_one(old):
    """A test that was written with an old name gets the same class or function."""
    assert getattr(testing, old) == ALIASES[old]
