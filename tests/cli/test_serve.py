"""`ipfs-logs serve`: where it listens, what it prints, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ipfs_log_handlers import open_home
from tests.support import sample_homes
from tests.support.cli import command, run, start
from tests.support.programs import environment
from tests.support.programs import start as start_program
from tests.support.serving import Tail, ask
from tests.support.terminal import Terminal


@contextmanager
def served(home: Path | None, *options: str, **how: Any) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """Start the server as a program; yield it, and what it has printed. Without a home, the options give sources."""
    place = () if home is None else ("--home", home)
    process = start("serve", *place, "--port", "0", *options, **how)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def _port(printed: dict[str, Any]) -> int:
    port = urlsplit(printed["url"]).port
    assert port is not None
    return port


def test_it_prints_its_address_and_ends_at_ctrl_c_with_0(home):
    """Stdout has the URL alone; Ctrl-C ends it at once, also while a tail is open and a query runs."""
    sample_homes.make(home, 3)
    with served(home) as (process, printed):
        assert printed["url"].startswith("http://127.0.0.1:")
        with Tail(_port(printed)) as tail:
            assert tail.next().name == "ready"
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            took = time.monotonic() - asked
    assert (process.returncode, out, err) == (0, b"", b"")
    assert took < 10


def test_ctrl_c_does_not_wait_for_a_store_that_does_not_answer(home):
    """A check of the health waits for a store; the server ends all the same."""
    sample_homes.make(home, 3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            served(home, env=environment(IPFS_LOGS_KUBO=store)) as (process, printed),
            socket.create_connection(("127.0.0.1", _port(printed))) as client,
        ):
            client.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            silent.settimeout(30)
            asked, _ = silent.accept()
            with asked:
                process.send_signal(signal.SIGINT)
                began = time.monotonic()
                out, err = process.communicate(timeout=30)
                took = time.monotonic() - began
    assert (process.returncode, out, err) == (0, b"", b"")
    assert took < 8  # the store has ten seconds to answer


def test_on_a_terminal_it_says_it_in_words(home):
    """The address stands in a sentence."""
    sample_homes.make(home, 1)
    terminal = Terminal(command("serve", "--home", home, "--port", "0"))
    terminal.read_until(lambda shown: "ends the server" in shown)
    terminal.interrupt()
    shown = terminal.end()
    assert shown.code == 0
    assert shown.screen[0].startswith("The records are at http://127.0.0.1:")


def test_a_line_is_visible_soon_after_a_program_has_logged_it(home):
    """From the call in another program to the event at a client: within half a second in the median."""
    program = """
configure()
for _ in sys.stdin:
    log.info("now", extra={"at": time.time()})
    print("logged", flush=True)
"""
    sample_homes.make(home, 1)
    logging = start_program(home, program)
    assert logging.stdin is not None
    try:
        with served(home) as (_, printed), Tail(_port(printed)) as tail:
            assert tail.next().name == "ready"
            waited = []
            for _ in range(7):
                logging.stdin.write("\n")
                logging.stdin.flush()
                (item,) = tail.until(lambda records: records)
                waited.append(time.time() - item["record"]["at"])
    finally:
        logging.communicate(timeout=30)
    assert sorted(waited)[3] < 0.5


def test_a_port_in_use_is_an_error_that_says_what_to_do(home):
    """Exit code 2, one line, and the option that helps."""
    sample_homes.make(home, 1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        ended = run("serve", "--port", other.getsockname()[1], home=home)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert "another program uses this port" in ended.err
    assert "--port 0" in ended.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--address", "0.0.0.0"], "other machines can reach 0.0.0.0: add --token new, or --behind-proxy HOST"),
        (["--address", "::"], "other machines can reach ::"),
        (["--address", "example.org"], "--address takes an IP address"),
        (["--token", "short"], "a token has at least 16"),
        (["--token", "with a space in the middle"], "a token has at least 16"),
        (["--token", "env:NO_SUCH_VARIABLE"], "there is no such variable"),
        (["--token", "file:/no/such/file"], "cannot be read"),
        (["--behind-proxy", "http://x"], "the name of a host"),
        (["--port", "70000"], "0<=x<=65535"),
        (["--source", "other"], "both choose the records"),
        (["--key", "nonsense"], "neither a verifier key nor a file"),
    ],
)
def test_what_is_wrong_is_said_before_it_listens(home, options, told):
    """Exit code 2, and one line."""
    sample_homes.make(home, 1)
    ended = run("serve", *options, home=home)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


def test_a_cid_needs_a_place_to_ask():
    """Exit code 2, before the server listens."""
    ended = run("serve", "--source", "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi")
    assert (ended.code, ended.out) == (2, "")
    assert "exactly one place to ask" in ended.err


def test_a_home_that_is_missing_is_an_error(home):
    """There is nothing to show."""
    assert run("serve", home=home).code == 2


def test_the_token_comes_from_a_file_or_the_environment_and_is_not_printed(home, tmp_path):
    """Only `new` prints the link with the token, once; a token that was given is in no output."""
    sample_homes.make(home, 1)
    token = "0123456789abcdef-given"
    (tmp_path / "token").write_text(token + "\n")
    with served(home, "--token", f"file:{tmp_path / 'token'}") as (process, printed):
        port = _port(printed)
        assert 401 == ask(port, "/api/records").status
        assert 200 == ask(port, "/api/records", Authorization=f"Bearer {token}").status
        assert 403 == ask(port, "/login?token=wrong").status
        assert token not in json.dumps(printed)
        process.send_signal(signal.SIGINT)
        assert (b"", b"") == process.communicate(timeout=30)
    with served(home, "--token", "new", "--address", "0.0.0.0") as (_, printed):
        link = urlsplit(printed["link"])
        assert 200 == ask(_port(printed), f"{link.path}?{link.query}").status
        assert 401 == ask(_port(printed), "/").status


def test_several_sources_are_shown_together(home, tmp_path):
    """A home, and a CAR file of another one, whose key is trusted too."""
    sample_homes.make(home, 3)
    other = tmp_path / "other"
    sample_homes.make(other, 4, "wal")
    open_home(other).export_car(tmp_path / "wal.car")
    with served(None, "--source", str(home), "--source", str(tmp_path / "wal.car")) as (_, printed):
        about = json.loads(ask(_port(printed), "/api/about").body)
        page = json.loads(ask(_port(printed), "/api/records").body)
    assert ["home", "other"] == [source["kind"] for source in about["sources"]]
    assert ["audit", "wal"] == about["subsystems"]
    assert 7 == len(page["records"])


@pytest.mark.kubo
def test_a_log_is_shown_from_the_cid_of_its_head(home, kubo):
    """From a daemon, without a home, with the key of the log."""
    sample_homes.make(home, 12)
    sample_homes.ship(home, kubo.url)
    options = ["--source", sample_homes.head_of(home), "--kubo", kubo.url, "--key", sample_homes.key_of(home)]
    with served(None, *options) as (_, printed):
        port = _port(printed)
        items = json.loads(ask(port, "/api/records").body)["records"]
        proof = json.loads(ask(port, f"/api/proof?id={items[0]['id']}").body)
    assert list(range(11, -1, -1)) == [item["record"]["number"] for item in items]
    assert (True, "given") == (proof["verified"], proof["trust"])
