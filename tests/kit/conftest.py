"""The tests of this folder run only where IPFS_KIT_PY names a checkout of `ipfs_kit_py`."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run without the checkout."""
    if os.environ.get("IPFS_KIT_PY"):
        return
    without = [item for item in items if item.get_closest_marker("kit")]
    config.hook.pytest_deselected(items=without)
    items[:] = [item for item in items if item not in without]
