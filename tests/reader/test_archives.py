"""Archives read back: in which order their versions stand."""

from __future__ import annotations

import time

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.archives import as_of, versions
from tests.support.archives import archiver, facts
from tests.support.sample_homes import seal


def test_versions_stand_in_the_order_of_the_log_whatever_the_clock_said(home, monkeypatch):
    """Pitfall 33: the version that was made last is the newest one, also when the clock was set back in between."""
    clock, back = time.time_ns, 0
    monkeypatch.setattr(time, "time_ns", lambda: clock() - back)
    made = []
    for day in range(4):
        back = day * 86_400 * 10**9
        made.append(archiver(home).put_bytes(b"%d" % day, facts).root)
        if day < 3:
            seal(home)
    found = versions(HomeDir(home))

    assert made == [version.root for version in found]
    newest = as_of(found, None)
    assert newest is not None
    assert made[-1] == newest.root
    assert ["sealed"] * 3 + ["durable"] == [version.state for version in found]
