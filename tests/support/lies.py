"""What a server can answer in place of a block: other bytes, other statuses, and connections that do not end well."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Final

from ipfs_log_handlers.format import car
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.testing.fake_kubo import Response

__all__ = ["LIES", "Lie", "on_gateway", "on_kubo"]

Bytes = Callable[[Mapping[str, bytes], Cid, bytes], bytes]
"""Makes the lie of the blocks of other places, the CID that was asked for, and its block."""


@dataclass(frozen=True)
class Lie:
    """One behaviour of a server."""

    name: str
    body: Bytes
    """The body."""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    promised: Callable[[bytes], int] = len
    """The length that is promised for the body."""
    then: str = "close"
    """`close`, `hang`, `drip` (one byte after the other, without end), or `flood` (2 GiB)."""


def _bytes(name: str, body: Bytes) -> Lie:
    return Lie(name, body)


def _nothing(_: Mapping[str, bytes], __: Cid, ___: bytes) -> bytes:
    return b""


def _half(_: Mapping[str, bytes], __: Cid, block: bytes) -> bytes:
    return block[: len(block) // 2]


def _status(status: int, *headers: tuple[str, str], body: bytes = b"") -> Lie:
    return Lie(f"status {status} {dict(headers)}", lambda *_: body, status, headers)


ELSEWHERE = "http://127.0.0.2:9/elsewhere"
LIES: Final = (
    _bytes("last bit flipped", lambda _, __, block: block[:-1] + bytes([block[-1] ^ 1])),
    _bytes("first bit flipped", lambda _, __, block: bytes([block[0] ^ 0x80]) + block[1:]),
    _bytes("one byte less", lambda _, __, block: block[:-1]),
    _bytes("first byte missing", lambda _, __, block: block[1:]),
    _bytes("half of it", _half),
    _bytes("nothing", _nothing),
    _bytes("an extra byte", lambda _, __, block: block + b"\0"),
    _bytes("twice", lambda _, __, block: block + block),
    _bytes("backwards", lambda _, __, block: block[::-1]),
    _bytes("zeros", lambda _, __, block: bytes(len(block))),
    _bytes("the payload of another batch", lambda others, _, __: others["payload"]),
    _bytes("an older manifest", lambda others, _, __: others["manifest"]),
    _bytes("an older head", lambda others, _, __: others["head"]),
    _bytes("a head of another history", lambda others, _, __: others["fork"]),
    _bytes("a head of another key", lambda others, _, __: others["stranger"]),
    _bytes("an identity CID", lambda _, __, block: b"\x01\x55\x00" + bytes([len(block) % 128]) + block),
    _bytes("its CID", lambda _, cid, __: cid.text.encode()),
    _bytes("a CAR of it", lambda _, cid, block: car.encode([cid], [(cid, block)])),
    _bytes("gzip", lambda _, __, block: gzip.compress(block)),
    Lie(
        "gzip that is said", lambda _, __, block: gzip.compress(block + b"\0"), headers=(("Content-Encoding", "gzip"),)
    ),
    _bytes("JSON", lambda _, __, ___: b'{"Message":"ok","Code":0,"Type":"ok"}'),
    _bytes("a page", lambda _, __, ___: b"<html><body>Please sign in</body></html>"),
    _bytes("3 MiB", lambda _, __, ___: bytes(3 << 20)),
    _status(204),
    Lie("status 206", _half, 206),
    Lie("status 404 with the block", lambda _, __, block: block, 404),
    Lie("status 500 with the block", lambda _, __, block: block, 500),
    _status(301, ("Location", ELSEWHERE)),
    _status(302, ("Location", ELSEWHERE)),
    _status(307, ("Location", "/ipfs/again")),
    _status(401, body=b"who are you"),
    _status(403, body=b"403 - Forbidden"),
    _status(410),
    _status(429),
    _status(429, ("Retry-After", "0.01")),
    _status(429, ("Retry-After", "junk")),
    _status(500, body=b'{"Message":"internal error","Code":0,"Type":"error"}'),
    _status(503),
    Lie("cut", _half, promised=lambda body: 2 * len(body) + 1),
    Lie("more than promised", lambda _, __, block: block + b"more", promised=lambda body: len(body) - 6),
    Lie("no answer", _nothing, then="hang"),
    Lie("half, and then nothing", _half, promised=lambda body: 2 * len(body) + 1, then="hang"),
    Lie("a drip", _nothing, promised=lambda _: 1 << 20, then="drip"),
    Lie("2 GiB", _nothing, promised=lambda _: 2 << 30, then="flood"),
)
"""The behaviours."""
_ZEROS: Final = bytes(1 << 20)
_DRIP_S: Final = 0.02


def on_gateway(lie: Lie, handler: BaseHTTPRequestHandler, others: Mapping[str, bytes], cid: Cid, block: bytes) -> bool:
    """Answer a request of the gateway of `gateways.py` with a lie."""
    handler.close_connection = True
    if lie.then == "hang" and lie.body is _nothing:
        handler.connection.recv(1)  # until the reader has given up
        return True
    body = lie.body(others, cid, block)
    handler.send_response(lie.status)
    for name, value in lie.headers:
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(max(0, lie.promised(body))))
    handler.end_headers()
    try:
        handler.wfile.write(body)
        handler.wfile.flush()
        if lie.then == "hang":
            handler.connection.recv(1)
        for _ in range(2 << 10 if lie.then == "flood" else 0):
            handler.wfile.write(_ZEROS)
        while lie.then == "drip":
            handler.wfile.write(b"\0")
            handler.wfile.flush()
            time.sleep(_DRIP_S)
    except OSError:
        pass
    return True


def on_kubo(lie: Lie, others: Mapping[str, bytes], cid: Cid, block: bytes) -> Response:
    """Return the answer of a fake daemon with a lie."""
    body = lie.body(others, cid, block)
    if lie.then == "flood":
        return Response(body=(_ZEROS,) * (2 << 10))
    if lie.then == "drip":
        return Response(body=(b"\0",) * 1000, pause_s=_DRIP_S)
    if lie.then == "hang":
        return Response(body=(body,) if body else (b"\0",), then="hang")
    if lie.promised(body) > len(body):
        return Response(body=(body,), then="cut")
    head = [f"HTTP/1.1 {lie.status} Scripted", *(f"{name}: {value}" for name, value in lie.headers)]
    head += [f"Content-Length: {max(0, lie.promised(body))}", "Connection: close", "", ""]
    return Response(raw="\r\n".join(head).encode() + body)
