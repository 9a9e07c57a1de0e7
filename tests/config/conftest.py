"""Settings of the machine count in no test of settings."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own settings counts here."""
    for name in ("IPFS_LOGS_HOME", "IPFS_LOGS_KUBO", "IPFS_LOGS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
