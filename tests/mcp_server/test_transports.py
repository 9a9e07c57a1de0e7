"""The real program serves over stdio and over HTTP, keeps stdout clean, and lets no foreign request in."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.streamable_http import streamable_http_client

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.mcp_server.transports import HttpAddress
from tests.support import sample_homes
from tests.support.cli import run, start
from tests.support.mcp_clients import MODES, Asking, over_stdio, talk
from tests.support.programs import environment

TOKEN = "a-token-of-16-characters-or-more"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


async def ask_all(ask: Asking) -> int:
    """Ask a server with each kind of tool: one that reads, one that starts a child process, one that waits."""
    await ask.answer("list_datasets")
    await ask.answer("stream_logs", wait_s=0)
    return int((await ask.answer("count_logs"))["count"])


@pytest.mark.parametrize("mode", MODES)
def test_the_official_client_is_served_over_stdio(logs: Path, mode: str) -> None:
    """The client starts `ipfs-logs mcp` and asks it; SQL is offered."""

    async def work(ask: Asking) -> int:
        assert [[150]] == (await ask.answer("query_sql", query="SELECT count(*) FROM logs_all"))["rows"]
        return await ask_all(ask)

    assert 150 == talk(over_stdio("--home", logs), work, mode)


def test_stdout_has_the_protocol_and_nothing_else(home: Path) -> None:
    """Also where a batch is damaged, the SQL is wrong, and a message is none; the program ends with its input."""
    sample_homes.make(home, 30)
    sample_homes.damage(home, 1)
    calls = [("get_logs", {}), ("query_sql", {"query": "SELECT"}), ("query_sql", {"query": "FROM audit"}), ("no", {})]
    messages = [INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    for number, (tool, arguments) in enumerate(calls):
        params = {"name": tool, "arguments": arguments}
        messages.append({"jsonrpc": "2.0", "id": number + 2, "method": "tools/call", "params": params})
    process = start("mcp", "--home", home, stdin=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"no message\n" + b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        process.stdin.flush()
        answered: set[int] = set()
        while not answered >= {1, 2, 3, 4, 5}:
            answer = json.loads(process.stdout.readline())
            assert "2.0" == answer["jsonrpc"]
            answered.add(answer.get("id"))
        process.stdin.close()
        assert b"" == process.stdout.read()
    assert 0 == process.returncode


def test_ctrl_c_ends_a_server_whose_client_is_silent(home: Path) -> None:
    """No thread that waits for stdin keeps the process."""
    sample_homes.make(home, 3)
    process = start("mcp", "--home", home, stdin=subprocess.PIPE)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == 1
        process.send_signal(signal.SIGINT)
        assert 130 == process.wait(60)
        assert b"ipfs-logs: interrupted\n" == process.stderr.read()


# -- HTTP


@contextlib.contextmanager
def serving(home: Path, *args: object, **env: str) -> Iterator[str]:
    """Run `ipfs-logs mcp --http` on a free port; give its URL; at the end it is stopped, and ends well."""
    process = start("mcp", "--home", home, "--http", "--port", 0, *args, env=environment(**env))
    try:
        assert process.stderr is not None
        first = process.stderr.readline().decode()
        found = re.search(r"listens at (\S+);", first)
        assert found, first
        yield found[1]
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(60)
        assert process.stdout is not None
        assert b"" == process.stdout.read()
    finally:
        process.kill()
        process.communicate()


@contextlib.asynccontextmanager
async def with_token(url: str) -> AsyncIterator[Any]:
    """Connect to a server that wants the token."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as client,
        streamable_http_client(url, http_client=client) as streams,
    ):
        yield streams


def status(url: str, **headers: str) -> int:
    """Return the status of a first message with these headers."""
    accepted = {"accept": "application/json, text/event-stream", **headers}
    return httpx2.post(url, json=INITIALIZE, headers=accepted, trust_env=False).status_code


def test_http_serves_the_official_client_and_refuses_foreign_requests(logs: Path) -> None:
    """Both modes; no SQL by default; a foreign Host gets 421, a foreign Origin 403, a long body 413."""

    async def work(ask: Asking) -> int:
        assert "query_sql" not in [tool.name for tool in (await ask.client.list_tools()).tools]
        return await ask_all(ask)

    with serving(logs) as url:
        assert url.startswith("http://127.0.0.1:")
        assert [150, 150] == [talk(url, work, mode) for mode in MODES]
        assert 200 == status(url)
        assert 200 == status(url, origin="http://localhost:3000")
        assert 421 == status(url, host="logs.example.org")
        assert 403 == status(url, origin="http://logs.example.org")
        assert 403 == status(url, origin="null")
        long = httpx2.post(url, content=b" " * (2 << 20), headers={"content-type": "application/json"}, trust_env=False)
        assert 413 == long.status_code


@pytest.mark.slow
def test_http_with_a_token_serves_only_clients_that_have_it(logs: Path, tmp_path: Path) -> None:
    """The token comes from a file, the environment, or is new and printed once; SQL is offered if it is asked for."""
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")

    async def work(ask: Asking) -> Any:
        return (await ask.answer("query_sql", query="SELECT count(*) FROM audit"))["rows"]

    with serving(logs, "--token", f"file:{file}", "--sql") as url:
        assert [[85]] == talk(with_token(url), work)
        assert [401, 401, 200] == [
            status(url), status(url, authorization=f"Bearer {TOKEN}x"), status(url, authorization=f"Bearer {TOKEN}"),
        ]  # fmt: skip
    with serving(logs, IPFS_LOGS_MCP_TOKEN=TOKEN) as url:
        assert [401, 200] == [status(url), status(url, authorization=f"Bearer {TOKEN}")]
    process = start("mcp", "--home", logs, "--http", "--port", 0, "--token", "new")
    with process:
        assert process.stderr is not None
        url, token = (process.stderr.readline().decode().rstrip().rsplit(mark)[-1] for mark in (" at ", "Bearer "))
        assert [401, 200] == [
            status(url.partition(";")[0]),
            status(url.partition(";")[0], authorization=f"Bearer {token}"),
        ]
        process.send_signal(signal.SIGTERM)
        assert (b"", b"") == process.communicate(timeout=60)


def test_other_addresses_need_a_token_and_a_name() -> None:
    """A loopback address needs neither; the names that clients may use are the only ones."""
    refused: list[tuple[dict[str, Any], str]] = [
        ({"ip": ip_address("0.0.0.0")}, "has no token"),
        ({"ip": ip_address("192.0.2.5")}, "has no token"),
        ({"ip": ip_address("::")}, "has no token"),
        ({"ip": ip_address("0.0.0.0"), "token": TOKEN}, "--allow-host"),
    ]
    for given, hint in refused:
        with pytest.raises(ConfigurationError, match=hint):
            HttpAddress(**given)
    assert ["192.0.2.5", "192.0.2.5:*"] == HttpAddress(ip=ip_address("192.0.2.5"), token=TOKEN).allowed_hosts()
    named = HttpAddress(ip=ip_address("::"), token=TOKEN, names=("a.example",))
    assert ["a.example", "a.example:*"] == named.allowed_hosts()
    assert "[::1]:*" in HttpAddress(ip=ip_address("::1")).allowed_hosts()
    assert TOKEN not in repr(named)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--port", "1"], "--port is for HTTP: give --http, too"),
        (["--token", "new"], "--token is for HTTP"),
        (["--http", "--address", "0.0.0.0"], "is not an address of this machine alone"),
        (["--http", "--address", "logs.example.org"], "--address takes an IP address"),
        (["--http", "--address", "192.0.2.5", "--token", "short"], "--token: a token has at least 16"),
        (["--http", "--token", "file:/dev/null"], "--token: a token has at least 16"),
        (["--redact", "@emial"], "did you mean '@email'"),
        (["--key", "no key"], "key"),
        (["--source", "bafyreigaedqspcnbvjwhzxdr3fuqdfgpeefso7x3l3ht5sp7huieaoakde"], "--source and --home both"),
    ],
)
def test_a_wrong_option_ends_the_command_before_a_client_waits(logs: Path, args: list[str], told: str) -> None:
    """Exit code 2, one line, nothing on stdout."""
    ended = run("mcp", *args, home=logs)
    assert (2, "", 1) == (ended.code, ended.out, len(ended.err.splitlines()))
    assert told in ended.err


def test_without_the_extra_the_command_says_what_to_install(logs: Path) -> None:
    """Exit code 2, and the words that pip needs."""
    program = (
        "import sys; sys.modules['mcp'] = None\nfrom ipfs_log_handlers.cli import main\nmain(prog_name='ipfs-logs')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, "mcp", "--home", str(logs)],
        env=environment(), capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (2, "") == (ended.returncode, ended.stdout)
    assert ended.stderr.endswith("Run: pip install 'ipfs_log_handlers[mcp]'\n")
