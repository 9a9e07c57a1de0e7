"""The accelerator: tests of it need it, except where the whole run does without it."""

from __future__ import annotations

import os

import pytest

from ipfs_log_handlers.accelerator.state import ACCELERATOR, PURE

collect_ignore_glob = ["test_*.py"] if os.environ.get(PURE) == "1" else []


@pytest.fixture(autouse=True)
def _has_accelerator() -> None:
    if ACCELERATOR is None:
        pytest.fail(
            f"the accelerator was not built: install the package again on a machine with a C compiler (the variable CC "
            f"names it), or run the suite without it, with {PURE}=1",
            pytrace=False,
        )
