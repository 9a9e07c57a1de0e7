"""Help the tests of programs that log with this package: read the logged records, and fake a Kubo daemon.

capture.py       `capture`: a home for one test, and the records in it
fake_kubo.py     `FakeKubo`: a small Kubo on loopback; a test can replace its answers
fixtures.py      both as pytest fixtures: `pytest_plugins = ["ipfs_log_handlers.testing.fixtures"]`
memory_store.py  a store in this process; importing this package registers its addresses, `memory:NAME`

Other packages import nothing from this one, and only `fixtures.py` needs pytest.
"""

from __future__ import annotations

from ipfs_log_handlers.testing.capture import Capture, capture
from ipfs_log_handlers.testing.fake_kubo import FakeKubo, Reply, Request, Response

__all__ = ["Capture", "FakeKubo", "Reply", "Request", "Response", "capture"]

# The names of these before 0.1.0, for tests that were written with them.
FakeDaemon = FakeKubo
Asked = Request
Said = Response
Answer = Reply
lines = FakeKubo.json_lines
error = FakeKubo.error
confirmed = FakeKubo.import_confirmation
part = FakeKubo.uploaded_file
