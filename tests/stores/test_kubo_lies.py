"""What the Kubo store makes of answers that no honest daemon gives, and of those that it gives once in a blue moon."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from ipfs_log_handlers.errors import (
    FormatError,
    StoreDenied,
    StoreRejected,
    StoreUnavailable,
)
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.stores import Shipment
from ipfs_log_handlers.stores.kubo import KuboStore
from ipfs_log_handlers.testing import FakeKubo, Response
from tests.support import shipments
from tests.support.lying_kubo import DEADLINE_S, GOOD, ROOTS, STATS, root, ship, stats
from tests.support.machine import assert_in_time

STRANGER = Cid.of(RAW, b"stranger")


TEXT = (("Content-Type", "text/plain; charset=utf-8"),)


HALF = GOOD.size // 2


DEADLINE_MSG = "context deadline exceeded"


UNKNOWN = {
    "silence after the upload": Response(then="hang"),
    "silence during the upload": Response(then="hang", read=HALF),
    "a reset during the upload": Response(then="reset", read=HALF, raw=b"\n"),
    "a reset after the upload": Response(then="reset", raw=b"\n"),
    "a close without a word": Response(then="close"),
    "200 and nothing": Response(),
    "200 and an empty line": Response(body=(b"\n",)),
    "a pin error": Response(body=(root(str(GOOD.roots[0]), DEADLINE_MSG), *ROOTS[1:], *STATS)),
    "a pin error that is no text": Response(body=(root(str(GOOD.roots[0]), 7), *ROOTS[1:], *STATS)),
    "a pin error that is null": Response(body=(root(str(GOOD.roots[0]), None), *ROOTS[1:], *STATS)),
    "a pin error, then the same root without one": Response(body=(root(str(GOOD.roots[0]), "no"), *ROOTS, *STATS)),
    "no counts": Response(body=ROOTS),
    "no counts and a cut": Response(body=ROOTS, then="cut"),
    "no counts and silence": Response(body=ROOTS, then="hang"),
    "a root too few": Response(body=(*ROOTS[1:], *STATS)),
    "only the counts": Response(body=STATS),
    "the counts before the roots": Response(body=(*STATS, *ROOTS)),
    "a root that was not sent": Response(body=(*ROOTS, root(str(STRANGER)), *STATS)),
    "a root that is no CID": Response(body=(root("bafy"), *ROOTS, *STATS)),
    "a root that is a number": Response(body=(root(7), *ROOTS, *STATS)),
    "a root in CIDv0": Response(body=(root("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG"), *ROOTS, *STATS)),
    "a block too few": Response(body=(*ROOTS, stats(GOOD.blocks - 1, GOOD.block_bytes))),
    "other block bytes": Response(body=(*ROOTS, stats(GOOD.blocks, GOOD.block_bytes + 1))),
    "counts that are text": Response(body=(*ROOTS, stats(str(GOOD.blocks), str(GOOD.block_bytes)))),
    "counts that are true": Response(body=(*ROOTS, stats(True, True))),
    "counts that are floats": Response(body=(*ROOTS, stats(float(GOOD.blocks), float(GOOD.block_bytes)))),
    "counts without numbers": Response(body=(*ROOTS, b'{"Stats":{}}\n')),
    "counts cut in the line": Response(body=(*ROOTS, STATS[0][:-4]), then="cut"),
    "no JSON": Response(body=(b"<html>It works!</html>\n",)),
    "JSON that is a list": Response(body=(b"[1]\n",)),
    "JSON of another kind": Response(body=(b'{"Hello":{}}\n', *ROOTS, *STATS)),
    "a root as a list": Response(body=(b'{"Root":[]}\n', *ROOTS, *STATS)),
    "deep JSON": Response(body=(b"[" * 60000 + b"\n",)),
    "bytes that are no UTF-8": Response(body=(b"\xff\xfe{}\n",)),
    "a line without an end": Response(body=tuple([b"x" * 60000] * 100)),
    "lines without an end": Response(body=tuple([b" \n" * 30000] * 100)),
    "a slow drip": Response(body=tuple([b" "] * 1000), pause_s=0.05),
    "no HTTP": Response(raw=b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "a head without an end": Response(raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50000),
    "a length that is a lie": Response(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b"".join(ROOTS)),
    "a chunk that is a lie": Response(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "400": FakeKubo.error(400, "argument 'path' is odd"),
    "408": Response(status=408),
    "425": Response(status=425),
    "429": Response(status=429),
    "500 without a word": Response(status=500),
    "500 no space": FakeKubo.error(500, 'import failed at block "b": write /x/y: no space left on device'),
    "500 no space, cbor said": FakeKubo.error(500, 'import failed at block "b": cbor: no space left on device'),
    "500 cut": FakeKubo.error(500, 'import failed after block "b": unexpected EOF'),
    "500 deadline": FakeKubo.error(500, 'import failed after block "b": context deadline exceeded'),
    "500 cancelled": FakeKubo.error(500, "context canceled"),
    "500 that is text": Response(status=500, headers=TEXT, body=(b"Internal Server Error",)),
    "500 that is long": Response(status=500, body=tuple([b"x" * 60000] * 50)),
    "502 from a proxy": Response(status=502, headers=TEXT, body=(b"mismatch in content integrity",)),
    "503": Response(status=503),
    "504": Response(status=504),
    "201": Response(status=201, body=(*ROOTS, *STATS)),
    "204": Response(raw=b"HTTP/1.1 204 No Content\r\n\r\n"),
    "206": Response(status=206, body=(*ROOTS, *STATS)),
}


REFUSED = {
    "401": Response(status=401, headers=TEXT, body=(b"who are you",)),
    "403": Response(status=403, headers=TEXT, body=(b"403 - Forbidden\n",)),
    "403 that breaks off": Response(status=403, headers=TEXT, body=(b"403 - Forb",), then="cut"),
    "404": Response(status=404, headers=TEXT, body=(b"404 page not found\n",)),
    "405": Response(status=405, headers=TEXT, body=(b"405 - Method Not Allowed\n",)),
    "301": Response(status=301, headers=(("Location", "https://elsewhere.invalid/"),)),
    "302": Response(status=302, headers=(("Location", "/login"),)),
    "308": Response(status=308),
    "413 from a proxy": Response(status=413),
    "version mismatch": FakeKubo.error(400, "api version mismatch (0.1 != 0.43.0)"),
    "a TLS port": Response(status=400, headers=TEXT, body=(b"Client sent an HTTP request to an HTTPS server.\n",)),
}


REJECTED = {
    "hash": FakeKubo.error(500, 'import failed after block "b": mismatch in content integrity, expected: b, got: c'),
    "size": FakeKubo.error(
        500, 'import failed at block "b": produced block is over 2MiB: big blocks can\'t be exchanged'
    ),
    "size, before 0.40": FakeKubo.error(500, 'import failed at block "b": produced block is over 1MiB: big blocks …'),
    "section size": FakeKubo.error(500, "import failed: invalid section data, length of read beyond allowable maximum"),
    "codec": FakeKubo.error(
        500, 'import failed at block "b": could not choose a decoder: no decoder registered for 0x99'
    ),
    "hash function": FakeKubo.error(500, "potentially insecure hash functions not allowed"),
    "cbor": FakeKubo.error(500, 'import failed at block "b": cbor: NaN float value rejected'),
    "cbor, cut": FakeKubo.error(500, 'import failed at block "b": unexpected EOF'),
    "cbor, twice": FakeKubo.error(500, 'import failed at block "b": duplicate map key "a"'),
    "cid": FakeKubo.error(500, "import failed: invalid cid: expected 1 as the cid version number, got: 97"),
    "header": FakeKubo.error(500, "invalid header: malformed stream: invalid appearance of string token"),
}


class TestShip:
    @pytest.mark.parametrize("said", UNKNOWN.values(), ids=UNKNOWN.keys())
    def test_unknown(self, liar, said):
        """Whatever does not prove that the roots are pinned is unknown: unavailable, within the deadline."""
        liar.respond_once("dag/import", said)
        start = time.monotonic()
        with pytest.raises(StoreUnavailable) as caught:
            ship(liar, GOOD, deadline_s=DEADLINE_S)
        assert_in_time(time.monotonic() - start, 3 * DEADLINE_S + 1)
        assert len(str(caught.value)) < 1000
        assert liar.url in str(caught.value)

    @pytest.mark.parametrize("said", REFUSED.values(), ids=REFUSED.keys())
    @pytest.mark.parametrize("at", ["at once", "with the body"])
    def test_refused(self, liar, said, at):
        """What token, origin or address is to blame for is refused, whether it shows before the upload or in it."""
        if at == "at once":
            liar.respond_always("dag/import", said)
        else:
            liar.respond_once("dag/import", said)
        with pytest.raises(StoreDenied):
            ship(liar, GOOD)

    @pytest.mark.parametrize("said", REJECTED.values(), ids=REJECTED.keys())
    def test_rejected(self, liar, said):
        """What the daemon names as bad bytes is rejected, with its words."""
        liar.respond_once("dag/import", said)
        with pytest.raises(StoreRejected, match="says that these bytes are bad; found"):
            ship(liar, GOOD)

    @pytest.mark.parametrize("then", ["end", "cut", "hang"])
    def test_counts_are_the_end(self, liar, then):
        """After the matching counts it is a success, whatever becomes of the connection."""
        liar.respond_once("dag/import", Response(body=(*ROOTS, *STATS), then=then))
        ship(liar, GOOD)

    def test_order_and_pieces(self, liar):
        """Roots come in any order, repeated or not, in pieces of any size, with blank lines between."""
        text = b"\n".join([ROOTS[1].strip(), b"", ROOTS[0].strip(), ROOTS[0].strip(), STATS[0].strip()])
        liar.respond_once("dag/import", Response(body=tuple(text[i : i + 1] for i in range(len(text)))))
        ship(liar, GOOD)

    def test_one_bad_root_of_many(self, liar):
        """The error names the root that was not pinned, and the daemon's reason."""
        bad = str(GOOD.roots[1])
        liar.respond_once("dag/import", Response(body=(ROOTS[0], root(bad, "ipld: could not find it"), *STATS)))
        with pytest.raises(StoreUnavailable, match=f"{bad}.*could not find it"):
            ship(liar, GOOD)

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("7", 7.0),
            ("0", 0.0),
            ("99999", 3600.0),
            ("Fri, 24 Nov 2023 10:00:30 GMT", 30.0),
            ("Fri, 24 Nov 2023 09:00:00 GMT", 0.0),
            ("soon", None),
            ("-1", None),
            ("9" * 5000, None),
        ],
    )
    def test_retry_after(self, liar, value, seconds):
        """Retry-After stands on the error: seconds, or a date counted from the answer's own."""
        headers = (("Retry-After", value), ("Date", "Fri, 24 Nov 2023 10:00:00 GMT"))
        liar.respond_once("dag/import", Response(status=429, headers=headers))
        with pytest.raises(StoreUnavailable) as caught:
            ship(liar, GOOD)
        assert caught.value.retry_after == seconds  # type: ignore[attr-defined,unused-ignore]

    def test_unreadable_car(self, liar):
        """What is wrong with our own CAR is our own error, not the daemon's."""
        with pytest.raises(OSError, match="Input/output error"):
            ship(liar, shipments.unreadable())

    @pytest.mark.parametrize("size", [-1, 1])
    def test_car_of_another_length(self, liar, size):
        """A CAR that is longer or shorter than its batch says is not sent to its end."""
        good = shipments.shipment()
        changed = Shipment(roots=good.roots, blocks=good.blocks, block_bytes=1, size=good.size + size, open=good.open)
        with pytest.raises(FormatError, match="not as long"):
            ship(liar, changed)

    def test_nobody_there(self):
        """A port where nobody listens is unavailable, at once."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            store = KuboStore(f"http://127.0.0.1:{taken.getsockname()[1]}")
            start = time.monotonic()
            with pytest.raises(StoreUnavailable, match=r"nobody listens there \(connection refused\)"):
                asyncio.run(store.ship(GOOD))
            assert_in_time(time.monotonic() - start, 2)
            asyncio.run(store.close())

    def test_nobody_accepts(self):
        """A socket that accepts and says nothing is unavailable at the deadline."""
        with socket.create_server(("127.0.0.1", 0)) as mute:
            store = KuboStore(f"http://127.0.0.1:{mute.getsockname()[1]}", deadline_s=DEADLINE_S)

            async def work() -> None:
                try:
                    await store.ship(GOOD)
                finally:
                    await store.close()

            start = time.monotonic()
            with pytest.raises(StoreUnavailable, match="did not answer within"):
                asyncio.run(work())
            took = time.monotonic() - start
            assert took > DEADLINE_S
            assert_in_time(took, 3 * DEADLINE_S + 1)

    def test_unknown_host(self):
        """A host name that nobody knows is unavailable: its service may come up later."""
        store = KuboStore("http://no-such-host.invalid:5001", deadline_s=5)

        async def work() -> None:
            try:
                await store.ship(GOOD)
            finally:
                await store.close()

        with pytest.raises(StoreUnavailable):
            asyncio.run(work())
