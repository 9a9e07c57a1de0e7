"""Run the servers that the measured handlers send to, on loopback and in a process that is not measured.

`python -m benchmarks.caller_cost_servers` prints its ports as one JSON object and ends when its standard input ends.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Final

__all__ = ["running"]

_LOOPBACK: Final = ("127.0.0.1", 0)


class _Collector(BaseHTTPRequestHandler):
    """Receives OTLP over HTTP: answers each POST with 200 and an empty, valid protobuf message."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read the body and answer."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Print nothing."""


class _Drain(BaseRequestHandler):
    """Reads a TCP connection to its end; logstash and fluentd do not answer either."""

    def handle(self) -> None:
        """Read until the other side closes the connection."""
        while self.request.recv(1 << 16):
            pass


@contextlib.contextmanager
def running() -> Iterator[dict[str, int]]:
    """Run the servers in a child process; yield their ports by name: `otlp`, `logstash`, `fluent`."""
    command = [sys.executable, "-m", "benchmarks.caller_cost_servers"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        try:
            yield json.loads(child.stdout.readline())
        finally:
            child.stdin.close()


def main() -> None:
    """Serve until standard input ends."""
    ThreadingHTTPServer.daemon_threads = ThreadingTCPServer.daemon_threads = True
    servers = {
        "otlp": ThreadingHTTPServer(_LOOPBACK, _Collector),
        "logstash": ThreadingTCPServer(_LOOPBACK, _Drain),
        "fluent": ThreadingTCPServer(_LOOPBACK, _Drain),
    }
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({name: server.server_address[1] for name, server in servers.items()}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
