"""For the tests of programs that log with this package: what was logged, read back, and a fake daemon.

capture.py    `capture`: a home of the test's own, and the records that landed in it
daemon.py     `FakeDaemon`: an honest small Kubo on loopback, which lies when it is told to
fixtures.py   both as pytest fixtures: `pytest_plugins = ["ipfs_log_handlers.testing.fixtures"]`

Nothing here is imported by the rest of the package, and nothing but `fixtures.py` needs pytest.
"""

from __future__ import annotations

from ipfs_log_handlers.testing.capture import Capture, capture
from ipfs_log_handlers.testing.daemon import Answer, Asked, FakeDaemon, Said, confirmed, error, lines, part

__all__ = [
    "Answer",
    "Asked",
    "Capture",
    "FakeDaemon",
    "Said",
    "capture",
    "confirmed",
    "error",
    "lines",
    "part",
]
