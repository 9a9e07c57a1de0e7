"""The fake daemon under the name it had here, for tests that still ask for it so."""

from __future__ import annotations

from ipfs_log_handlers.testing.daemon import Asked, FakeDaemon, Said, confirmed, error, lines, part

__all__ = ["Asked", "LyingDaemon", "Said", "confirmed", "error", "lines", "part"]

LyingDaemon = FakeDaemon
