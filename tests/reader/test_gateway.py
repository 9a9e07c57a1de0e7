"""A gateway that lies, stalls, cuts, redirects or is busy: a named error, or asked again; nothing wrong is shown."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import StoreDenied, StoreUnavailable, VerificationError, open_dataset
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.reader import gateway as gateway_module
from tests.support import gateways, query_homes, sample_homes
from tests.support.sample_homes import head_of, key_of


@pytest.fixture(scope="module")
def queried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home with twelve sealed batches of one subsystem."""
    home = tmp_path_factory.mktemp("gateway") / "home"
    query_homes.make_twelve_batches(home)
    return home


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a gateway be asked again at once."""
    monkeypatch.setattr(gateway_module.Gateway.__init__, "__kwdefaults__", {"pauses_s": (0.0, 0.0)})


def lie(handler: BaseHTTPRequestHandler, _: Cid, block: bytes) -> bool:
    """Send other bytes."""
    return respond(handler, 200, block[:-1] + bytes([block[-1] ^ 0xFF]))


def cut(handler: BaseHTTPRequestHandler, _: Cid, block: bytes) -> bool:
    """Send half of the block and close."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(block)))
    handler.end_headers()
    handler.wfile.write(block[: len(block) // 2])
    handler.close_connection = True
    return True


def redirect(handler: BaseHTTPRequestHandler, _: Cid, block: bytes) -> bool:
    """Send to another host."""
    handler.send_response(302)
    handler.send_header("Location", "http://127.0.0.2:9/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()
    return True


def busy(handler: BaseHTTPRequestHandler, _: Cid, block: bytes) -> bool:
    """Answer 429."""
    return respond(handler, 429, b"")


def stall(handler: BaseHTTPRequestHandler, _: Cid, block: bytes) -> bool:
    """Send half of the block, and then nothing."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(block)))
    handler.end_headers()
    handler.wfile.write(block[: len(block) // 2])
    handler.wfile.flush()
    handler.connection.recv(1)  # until the reader has given up
    handler.close_connection = True
    return True


def endless(handler: BaseHTTPRequestHandler, _: Cid, block: bytes) -> bool:
    """Send more than any block has."""
    return respond(handler, 200, bytes(3 << 20))


def respond(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> bool:
    """Send an answer."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    try:
        handler.wfile.write(body)
    except OSError:
        handler.close_connection = True
    return True


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lie, VerificationError),
        (cut, StoreUnavailable),
        (stall, StoreUnavailable),
        (redirect, StoreDenied),
        (busy, StoreUnavailable),
        (endless, VerificationError),
    ],
)
def test_a_gateway_that_misbehaves_is_a_named_error(queried, answer, error, monkeypatch):
    """Nothing wrong is shown: a lie, a cut, a stall, a redirect, an endless or a busy answer is an error."""
    monkeypatch.setattr(gateway_module, "_TIMEOUT_S", 0.5)
    with gateways.gateway(gateways.blocks_of(queried), answer=answer) as served:
        dataset = open_dataset(head_of(queried), gateway=served.url)
        with pytest.raises(error):
            list(dataset)
        dataset.close()


def test_a_gateway_that_is_not_reached_is_told_in_plain_words(queried):
    """In the words of the table of foreign exceptions, and not in those of the HTTP library."""
    with gateways.gateway({}) as served:
        pass
    with (
        pytest.raises(StoreUnavailable, match=r"nobody listens there \(connection refused\)"),
        open_dataset(head_of(queried), gateway=served.url) as dataset,
    ):
        list(dataset)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [lie, cut, stall, redirect, busy, endless])
def test_what_a_gateway_does_to_one_payload_costs_that_batch_alone(queried, answer, monkeypatch):
    """One gap for the batch, which names what the gateway did; every other record is shown, and nothing else."""
    monkeypatch.setattr(gateway_module, "_TIMEOUT_S", 0.5)
    hit = Batches(sample_homes.subsystem_dir(queried).current.batches).facts(5).manifest.payload
    gaps: list[Any] = []

    def sometimes(handler: BaseHTTPRequestHandler, cid: Cid, block: bytes) -> bool:
        return cid == hit and answer(handler, cid, block)

    with gateways.gateway(gateways.blocks_of(queried), answer=sometimes) as served:
        dataset = open_dataset(head_of(queried), gateway=served.url, keys=[key_of(queried)], on_gap=gaps.append)
        found = list(dataset)
        dataset.close()
    assert [gap.index for gap in gaps] == [5]
    assert found == [record for record in open_dataset(queried) if record["number"] not in range(25, 30)]


def test_a_query_that_is_left_early_waits_for_no_gateway(queried):
    """What was asked for ahead, and is never answered, is given up when the dataset is closed."""
    batches = Batches(sample_homes.subsystem_dir(queried).current.batches)
    payloads = [batches.facts(index).manifest.payload for index in range(9)]

    def sometimes(handler: BaseHTTPRequestHandler, cid: Cid, block: bytes) -> bool:
        return cid in payloads and stall(handler, cid, block)

    before = set(threading.enumerate())
    with gateways.gateway(gateways.blocks_of(queried), answer=sometimes) as served:
        with open_dataset(head_of(queried), gateway=served.url) as dataset:
            assert len(list(dataset.last(12))) == 12
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("ipfs-logs-"):
                thread.join(20)
                assert not thread.is_alive(), thread.name


def test_a_gateway_says_how_long_it_is_busy(queried, monkeypatch):
    """`Retry-After` of an answer 429 is obeyed, up to a limit."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("ipfs_log_handlers.reader.gateway.asyncio.sleep", pause)
    left = [2]

    def twice(handler: BaseHTTPRequestHandler, _: Cid, block: bytes) -> bool:
        left[0] -= 1
        if left[0] < 0:
            return False
        handler.send_response(429)
        handler.send_header("Retry-After", "7" if left[0] else "100000")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    blocks = gateways.blocks_of(queried)
    with (
        gateways.gateway(blocks, answer=twice) as served,
        open_dataset(head_of(queried), gateway=served.url) as dataset,
    ):
        assert dataset.count() == 60
    assert pauses == [7.0, gateway_module._MAX_PAUSE_S]


def test_a_gateway_that_is_busy_for_a_moment_is_asked_again(queried):
    """An answer 429 is no end: the same block is asked for again."""
    refused: set[Cid] = set()

    def once(handler: BaseHTTPRequestHandler, cid: Cid, block: bytes) -> bool:
        if cid in refused:
            return False
        refused.add(cid)
        return respond(handler, 429, b"")

    with (
        gateways.gateway(gateways.blocks_of(queried), answer=once) as served,
        open_dataset(head_of(queried), gateway=served.url) as dataset,
    ):
        assert len(list(dataset)) == 60
