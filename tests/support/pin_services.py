"""Fake pin services on loopback: the REST API of an IPFS Cluster, and the Pinning Service API that Kubo calls.

`FakeCluster` answers as IPFS Cluster 1.1.6 does: the shapes, statuses and messages are those that a real peer gave to
the same calls, made by hand. The suite does not run that daemon: a build of its Go module takes some 200 seconds of
CPU time, and a real peer cannot be made to lie.
`FakePinningService` follows the OpenAPI file of the Pinning Service API 1.0.0, as far as Kubo uses it.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Answer", "Call", "FakeCluster", "FakePinningService"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer; `silent`: none until the service ends."""

    status: int = 200
    lines: tuple[Any, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    silent: bool = False


Always = Callable[[Call], "Answer | None"]
"""Function that replaces an answer; `None`: the usual answer."""


class _Service(ABC):
    """Serve on a free loopback port inside a `with` block."""

    def __init__(self, port: int = 0) -> None:
        self.calls: list[Call] = []
        """Every request, in order."""
        self.fault: Always = lambda _: None
        """What is answered instead."""
        self._lock = threading.RLock()
        self._over = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def log_message(self, *_: object) -> None:
                """Print nothing."""

            def _serve(self) -> None:
                service._handle(self)

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - names of http.server

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def of(self, method: str) -> list[Call]:
        """Return the requests with one method."""
        return [call for call in list(self.calls) if call.method == method]

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        call = Call(
            method=handler.command,
            path=unquote(url.path),
            query=parse_qs(url.query, keep_blank_values=True),
            headers=dict(handler.headers),
            body=json.loads(body) if body else None,
        )
        with self._lock:
            self.calls.append(call)
            answer = self.fault(call) or self._answer(call)
        if answer.silent:
            self._over.wait(60)
            handler.close_connection = True
            return
        raw = answer.raw
        if raw is None:
            raw = b"".join(json.dumps(line).encode() + b"\n" for line in answer.lines)
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(raw)))
        handler.end_headers()
        handler.wfile.write(raw)

    @abstractmethod
    def _answer(self, call: Call) -> Answer:
        """Answer a request."""


class FakeCluster(_Service):
    """A cluster of some peers whose pins have the status that a test gives them.

    Args:
        port: the port; 0: a free one.
        peers: number of peers.
        token: the value of the Authorization header that it asks for; `None`: none.
    """

    def __init__(self, port: int = 0, *, peers: int = 1, token: str | None = None) -> None:
        super().__init__(port)
        self.pins: dict[str, dict[str, str]] = {}
        """By CID: the status at each peer."""
        self.names: dict[str, str] = {}
        """By CID: the name of its pin."""
        self.options: dict[str, dict[str, str]] = {}
        """By CID: the further options of its pin."""
        self.status_of_new = "pinned"
        """The status at each peer of a pin that was just requested."""
        self.status_of_recovered = "pinned"
        """The same after `recover`."""
        self.ignores_requests = False
        """Whether it takes requests and forgets them."""
        self._peers = [f"12D3KooWPeer{number}" for number in range(peers)]
        self._token = token

    @property
    def address(self) -> str:
        """Its address, for `pins=`."""
        return f"cluster+{self.url}"

    def finish(self, status: str = "pinned") -> None:
        """Let every peer have this status for each pin."""
        with self._lock:
            for cid in self.pins:
                self.pins[cid] = dict.fromkeys(self._peers, status)

    def pinned(self) -> list[str]:
        """List the CIDs with a pin that every peer has, by their names."""
        with self._lock:
            return sorted(cid for cid, peers in self.pins.items() if {*peers.values()} == {"pinned"})

    def _answer(self, call: Call) -> Answer:
        if self._token is not None and call.headers.get("Authorization") != self._token:
            return _refused("unauthorized: access denied")
        parts = call.path.strip("/").split("/")
        if (call.method, call.path) == ("GET", "/version"):
            return Answer(lines=({"version": "1.1.6"},))
        if (call.method, call.path) == ("GET", "/id"):
            return Answer(lines=({"id": self._peers[0], "cluster_peers": self._peers, "version": "1.1.6"},))
        if (call.method, call.path) == ("GET", "/pins"):
            return Answer(lines=tuple(self._info(cid) for cid in call.query["cids"][0].split(",")))
        if parts[0] != "pins" or len(parts) not in (2, 3):
            return Answer(status=404, lines=({"code": 404, "message": "not found"},))
        if call.method == "POST":
            return self._pin(parts[1], call, recover=parts[2:] == ["recover"])
        if call.method == "DELETE" and self.pins.pop(parts[1], None) is None:
            return Answer(status=404, lines=({"code": 404, "message": "pin is not part of the pinset"},))
        return Answer(lines=(self._info(parts[1]),))

    def _pin(self, cid: str, call: Call, *, recover: bool) -> Answer:
        if recover:
            self.pins[cid] = dict.fromkeys(self._peers, self.status_of_recovered)
            return Answer(lines=(self._info(cid),))
        options = {name: values[0] for name, values in call.query.items()}
        if not self.ignores_requests and cid not in self.pins:
            self.pins[cid] = dict.fromkeys(self._peers, self.status_of_new)
        self.names[cid] = options.pop("name", "")
        self.options[cid] = options
        return Answer(lines=({"cid": cid, "name": self.names[cid], "type": "pin", "mode": options.get("mode")},))

    def _info(self, cid: str) -> dict[str, Any]:
        statuses = self.pins.get(cid, dict.fromkeys(self._peers, "unpinned"))
        peers = {
            peer: {"peername": peer, "status": status, "error": "it cannot be found" * status.endswith("error")}
            for peer, status in statuses.items()
        }
        return {"cid": cid, "name": self.names.get(cid, ""), "allocations": [], "peer_map": peers}


def _refused(message: str) -> Answer:
    return Answer(status=401, lines=({"code": 401, "message": message},))


@dataclass(slots=True)
class _Object:
    """One pin object of a pinning service."""

    cid: str
    name: str
    status: str
    created: str
    origins: list[str]


class FakePinningService(_Service):
    """A remote pinning service; each request makes a new pin object, as the specification says."""

    key = "secret-key"
    """The access token that it asks for."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.objects: dict[str, _Object] = {}
        """The pin objects, by their request id."""
        self.status_of_new = "pinned"
        """The status of a new pin object."""
        self._count = 0

    def cids(self, status: str = "pinned") -> list[str]:
        """List the CIDs of the pin objects with a status; a CID with several of them is there several times."""
        with self._lock:
            return sorted(each.cid for each in self.objects.values() if each.status == status)

    def finish(self, status: str = "pinned") -> None:
        """Give every pin object this status."""
        with self._lock:
            for each in self.objects.values():
                each.status = status

    def _answer(self, call: Call) -> Answer:
        if call.headers.get("Authorization") != f"Bearer {self.key}":
            return Answer(
                status=401,
                lines=({"error": {"reason": "UNAUTHORIZED", "details": "access token is missing or invalid"}},),
                headers={"Content-Type": "application/json"},
            )
        parts = call.path.strip("/").split("/")
        json_type = {"Content-Type": "application/json"}
        if call.method == "POST":
            self._count += 1
            created = f"2026-01-01T00:00:00.{self._count:06}Z"
            origins = call.body.get("origins") or []
            made = _Object(call.body["cid"], call.body.get("name", ""), self.status_of_new, created, origins)
            self.objects[f"r{self._count}"] = made
            return Answer(status=202, lines=(self._described(f"r{self._count}"),), headers=json_type)
        if call.method == "DELETE":
            self.objects.pop(parts[1], None)
            return Answer(status=202, headers=json_type)
        if len(parts) == 2:
            return Answer(lines=(self._described(parts[1]),), headers=json_type)
        found = list(self._chosen(call.query))
        limit = int(call.query.get("limit", ["10"])[0])
        results = [self._described(name) for name in found[:limit]]
        return Answer(lines=({"count": len(found), "results": results},), headers=json_type)

    def _chosen(self, query: Mapping[str, list[str]]) -> Iterator[str]:
        cids = ",".join(query.get("cid", [])).split(",")
        statuses = ",".join(query.get("status", ["pinned"])).split(",")
        before = query.get("before", ["9"])[0]
        for name, each in sorted(self.objects.items(), key=lambda item: item[1].created, reverse=True):
            if each.cid in cids and each.status in statuses and each.created < before:
                yield name

    def _described(self, name: str) -> dict[str, Any]:
        each = self.objects[name]
        return {
            "requestid": name,
            "status": each.status,
            "created": each.created,
            "pin": {"cid": each.cid, "name": each.name, "origins": each.origins, "meta": {}},
            "delegates": [],
        }
