"""Runs real Kubo daemons for the tests: each with its own repository, on loopback, and always stopped."""

from __future__ import annotations

import atexit
import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import forked

__all__ = ["Daemon", "DaemonError"]

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0

_running: set[Daemon] = set()


class DaemonError(RuntimeError):
    """The daemon or its command line did not do what the test needs; the message ends with its log."""


class Daemon:
    """One Kubo daemon that can be started, stopped, killed, suspended and restarted on the same address.

    The repository is made with the profiles `test` and `unixfs-v1-2025`; nothing in it reaches beyond loopback:
    no AutoConf, bootstrap, routing, providing or telemetry.

    Args:
        binary: the `ipfs` to run.
        offline: run `ipfs daemon --offline`.
        unix_socket: serve the RPC on a Unix socket in the repository and not on a TCP port.
        authorizations: user name to secret in Kubo's own form (`bearer:…`, `basic:user:pass`).
        allowed_paths: what these users may call.
        settings: further configuration, dotted key to JSON value.
    """

    def __init__(
        self,
        binary: Path,
        *,
        offline: bool = False,
        unix_socket: bool = False,
        authorizations: Mapping[str, str] | None = None,
        allowed_paths: Sequence[str] = ("/api/v0",),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.binary = binary
        self.offline = offline
        self.repo = Path(tempfile.mkdtemp(prefix="ipfs-logs-kubo-"))
        self.log = self.repo / "daemon.log"
        self.socket_path = self.repo / "api.sock" if unix_socket else None
        self.secret = next(iter(authorizations.values()), None) if authorizations else None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._run("init", "--profile=test,unixfs-v1-2025")
        self.configure({**self._isolation(), **self._access(authorizations or {}, allowed_paths), **(settings or {})})

    @staticmethod
    def _isolation() -> dict[str, Any]:
        return {
            "AutoConf.Enabled": False,
            "AutoTLS.Enabled": False,
            "Bootstrap": [],
            "DNS.Resolvers": {},
            "Discovery.MDNS.Enabled": False,
            "Ipns.DelegatedPublishers": [],
            "Plugins.Plugins": {"telemetry": {"Config": {"Mode": "off"}}},
            "Provide.Enabled": False,
            "Routing.DelegatedRouters": [],
            "Routing.Type": "none",
        }

    def _access(self, authorizations: Mapping[str, str], paths: Sequence[str]) -> dict[str, Any]:
        users = {u: {"AuthSecret": secret, "AllowedPaths": list(paths)} for u, secret in authorizations.items()}
        api = f"/unix{self.socket_path}" if self.socket_path else "/ip4/127.0.0.1/tcp/0"
        access: dict[str, Any] = {
            "Addresses.API": api,
            "Addresses.Gateway": "/ip4/127.0.0.1/tcp/0",
            "Addresses.Swarm": ["/ip4/127.0.0.1/tcp/0"],
        }
        return access | ({"API.Authorizations": users} if users else {})

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write dotted keys into the configuration; they apply from the next start on."""
        path = self.repo / "config"
        config = json.loads(path.read_text())
        for dotted, value in settings.items():
            *parents, last = dotted.split(".")
            table = config
            for name in parents:
                table = table.setdefault(name, {})
            table[last] = value
        path.write_text(json.dumps(config, indent=2))

    # -- addresses

    @property
    def address(self) -> str:
        """The multiaddr of the RPC; the same after every restart."""
        return str(json.loads((self.repo / "config").read_text())["Addresses"]["API"])

    @property
    def port(self) -> int:
        """The TCP port of the RPC."""
        return int(self.address.rpartition("/")[2])

    @property
    def url(self) -> str:
        """The RPC by address: `http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def host_url(self) -> str:
        """The RPC by host name: `http://localhost:port`."""
        return f"http://localhost:{self.port}"

    @property
    def gateway_url(self) -> str:
        """The gateway, `http://127.0.0.1:port`."""
        gateway = json.loads((self.repo / "config").read_text())["Addresses"]["Gateway"]
        return f"http://127.0.0.1:{gateway.rpartition('/')[2]}"

    # -- life

    def start(self) -> Daemon:
        """Start the daemon and returns when its RPC answers."""
        if self._process is not None:
            raise DaemonError("this daemon runs already")
        for stale in ("api", "gateway", "api.sock"):
            (self.repo / stale).unlink(missing_ok=True)
        command = [str(self.binary), "daemon", *(["--offline"] if self.offline else [])]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - one system call, nothing of Python's
            )
        _running.add(self)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise
        self._keep_ports()
        return self

    def stop(self) -> None:
        """Asks the daemon to leave and waits for it; kills it when it does not."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._gone()

    def kill(self) -> None:
        """SIGKILL: the daemon has no chance to tidy up."""
        if self._process is not None:
            self._process.kill()
            self._gone()

    def suspend(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT, after `suspend`."""
        self._signal(signal.SIGCONT)

    def restart(self) -> Daemon:
        """Stop and start on the same address with the same repository."""
        self.stop()
        return self.start()

    def remove(self) -> None:
        """Kills the daemon and deletes its repository."""
        self.kill()
        shutil.rmtree(self.repo, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether the process is there (a suspended one is)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running daemon."""
        if self._process is None:
            raise DaemonError("this daemon does not run")
        return self._process.pid

    def __enter__(self) -> Daemon:
        return self if self.running else self.start()

    def __exit__(self, *_: object) -> None:
        self.remove()

    # -- use

    def cli(self, *args: str, stdin: bytes | None = None) -> str:
        """Run `ipfs …` against this daemon and returns what it printed, without the last line end."""
        return self.cli_bytes(*args, stdin=stdin).decode().removesuffix("\n")

    def cli_bytes(self, *args: str, stdin: bytes | None = None) -> bytes:
        """Run `ipfs …` against this daemon and returns the bytes it printed."""
        secret = ["--api-auth", self.secret] if self.secret else []
        return self._run(*secret, *args, stdin=stdin)

    def rpc(self, path: str, *, deadline_s: float = 30.0) -> bytes:
        """Call `/api/v0/…` (query included) without a body, by the standard library alone."""
        connection = self._connection(deadline_s)
        try:
            connection.request("POST", f"/api/v0/{path}", headers=self._authorization())
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise DaemonError(f"{path}: {answer.status} {body[:500]!r}")
        return body

    def pins(self) -> dict[str, str]:
        """CID to pin name, of everything that is pinned recursively."""
        found = json.loads(self.rpc("pin/ls?type=recursive&names=true")).get("Keys", {})
        return {cid: pin.get("Name", "") for cid, pin in found.items()}

    # -- inside

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("IPFS_", "GOLOG_"))}
        return {**kept, "IPFS_PATH": str(self.repo), "IPFS_TELEMETRY": "off", "HOME": str(self.repo)}

    def _run(self, *args: str, stdin: bytes | None = None) -> bytes:
        done = subprocess.run(
            [str(self.binary), *args],
            input=stdin if stdin is not None else b"",
            capture_output=True,
            env=self._environment(),
            check=False,
            timeout=120,
        )
        if done.returncode != 0:
            raise DaemonError(f"ipfs {' '.join(args)}: exit {done.returncode}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def _connection(self, deadline_s: float) -> http.client.HTTPConnection:
        api = (self.repo / "api").read_text().strip() if (self.repo / "api").exists() else self.address
        port = 80 if self.socket_path else int(api.rpartition("/")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=deadline_s)
        if self.socket_path:
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.settimeout(deadline_s)
            connection.sock.connect(str(self.socket_path))
        return connection

    def _authorization(self) -> dict[str, str]:
        if self.secret is None:
            return {}
        kind, _, value = self.secret.partition(":")
        if kind == "basic":
            value = base64.b64encode(value.encode()).decode() if ":" in value else value
        return {"Authorization": f"{kind.capitalize()} {value}"}

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < end:
            if not self.running:
                raise DaemonError(f"the daemon ended while it started; its log:\n{self._log_text()}")
            if self._has_written("api") and (self._has_written("gateway") or not self._wants_gateway()):
                with contextlib.suppress(OSError, DaemonError, http.client.HTTPException):
                    self.rpc("version", deadline_s=2.0)
                    return
            time.sleep(0.02)
        raise DaemonError(f"the daemon did not answer within {START_DEADLINE_S:.0f} s; its log:\n{self._log_text()}")

    def _has_written(self, address_file: str) -> bool:
        """Whether the daemon has written this file of its repository, each of which it makes when it listens there."""
        path = self.repo / address_file
        return path.exists() and bool(path.read_text().strip())

    def _wants_gateway(self) -> bool:
        return bool(json.loads((self.repo / "config").read_text())["Addresses"]["Gateway"])

    def _keep_ports(self) -> None:
        """Write the ports that the system chose into the configuration, so that a restart has the same ones."""
        if self.socket_path is None:
            self.configure({"Addresses.API": (self.repo / "api").read_text().strip()})
        gateway = self.repo / "gateway"
        if gateway.exists():
            port = gateway.read_text().strip().rpartition(":")[2].strip("/")
            self.configure({"Addresses.Gateway": f"/ip4/127.0.0.1/tcp/{port}"})

    def _log_text(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else "(empty)"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise DaemonError("this daemon does not run")
        self._process.send_signal(number)

    def _gone(self) -> None:
        if self._process is not None:
            self._process.wait()
        self._process = None
        _running.discard(self)


def _die_with_parent() -> Any:
    """Return the function that the child runs before exec, so that the daemon cannot outlive a test run that is killed.

    Linux sends that signal when the *thread* that forked ends, so only the main thread may ask for it; for the
    others there is the exit handler below.
    """
    return forked.end_with_parent if threading.current_thread() is threading.main_thread() else None


@atexit.register
def _remove_all() -> None:
    for daemon in list(_running):
        if daemon._owner == os.getpid():
            daemon.remove()
