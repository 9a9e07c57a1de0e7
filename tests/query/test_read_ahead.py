"""Parts are inflated ahead in their order and within bounds, and an error comes back to the reader."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import open_dataset
from ipfs_log_handlers.errors import VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.query.filters import Filter
from ipfs_log_handlers.query.merge import Matcher
from ipfs_log_handlers.query.plan import Stats
from ipfs_log_handlers.query.read_ahead import _Reading, read_ahead
from ipfs_log_handlers.reader.parts import OpenText
from ipfs_log_handlers.testing import FakeDaemon
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import gateways, programs, sample_homes
from tests.support.logging_home import wait_until


class _Part:
    """A part that notes when it is read."""

    sealed = True
    origin = None
    subsystem, log, number, size = "audit", "log", 0, 100
    first = last = b"2026-03-02T08:00:00.000000Z"

    def __init__(self, index: int, reads: list[int], *, damaged: bool = False) -> None:
        self.index, self.records = index, 2
        self._reads, self._damaged = reads, damaged

    def zone(self) -> Mapping[str, Any]:
        return {}

    def may_hold(self, name: str, hashes: Sequence[int]) -> bool:
        return not name or not hashes

    def manifest(self) -> Manifest | None:
        return None

    def open_text(self) -> OpenText | None:
        return OpenText(self.inflate)

    def inflate(self) -> bytes:
        self._reads.append(self.index)
        if self._damaged:
            raise VerificationError("damaged")
        return b'{"n":%d}\n{"n":%d}\n' % (self.index, -self.index)

    def lines(self) -> Iterator[bytes]:
        yield b'{"gap":%d}' % self.index

    def lines_or_error(self) -> Iterator[bytes]:
        raise VerificationError("damaged")


def test_parts_come_in_order_and_few_are_read_ahead():
    """At most eight parts are inflated before they are due, and none before the third one is."""
    reads: list[int] = []
    parts = read_ahead(enumerate(_Part(index, reads) for index in range(40)))
    ordinal, part, read = next(parts)
    assert (ordinal, part.index, reads) == (0, 0, [])
    assert read(part) == b'{"n":0}\n{"n":0}\n'
    for expected in range(1, 40):
        ordinal, part, read = next(parts)
        assert (ordinal, part.index) == (expected, expected)
        assert (read(part) or b"").startswith(b'{"n":%d}' % expected)
        assert max(reads) <= expected + 8
    assert next(parts, None) is None
    assert sorted(reads) == list(range(40))


def test_the_thread_ends_with_the_query():
    """A query that is left early leaves no thread behind."""
    parts = read_ahead(enumerate(_Part(index, []) for index in range(40)))
    for _ in range(3):
        next(parts)
    assert isinstance(parts, Generator)
    parts.close()
    for thread in threading.enumerate():
        if thread.name.startswith("ipfs-logs-reader"):
            thread.join(10)
            assert not thread.is_alive()


def test_an_unexpected_error_in_the_thread_comes_back_to_the_reader():
    """It is raised where the part is due, and the thread does not end silently."""

    class Broken(_Part):
        def inflate(self) -> bytes:
            if self.index == 9:
                raise ZeroDivisionError
            return super().inflate()

    seen: list[bytes | None] = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(read(part) for _, part, read in read_ahead(enumerate(Broken(index, []) for index in range(40))))
    assert len(seen) == 9


def test_parts_are_opened_by_the_thread_of_the_caller():
    """Only inflating runs in the other thread; a part that cannot be opened has no text."""
    opened: list[str] = []
    inflated: list[str] = []

    class Noting(_Part):
        def open_text(self) -> OpenText | None:
            opened.append(threading.current_thread().name)
            if self.index == 5:
                raise VerificationError("damaged")

            def inflate() -> bytes:
                if self.index > 2:  # the first three are read when they are due
                    inflated.append(threading.current_thread().name)
                return self.inflate()

            return OpenText(inflate)

    texts = {part.index: read(part) for _, part, read in read_ahead(enumerate(Noting(n, []) for n in range(12)))}
    assert set(opened) == {threading.current_thread().name}
    assert set(inflated) == {"ipfs-logs-reader"}
    assert [index for index, text in texts.items() if text is None] == [5]


def test_a_part_is_waited_for_only_when_its_text_is_wanted():
    """The reader gets the part at once; a text that it does not want is passed over, and the order stays."""
    may_go_on = threading.Event()

    class Slow(_Part):
        def inflate(self) -> bytes:
            assert self.index < 5 or may_go_on.wait(30)
            return super().inflate()

    for index, part, read in read_ahead(enumerate(Slow(index, []) for index in range(20))):
        assert part.index == index
        if index == 6:
            may_go_on.set()
        if index < 4 or index > 7:
            assert (read(part) or b"").startswith(b'{"n":%d}' % index)


def test_an_interrupt_while_the_thread_starts_leaves_no_thread(monkeypatch):
    """The query ends, and the thread with it."""
    real = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        real(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    before = set(threading.enumerate())
    parts = read_ahead(enumerate(_Part(index, []) for index in range(40)))
    with pytest.raises(KeyboardInterrupt):
        for _ in parts:
            pass
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()


PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.parametrize("is_late", [False, True], ids=["first", "late"])
@pytest.mark.parametrize("library", PATCHES)
def test_a_program_that_gevent_or_eventlet_patches_reads_to_the_end(home, library, is_late):
    """Also where it is patched after the modules were imported, from a home and from a gateway."""
    sample_homes.make(home, 200)
    batches = sample_homes.batches_of(home)
    head = batches.facts(max(batches.indexes())).head_cid.text
    imports = "import ipfs_log_handlers.query.read_ahead, ipfs_log_handlers.reader.chain_parts"
    program = "\n".join([imports, PATCHES[library]] if is_late else [PATCHES[library], imports])
    with gateways.gateway(gateways.blocks_of(home)) as served:
        ended = programs.run(
            home,
            program
            + """
from ipfs_log_handlers import open_dataset
print(sum(1 for _ in open_dataset(HOME)), sum(1 for _ in open_dataset(HEAD, gateway=URL)))
""",
            HEAD=head,
            URL=served.url,
        )
    assert (ended.code, ended.out.split()) == (0, ["200", "200"]), ended.err


def test_a_forked_child_goes_on_with_a_query_of_its_parent(home):
    """The thread stays in the parent: the child inflates itself."""
    sample_homes.make(home, 300)
    ended = programs.run(
        home,
        """
        from ipfs_log_handlers import open_dataset
        records = iter(open_dataset(HOME))
        for _ in range(50): next(records)
        child = os.fork()
        os.write(1, f"{'parent' if child else 'child'} {sum(1 for _ in records)}\\n".encode())
        if child == 0: os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
    )
    assert (ended.code, sorted(ended.out.splitlines())) == (0, ["child 250", "parent 250"]), ended.err


def test_a_text_that_is_wanted_after_a_fork_is_not_waited_for(monkeypatch):
    """The thread that would inflate it is in the parent; nor does the child touch the queues of that thread."""
    may_go_on = threading.Event()

    class Slow(_Part):
        def inflate(self) -> bytes:
            in_thread = threading.current_thread().name == "ipfs-logs-reader"
            assert not in_thread or may_go_on.wait(30)
            return super().inflate()

    before = set(threading.enumerate())
    reading = _Reading(iter(enumerate(Slow(index, []) for index in range(20))))
    given = [reading.next() for _ in range(4)]
    assert given[-1] is not None
    _, part, read = given[-1]
    worker = reading._thread
    assert worker is not None
    (thread,) = set(threading.enumerate()) - before
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        assert read(part) == b'{"n":3}\n{"n":-3}\n'
        reading.close()
    may_go_on.set()
    assert thread.is_alive()
    worker.close()
    thread.join(30)
    assert not thread.is_alive()


def test_a_part_whose_text_cannot_be_read_is_read_line_by_line():
    """The lines report what is wrong; the other parts are not affected."""
    matcher = Matcher(Filter(), Stats())
    lines = [
        match.line
        for ordinal, part, read in read_ahead(enumerate(_Part(index, [], damaged=index == 1) for index in range(3)))
        for match in matcher.matches(part, ordinal, read)
    ]
    assert lines == [b'{"n":0}', b'{"n":0}', b'{"gap":1}', b'{"n":2}', b'{"n":-2}']


class TestPayloadsThatLeft:
    """Payloads that have left a home are asked for ahead, at their stores."""

    @pytest.fixture
    def store(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> _SlowStore:
        """Return the store that has the payloads of all sixteen batches of the home."""
        memory = MemoryStore.named("left")
        for first in range(0, 160, 40):
            sample_homes.log(home, range(first, first + 40), kubo="memory:left")
            sample_homes.ship(home, "memory:left")
        assert sample_homes.batches_of(home).strip(*range(16)) > 0
        slow = _SlowStore(memory.get)
        monkeypatch.setattr(memory, "get", slow.get)
        return slow

    def test_several_are_asked_for_at_the_same_time(self, home, store):
        """The answer of the fourth payload does not come before four more are asked for."""
        store.waits = lambda number: number == 4 and store.asked < 8
        with open_dataset(home, fetch=True) as dataset:
            assert [record["number"] for record in dataset] == list(range(160))
        assert store.asked == 16

    def test_nothing_is_asked_for_after_the_dataset_is_closed(self, home, store):
        """The thread that inflates begins no request; what it waits for is given up."""
        store.waits = lambda number: number == 13
        with open_dataset(home, fetch=True) as dataset:
            records = iter(dataset)
            assert [next(records)["number"] for _ in range(31)] == list(range(31))
        del records
        for thread in threading.enumerate():
            if thread.name.startswith("ipfs-logs-"):
                thread.join(30)
                assert not thread.is_alive(), thread.name
        assert store.asked <= 13

    def test_the_end_of_a_query_gives_up_what_it_has_requested(self, home, store):
        """Requests of queries that were left early do not hold up those of later ones."""
        batches = sample_homes.batches_of(home)
        store.stalled = {batches.facts(index).manifest.payload for index in range(3, 16)}
        with open_dataset(home, fetch=True) as dataset:
            for _ in range(3):
                records = iter(dataset)
                assert [next(records)["number"] for _ in range(20)] == list(range(20))
                assert store.at_once > 0
                del records
                wait_until(lambda: store.at_once == 0)

    def test_a_child_of_a_fork_asks_its_store_itself(self, home):
        """Loop and requests of the parent stay in the parent."""
        with FakeDaemon() as daemon:
            for first in range(0, 160, 40):
                sample_homes.log(home, range(first, first + 40), kubo=daemon.url)
                sample_homes.ship(home, daemon.url)
            assert sample_homes.batches_of(home).strip(*range(16)) > 0
            ended = programs.run(home, FORKED, URL=daemon.url, SOURCE=str(home))
        assert (ended.code, sorted(ended.out.splitlines())) == (0, ["child 110", "parent 110"]), ended.err


def test_the_end_of_a_query_gives_up_what_it_has_requested_of_a_gateway(home):
    """Also parts that were requested and not opened yet; a later query asks for them again."""
    for _ in range(4):
        sample_homes.make(home, 100)
    batches = sample_homes.batches_of(home)
    payloads = [batches.facts(index).manifest.payload for index in range(max(batches.indexes()) + 1)]
    stalled = set(payloads[3:])
    goes_on = threading.Event()

    def answer(handler: BaseHTTPRequestHandler, cid: Cid, block: bytes) -> bool:
        if cid in stalled:
            goes_on.wait(60)
        return False

    with gateways.gateway(gateways.blocks_of(home), answer=answer) as served:
        with open_dataset(sample_homes.head_of(home), gateway=served.url) as dataset:
            records = iter(dataset)
            assert [next(records)["number"] for _ in range(20)] == list(range(20))
            del records
            asked = len(served.asked)
            stalled.clear()
            assert sum(1 for _ in dataset) == 400
            assert len(served.asked) > asked + len(payloads) - 3
        goes_on.set()


def test_a_child_of_a_fork_asks_its_gateway_itself(home):
    """Loop, connections and requests of the parent stay in the parent."""
    sample_homes.make(home, 160)
    with gateways.gateway(gateways.blocks_of(home)) as served:
        ended = programs.run(home, FORKED, URL=served.url, SOURCE=sample_homes.head_of(home))
    assert (ended.code, sorted(ended.out.splitlines())) == (0, ["child 110", "parent 110"]), ended.err


FORKED = """
    from ipfs_log_handlers import open_dataset
    with open_dataset(SOURCE, **({"stores": [URL]} if SOURCE == HOME else {"gateway": URL})) as dataset:
        records = iter(dataset)
        for _ in range(50): next(records)
        child = os.fork()
        if child == 0: signal.alarm(60)
        os.write(1, f"{'parent' if child else 'child'} {sum(1 for _ in records)}\\n".encode())
        if child == 0: os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
"""


class _SlowStore:
    """A store that lets its answers wait while a condition holds."""

    def __init__(self, get: Callable[[Cid], Awaitable[bytes]]) -> None:
        self._get = get
        self.asked = self.at_once = 0
        self.stalled: set[Cid] = set()
        """Blocks that do not come."""
        self.waits: Callable[[int], bool] = lambda _: False
        """Returns whether the answer of a request waits, by its number from 1 on."""

    async def get(self, cid: Cid) -> bytes:
        self.asked += 1
        self.at_once += 1
        number = self.asked
        try:
            while self.waits(number) or cid in self.stalled:  # noqa: ASYNC110 - conditions of the test
                await asyncio.sleep(0.001)
            return await self._get(cid)
        finally:
            self.at_once -= 1
