"""What the Kubo store and a real daemon make of each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from ipfs_log_handlers.errors import StoreDenied, StoreUnavailable
from ipfs_log_handlers.format import unixfs
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.stores import Shipment, open_store
from ipfs_log_handlers.stores.kubo import KuboStore
from tests.support import shipments
from tests.support.machine import assert_in_time
from tests.support.programs import environment
from tests.support.shipments import run


class TestSame:
    def test_bytes(self, kubo):
        """`ipfs cat <manifest>/payload` prints the payload, and `pin ls` has the manifest as recursive."""
        blocks = shipments.batch(b"a payload\n" * 100)
        store = KuboStore(kubo.url)
        run(store, lambda: store.ship(shipments.shipment(blocks)))
        manifest, payload = blocks[-1][0], blocks[0]
        assert kubo.cli_bytes("cat", f"{manifest}/payload") == payload[1]
        assert kubo.cli("pin", "ls", "--type=recursive", str(manifest)) == f"{manifest} recursive"
        assert json.loads(kubo.cli("dag", "get", str(manifest)))["payload"] == {"/": str(payload[0])}

    def test_file(self, kubo):
        """A UnixFS file of three chunks that was built here is the one that `ipfs add` builds."""
        data = os.urandom((2 << 20) + 1)
        blocks = list(unixfs.build([data]))
        shipment = shipments.shipment(blocks)
        store = KuboStore(kubo.url)
        run(store, lambda: store.ship(shipment))
        assert kubo.cli_bytes("cat", str(shipment.roots[0])) == data
        assert kubo.cli("add", "-Q", "--only-hash", stdin=data) == str(shipment.roots[0])

    def test_pin_names(self, kubo):
        """Roots are pinned without a name; a pin that got one is still found, and an unpin takes it, too."""
        shipment = shipments.shipment()
        root = str(shipment.roots[0])
        store = KuboStore(kubo.url)
        run(store, lambda: store.ship(shipment))
        assert kubo.pins()[root] == ""
        kubo.cli("pin", "add", "--name", "kept", root)
        assert kubo.pins()[root] == "kept"
        assert run(store, lambda: store.pinned(shipment.roots)) == {shipment.roots[0]}
        run(store, lambda: store.unpin(shipment.roots))
        assert root not in kubo.pins()

    def test_garbage(self, kubo_daemon):
        """What was shipped survives a garbage collection, and what was unpinned does not."""
        daemon = kubo_daemon()
        kept, dropped = shipments.shipment(), shipments.shipment()
        store = KuboStore(daemon.url)

        async def work() -> None:
            await store.ship(kept)
            await store.ship(dropped)
            await store.unpin(dropped.roots)

        run(store, work)
        daemon.cli("repo", "gc")
        assert run(store, lambda: store.get(kept.roots[0]))
        with pytest.raises(StoreUnavailable, match="could not find"):
            run(store, lambda: store.get(dropped.roots[0]))

    def test_probe(self, kubo_daemon):
        """The probe reads version, address, size and whether flatfs syncs, which by default it does not."""
        daemon = kubo_daemon()
        store = KuboStore(daemon.url)
        info = run(store, store.probe)
        assert (info.kind, info.version, info.address) == ("kubo", daemon.cli("version", "-n"), daemon.url)
        assert info.syncs is False
        assert info.repo_bytes is not None
        assert info.storage_max_bytes == 10_000_000_000


class TestLost:
    def test_restart(self, kubo_daemon):
        """A daemon that was restarted is found by the same store at the next try or the one after."""
        daemon = kubo_daemon()
        store = KuboStore(daemon.host_url)
        shipment = shipments.shipment()

        async def work() -> list[str]:
            await store.ship(shipment)
            daemon.kill()
            met = []
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    await store.ship(shipment)
            daemon.start()
            for _ in range(2):
                try:
                    await store.ship(shipment)
                    met.append("shipped")
                except StoreUnavailable:
                    met.append("unavailable")
            return met

        assert run(store, work)[-1] == "shipped"

    def test_suspended(self, kubo_daemon):
        """A stopped process costs the deadline and no more, and works again when it goes on."""
        daemon = kubo_daemon()
        store = KuboStore(daemon.url, deadline_s=1.0)
        shipment = shipments.shipment()

        async def work() -> float:
            await store.ship(shipment)
            daemon.suspend()
            start = time.monotonic()
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="did not answer"):
                    await store.ship(shipment)
            took = time.monotonic() - start
            daemon.resume()
            await store.ship(shipment)
            return took

        took = run(store, work)
        assert took > 2.0
        assert_in_time(took, 5.0)

    def test_killed_in_the_upload(self, kubo_daemon):
        """A daemon that dies in the middle of an upload is unavailable, and the same CAR arrives afterwards."""
        daemon = kubo_daemon()
        store = KuboStore(daemon.url)
        whole = shipments.shipment(*(shipments.batch(os.urandom(1 << 20)) for _ in range(4)))
        data = shipments.data_of(whole)
        tries = []

        def pieces():
            tries.append(1)
            for at in range(0, len(data), 1 << 18):
                if at == 2 << 20 and len(tries) == 1:
                    daemon.kill()
                yield data[at : at + (1 << 18)]

        broken = Shipment(
            roots=whole.roots, blocks=whole.blocks, block_bytes=whole.block_bytes, size=whole.size, open=pieces
        )

        async def work() -> frozenset[Cid]:
            with pytest.raises(StoreUnavailable):
                await store.ship(broken)
            daemon.start()
            await store.ship(broken)
            return await store.pinned(whole.roots)

        assert run(store, work) == frozenset(whole.roots)

    def test_stop_in_order(self, kubo_daemon):
        """Pins that were confirmed are there after a SIGKILL of the daemon."""
        daemon = kubo_daemon()
        store = KuboStore(daemon.url)
        shipment = shipments.shipment(*(shipments.batch() for _ in range(20)))
        run(store, lambda: store.ship(shipment))
        daemon.kill()
        daemon.start()
        assert set(map(str, shipment.roots)) <= daemon.pins().keys()


class TestAccess:
    @pytest.mark.parametrize("token", [None, "bearer:wrong", "basic:us:right"])
    def test_wrong_token(self, kubo_daemon, token):
        """Without the right token it is a refusal that says what to set, even for a large CAR."""
        daemon = kubo_daemon(authorizations={"us": "bearer:right"})
        store = KuboStore(daemon.url, token=token)
        shipment = shipments.shipment(shipments.batch(os.urandom(2 << 20 >> 1)))
        with pytest.raises(StoreDenied, match=r"403.*Set `token`"):
            run(store, lambda: store.ship(shipment))

    def test_path_not_allowed(self, kubo_daemon):
        """A token that may not import is a refusal before anything is uploaded."""
        daemon = kubo_daemon(authorizations={"us": "bearer:right"}, allowed_paths=["/api/v0/pin"])
        store = KuboStore(daemon.url, token="bearer:right")
        with pytest.raises(StoreDenied, match="AllowedPaths"):
            run(store, lambda: store.ship(shipments.shipment()))

    def test_few_paths_are_enough(self, kubo_daemon):
        """dag/import, pin and block are all that a token must allow."""
        paths = ["/api/v0/dag/import", "/api/v0/pin", "/api/v0/block/get"]
        daemon = kubo_daemon(authorizations={"us": "bearer:right"}, allowed_paths=paths)
        store = KuboStore(daemon.url, token="bearer:right")
        shipment = shipments.shipment()

        async def work() -> None:
            await store.ship(shipment)
            assert await store.pinned(shipment.roots)
            assert await store.get(shipment.roots[0])
            await store.unpin(shipment.roots)
            assert (await store.probe()).syncs is None

        run(store, work)

    def test_gateway(self, kubo):
        """The gateway's address is refused with the advice to take the RPC's."""
        store = KuboStore(kubo.gateway_url)
        with pytest.raises(StoreDenied, match=r"RPC of Kubo \(port 5001\)"):
            run(store, lambda: store.ship(shipments.shipment()))


class TestAuto:
    def test_finds_the_daemon(self, kubo, monkeypatch):
        """`auto` takes the address that the daemon wrote into its repository."""
        monkeypatch.setenv("IPFS_PATH", str(kubo.repo))
        store = open_store("auto")
        shipment = shipments.shipment()
        run(store, lambda: store.ship(shipment))
        assert str(shipment.roots[0]) in kubo.pins()

    def test_follows_it(self, kubo_daemon, monkeypatch, tmp_path):
        """`auto` looks again when the daemon is gone: the next one may have another address, or a Unix socket."""
        first, second = kubo_daemon(), kubo_daemon(unix_socket=True)
        api = tmp_path / "api"
        api.write_text(first.address + "\n")
        monkeypatch.setenv("IPFS_PATH", str(tmp_path))
        store = KuboStore("auto")
        shipment = shipments.shipment()

        async def work() -> None:
            await store.ship(shipment)
            first.stop()
            api.write_text(second.address)
            with pytest.raises(StoreUnavailable):
                await store.ship(shipment)
            await store.ship(shipment)

        run(store, work)
        assert str(shipment.roots[0]) in second.pins()

    def test_a_tilde_in_ipfs_path_is_the_home_directory(self, monkeypatch, tmp_path):
        """`IPFS_PATH=~/repo`, as a unit file has it, is expanded as Kubo expands it."""
        (tmp_path / "repo").mkdir()
        (tmp_path / "repo" / "api").write_text("nonsense")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("IPFS_PATH", "~/repo")
        store = KuboStore("auto")
        with pytest.raises(StoreDenied, match=str(tmp_path / "repo" / "api")):
            run(store, lambda: store.ship(shipments.shipment()))

    @pytest.mark.parametrize("content", ["", "nonsense", "/ip4/127.0.0.1/udp/5001", "\x00" * 5000])
    def test_odd_file(self, monkeypatch, tmp_path, content):
        """A file that holds no address is a refusal that names it."""
        (tmp_path / "api").write_text(content)
        monkeypatch.setenv("IPFS_PATH", str(tmp_path))
        store = KuboStore("auto")
        with pytest.raises(StoreDenied, match=str(tmp_path)):
            run(store, lambda: store.ship(shipments.shipment()))


AT_EXIT = """
import asyncio, atexit, sys
from ipfs_log_handlers.stores.kubo import KuboStore
from tests.support import shipments

store = KuboStore(sys.argv[1])

async def ship():
    await store.ship(shipments.shipment())
    {close}

def last():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ship())
    loop.close()
    print("shipped")

import concurrent.futures.thread
atexit.register(last)
{before}
"""


class TestExit:
    @pytest.mark.parametrize("before", ["", "asyncio.run(ship())"], ids=["first use", "used before"])
    @pytest.mark.parametrize("close", ["pass", "await store.close()"], ids=["dropped", "closed"])
    def test_ships_by_host_name(self, kubo, before, close):
        """A host name works while the interpreter shuts down, in a new loop, and nothing is printed about leftovers."""
        code = AT_EXIT.format(before=before, close=close)
        command = [sys.executable, "-c", code, kubo.host_url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
        assert (done.stdout, done.stderr) == ("shipped\n", "")
