"""Other ends that count: each stands on one loopback port and can refuse, be silent, or take what it is sent.

A record is known by its mark, `rec <run>-<number>~`, wherever it stands in what arrives. The port stays the same
through all moods. In front of Kubo stands a relay, which counts requests; what Kubo has is read from Kubo itself.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

__all__ = ["MARK", "Mood", "Sink"]

MARK: Final = re.compile(rb"rec ([0-9a-z]+)-(\d+)~")
Mood = Literal["up", "refusing", "silent"]

_ANSWERS: Final = {
    b"/v1/logs": (200, b"application/x-protobuf", b""),
    b"/loki/api/v1/push": (204, b"text/plain", b""),
    b"/": (200, b"application/x-amz-json-1.1", b"{}"),
}
_SMALLEST: Final = 700
"""Bytes that an upload has at least; the import that only asks for leave has less."""
_HEAD: Final = re.compile(rb"\A([A-Z]+) (\S+) HTTP/1\.[01]\r\n(.*?)\r\n\r\n", re.DOTALL)


class Sink:
    """One port.

    Args:
        speaks: `http` answers each request as its path wants; `tcp` only reads; `kubo` hands on to a daemon.
        behind: port of that daemon.
    """

    def __init__(self, speaks: Literal["http", "tcp", "kubo"], behind: int = 0) -> None:
        self.seen: Counter[tuple[str, int]] = Counter()
        """How often each record arrived, by run and number."""
        self.requests = 0
        """Requests that arrived; of `kubo`, those that are no upload of a batch."""
        self.bytes = 0
        """Bytes that arrived."""
        self._speaks = speaks
        self._behind = behind
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listening = _bound(0)
        self.port: int = self._listening.getsockname()[1]
        """Where it stands."""

    def be(self, mood: Mood) -> None:
        """Change the mood. What came in the one before and was not read is never read."""
        self.close()
        self._listening = _bound(self.port)
        if mood == "refusing":
            return  # bound and not listening: whoever connects is refused, and nobody else gets the port
        self._listening.listen(128)
        if mood == "up":
            threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def close(self) -> None:
        """Give the port back, and reset what is connected."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    each.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def _accept(self, listening: socket.socket) -> None:
        serve = {"http": self._http, "tcp": self._tcp, "kubo": self._relay}[self._speaks]
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(connection)
            threading.Thread(target=self._guarded, args=(serve, connection), daemon=True).start()

    def _guarded(self, serve: Callable[[socket.socket], None], connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            serve(connection)

    def _note(self, body: bytes) -> bool:
        found = MARK.findall(body)
        with self._lock:
            self.seen.update((run.decode(), int(number)) for run, number in found)
            self.bytes += len(body)
        return bool(found)

    def _tcp(self, connection: socket.socket) -> None:
        tail = b""
        while data := connection.recv(1 << 16):
            whole = tail + data
            last = whole.rfind(b"rec ", max(0, len(whole) - 40))  # a mark may be cut by the read
            cut = len(whole) if last < 0 or MARK.match(whole, last) else last
            self._note(whole[:cut])
            tail = whole[cut:]
        self._note(tail)

    def _http(self, connection: socket.socket) -> None:
        buffer = b""
        while True:
            while not (head := _HEAD.match(buffer)):
                data = connection.recv(1 << 16)
                if not data:
                    return
                buffer += data
            path, fields = head[2].partition(b"?")[0], _fields(head[3])
            length = int(fields.get(b"content-length", b"0"))
            if fields.get(b"expect"):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = buffer[head.end() :]
            while len(body) < length:
                data = connection.recv(1 << 20)
                if not data:
                    return
                body += data
            body, buffer = body[:length], body[length:]
            if fields.get(b"content-encoding") == b"gzip":
                body = gzip.decompress(body)
            if not self._note(body):
                self.requests += 1
            status, kind, answer = _ANSWERS.get(path, _ANSWERS[b"/"])
            connection.sendall(
                b"HTTP/1.1 %d OK\r\nContent-Type: %b\r\n" % (status, kind)
                + (b"" if status == 204 else b"Content-Length: %d\r\n" % len(answer))
                + b"\r\n"
                + answer
            )

    def _relay(self, connection: socket.socket) -> None:
        daemon = socket.create_connection(("127.0.0.1", self._behind))
        with self._lock:
            self._open.append(daemon)
        back = threading.Thread(target=_pump, args=(daemon, connection), daemon=True)
        back.start()
        requests = _Requests()
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                few = sum(not _is_upload(path, size) for path, size in requests.feed(data))
                with self._lock:
                    self.requests += few
                daemon.sendall(data)
            daemon.shutdown(socket.SHUT_WR)
        back.join()
        daemon.close()


class _Requests:
    """Finds the heads of HTTP requests in a stream; bodies are of known length."""

    def __init__(self) -> None:
        self._buffer = b""
        self._body = 0

    def feed(self, data: bytes) -> list[tuple[bytes, int]]:
        """Path and size of body of the requests whose head is whole now."""
        found = []
        self._buffer += data
        while self._buffer:
            skipped = min(self._body, len(self._buffer))
            self._body -= skipped
            self._buffer = self._buffer[skipped:]
            head = _HEAD.match(self._buffer)
            if head is None:
                break
            self._body = int(_fields(head[3]).get(b"content-length", b"0"))
            self._buffer = self._buffer[head.end() :]
            found.append((head[2], self._body))
        return found


def _is_upload(path: bytes, size: int) -> bool:
    return path.startswith(b"/api/v0/dag/import") and size > _SMALLEST


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _fields(head: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
