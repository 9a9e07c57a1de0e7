"""Several interpreters in one process: what they log is durable, and a keeper elsewhere seals it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.thread import run_keeper_now
from tests.support import oracle, programs

ISOLATED = sys.version_info >= (3, 12)
"""Before, interpreters share their GIL, and libraries load in each."""
RUN = """
    try: import _interpreters
    except ImportError: import _xxsubinterpreters as _interpreters
    def run(body, name):
        names = f"HOME, KUBO, NAME = {HOME!r}, {KUBO!r}, {name!r}\\nsys.path[:] = {sys.path!r}\\n"
        one = _interpreters.create()
        failed = getattr(_interpreters, "exec", _interpreters.run_string)(one, PRELUDE + names + body)
        assert failed is None, failed.formatted
        _interpreters.destroy(one)
"""
LOG = """
configure(kubo=KUBO, flush_timeout=1.0, batch={"records": 10, "seconds": 0.05})
for i in range(25): log.info("%s %d", NAME, i, extra={"nested": {"a": [1.5, None]}, "odd": b"ab", "nan": float("nan")})
"""


CRASHES = sys.version_info[:2] == (3, 12)
"""3.12 crashes at its end once isolated interpreters have imported `datetime`, whether we are there or not."""
NAMES = ["one"] if CRASHES else ["one", "two"]


def expected(*names: str) -> list[str]:
    """Return the events of each interpreter."""
    return [f"{name} {i}" for name in names for i in range(25)]


def run(home: Path, body: str, kubo: str | None = None) -> str:
    """Run a program that ends well, and return what it printed. Before 3.12 `decimal` warns in each interpreter."""
    leave = "\n    os._exit(0)" if CRASHES else ""
    ended = programs.run(home, f"{RUN}{body}{leave}", KUBO=kubo, LOG=LOG, NAMES=NAMES, PRELUDE=programs.PRELUDE)
    assert 0 == ended.code, ended.err
    assert "Traceback" not in ended.err, ended.err
    return ended.out


def everything(home: Path) -> list[dict]:
    """Every record, once a keeper has sealed what was left."""
    assert run_keeper_now(HomeDir(home), Standalone(), timeout=60.0, stores=())
    assert [] == oracle.spooled(home)
    return oracle.sealed_records(home)


@pytest.mark.parametrize("kubo", [None, "http://127.0.0.1:1"], ids=["no store", "a store that is down"])
def test_interpreters_alone(home: Path, kubo: str | None) -> None:
    """Pitfall 16: interpreters log and are destroyed: all is durable, the process ends well, any keeper seals it."""
    run(home, "    for name in NAMES: run(LOG, name)", kubo)

    oracle.exactly_once(expected(*NAMES), [record["event"] for record in oracle.spooled(home)])
    records = everything(home)
    oracle.exactly_once(expected(*NAMES), [record["event"] for record in records])
    assert all(({"a": [1.5, None]}, "YWI=") == (record["nested"], record["odd"]) for record in records)
    assert {"nan"} == {record["nan"]["repr"] for record in records}


def test_the_main_interpreter_keeps(home: Path) -> None:
    """What an interpreter logs is sealed by the keeper of the main one, which logs to the same home."""
    body = """
    configure(batch={"records": 10, "seconds": 0.05})
    log.info("main")
    for name in NAMES: run(LOG, name)
    [h] = logging.getLogger().handlers
    while h.status()[0]["sealed"] < 1 + 25 * len(NAMES): time.sleep(0.01)
    os._exit(0)"""
    run(home, body)

    assert [] == oracle.spooled(home)
    oracle.exactly_once(["main", *expected(*NAMES)], [record["event"] for record in oracle.sealed_records(home)])


@pytest.mark.skipif(not ISOLATED, reason="interpreters share their GIL, and libraries load in each")
def test_nothing_that_refuses_is_tried(home: Path) -> None:
    """Pitfall 16: no library is tried that refuses such an interpreter, nor OpenSSL: CPython may crash of either."""
    told = "logging.shutdown(); print(sorted({'msgspec', '_hashlib', '_ssl', 'cryptography'} & set(sys.modules)))"

    assert "[]\n" == run(home, f"    run(LOG + {told!r}, 'one')", "http://127.0.0.1:1")
