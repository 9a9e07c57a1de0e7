"""A server that lies is found or asked again: nothing that it invents is verified, and none of it is remembered."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import open_home
from ipfs_log_handlers.api import Report, verify_sources
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.keeper import new_log
from ipfs_log_handlers.reader import gateway as gateway_module
from ipfs_log_handlers.stores import kubo as kubo_module
from ipfs_log_handlers.testing import FakeKubo
from ipfs_log_handlers.testing.fake_kubo import Request, Response
from ipfs_log_handlers.verify.known_logs import KnownLogs
from tests.support import gateways, lies, sample_homes
from tests.support.logging_home import as_original

RESULTS = ("tampered", "unreachable", "incomplete")


@dataclass(frozen=True)
class World:
    """A log of three batches, another history of it, and a log of a stranger."""

    log: str
    key: str
    blocks: Mapping[Cid, bytes]
    heads: tuple[str, ...]
    """CIDs of the heads of the log, oldest first."""
    targets: Mapping[str, Cid]
    """The blocks that a server lies about."""
    others: Mapping[str, bytes]
    """What it can send instead."""
    fork: str
    stranger: str


def facts(home: Path, index: int) -> Any:
    """Return the CIDs of a batch."""
    return Batches(sample_homes.subsystem_dir(home).current.batches).facts(index)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Make the logs."""
    directory = tmp_path_factory.mktemp("lying")
    home, copy, stranger = directory / "home", directory / "copy", directory / "stranger"
    sample_homes.make(home, 20)
    shutil.copytree(home, copy)
    as_original(copy / "audit")
    for path, numbers in ((home, range(20, 30)), (copy, range(30, 40)), (stranger, range(10))):
        new_log._sealed_here.clear()
        sample_homes.log(path, numbers)
        sample_homes.seal(path)
    blocks = gateways.blocks_of(home) | gateways.blocks_of(copy) | gateways.blocks_of(stranger)
    key = open_home(home).public_key()
    assert key is not None
    batches = [facts(home, index) for index in range(3)]
    return World(
        log=batches[2].manifest.log,
        key=key.verifier,
        blocks=blocks,
        heads=tuple(each.head_cid.text for each in batches),
        targets={
            "head": batches[2].head_cid,
            "newest manifest": batches[2].cid,
            "first manifest": batches[0].cid,
            "payload": batches[1].manifest.payload,
        },
        others={
            "payload": blocks[batches[0].manifest.payload],
            "manifest": blocks[batches[1].cid],
            "head": blocks[batches[1].head_cid],
            "fork": blocks[facts(copy, 2).head_cid],
            "stranger": blocks[facts(stranger, 0).head_cid],
        },
        fork=facts(copy, 2).head_cid.text,
        stranger=facts(stranger, 0).head_cid.text,
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a gateway be asked again at once."""
    monkeypatch.setattr(gateway_module.Gateway.__init__, "__kwdefaults__", {"pauses_s": (0.0,)})
    monkeypatch.setattr(gateway_module, "_MAX_PAUSE_S", 0.01)


def wait_at_most(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound the time of each answer."""
    monkeypatch.setattr(gateway_module, "_TIMEOUT_S", seconds)
    defaults = {"token": None, "name": None, "deadline_s": seconds}
    monkeypatch.setattr(kubo_module.KuboStore.__init__, "__kwdefaults__", defaults)


class Reader:
    """A reader who has verified the log up to its second batch, and remembers that."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.memory = KnownLogs(directory)
        with gateways.gateway(world.blocks) as served:
            (report,) = self.verify(world.heads[1], gateway=served.url)
        assert (report.result, self.size) == ("ok", 2)

    def verify(self, source: str, **where: Any) -> list[Report]:
        """Verify what a source shows."""
        return list(verify_sources([source], keys=[self.world.key], memory=self.memory.directory, deep=True, **where))

    @property
    def size(self) -> int:
        """Return the size that is remembered."""
        known = self.memory.load(self.world.log)
        assert known is not None
        return known.checkpoint.size

    @property
    def files(self) -> dict[str, bytes]:
        """Return everything that is remembered."""
        return {path.name: path.read_bytes() for path in self.memory.directory.iterdir()}


@pytest.fixture
def reader(world: World, tmp_path: Path) -> Reader:
    """Return a reader."""
    return Reader(world, tmp_path / "known")


def test_there_are_enough_lies() -> None:
    """Each has a name of its own."""
    assert len({lie.name for lie in lies.LIES}) == len(lies.LIES) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("lie", lies.LIES, ids=lambda lie: lie.name)
def test_a_gateway_that_lies_about_a_block(reader: Reader, lie: lies.Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head, manifest or payload: found, and nothing is remembered; when it tells the truth, all is verified."""
    world, about = reader.world, list[Cid]()

    def answer(handler: BaseHTTPRequestHandler, cid: Cid, block: bytes) -> bool:
        return cid in about and lies.on_gateway(lie, handler, world.others, cid, block)

    before = reader.files
    wait_at_most(30.0 if lie.then == "close" else 0.3, monkeypatch)
    with gateways.gateway(world.blocks, answer=answer) as served:
        for target in list(world.targets.values())[:: 3 if lie.then != "close" else 1]:
            about[:] = [target]
            (report,) = reader.verify(world.heads[2], gateway=served.url)
            assert report.result in RESULTS, report
            assert reader.files == before
        about.clear()
        wait_at_most(30.0, monkeypatch)
        assert [each.result for each in reader.verify(world.heads[2], gateway=served.url)] == ["ok"]
    assert reader.size == 3


@pytest.mark.slow
@pytest.mark.parametrize("lie", lies.LIES, ids=lambda lie: lie.name)
def test_a_daemon_that_lies_about_a_block(reader: Reader, lie: lies.Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through the RPC of Kubo."""
    world, about = reader.world, list[Cid]()
    before = reader.files
    wait_at_most(30.0 if lie.then == "close" else 0.3, monkeypatch)
    with FakeKubo() as daemon:
        daemon.store.blocks.update(world.blocks)

        def answer(request: Request) -> Response:
            cid = Cid.parse(request.query["arg"])
            if cid in about:
                return lies.on_kubo(lie, world.others, cid, world.blocks[cid])
            return daemon.answer(request)

        daemon.respond_always("block/get", answer)
        for target in list(world.targets.values())[:: 3 if lie.then != "close" else 1]:
            about[:] = [target]
            (report,) = reader.verify(world.heads[2], kubo=daemon.url)
            assert report.result in RESULTS, report
            assert reader.files == before
        about.clear()
        wait_at_most(30.0, monkeypatch)
        assert [each.result for each in reader.verify(world.heads[2], kubo=daemon.url)] == ["ok"]
    assert reader.size == 3


@pytest.mark.slow
@pytest.mark.parametrize("lie", [lie for lie in lies.LIES if lie.then == "close"][::3], ids=lambda lie: lie.name)
def test_a_lie_that_is_told_once_is_asked_again(reader: Reader, lie: lies.Lie, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that is busy, or garbles an answer once, costs nothing but time; one that refuses is believed."""
    # as many tries as usual: the connection that the lie has closed may cost one, too
    monkeypatch.setattr(gateway_module.Gateway.__init__, "__kwdefaults__", {"pauses_s": (0.0, 0.0, 0.0)})
    world, told = reader.world, set[Cid]()

    def once(handler: BaseHTTPRequestHandler, cid: Cid, block: bytes) -> bool:
        if cid in told:
            return False
        told.add(cid)
        return lies.on_gateway(lie, handler, world.others, cid, block)

    with gateways.gateway(world.blocks, answer=once) as served:
        (report,) = reader.verify(world.heads[2], gateway=served.url)
    refused = lie.status in (204, 206, 301, 302, 307, 401, 403)
    assert report.result == ("ok" if not refused else report.result)
    assert reader.size == (3 if report.result == "ok" else 2)


@pytest.fixture
def named(reader: Reader) -> Iterator[tuple[Reader, dict[str, str], str]]:
    """Give a reader, a gateway, and the head to which its name `newest` leads."""
    names = {"newest": reader.world.heads[2]}
    with gateways.gateway(reader.world.blocks, names=names) as served:
        yield reader, names, served.url


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shown", "result"),
    [
        ("old head", "stale"),
        ("two heads", "forked"),
        ("a head of another key", "tampered"),
        ("a manifest", "tampered"),
        ("a payload", "unreachable"),
        ("no such block", "unreachable"),
    ],
)
def test_a_name_that_leads_elsewhere(named: tuple[Reader, dict[str, str], str], shown: str, result: str) -> None:
    """Each block is what its CID says, and still it is not the newest state of the log that the reader knows."""
    reader, names, url = named
    world = reader.world
    assert [each.result for each in reader.verify("/ipns/newest", gateway=url)] == ["ok"]
    before = {name: data for name, data in reader.files.items() if not name.endswith(".fork.json")}
    names["newest"] = {
        "old head": world.heads[0],
        "two heads": world.fork,
        "a head of another key": world.stranger,
        "a manifest": world.targets["newest manifest"].text,
        "a payload": world.targets["payload"].text,
        "no such block": Cid.of(0x71, b"nothing").text,
    }[shown]
    reports = reader.verify("/ipns/newest", gateway=url)
    assert reports[0].result == result, reports
    assert (reports[0].evidence is not None) == (result == "forked")
    after = {name: data for name, data in reader.files.items() if not name.endswith(".fork.json")}
    assert after == before
    assert reader.size == 3
