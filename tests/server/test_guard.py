"""To whom the server answers, and what each answer forbids to a browser."""

from __future__ import annotations

import hmac
import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiohttp import web

from ipfs_log_handlers.server.guard import Guard
from ipfs_log_handlers.server.sources import Options
from tests.support import sample_homes
from tests.support.serving import Running, ask, serving, sources_of

TOKEN = "a-token-of-this-test-0123456789"
ROUTES = [
    "/", "/page/app.js", "/page/nope.js", "/healthz", "/metrics", "/api/about", "/api/records", "/api/records?limit=0",
    "/api/histogram", "/api/facets", "/api/record?id=x", "/api/logs?verify=false", "/api/batches",
    "/api/health?checks=false", "/api/download", "/api/sql", "/nope", "/further",
]  # fmt: skip


async def _further(_: web.Request) -> web.Response:
    return web.Response(text="further")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Serve a home to those who have a token, at a name of a proxy, too, with one further route."""
    home = tmp_path_factory.mktemp("guarded") / "home"
    sample_homes.make(home, 3)
    options = Options(port=0, token=TOKEN, names=("logs.example.org",))
    with serving(sources_of(home), options, [web.get("/further", _further)]) as running:
        yield running


@pytest.mark.parametrize("route", ROUTES)
def test_each_answer_has_the_headers_that_keep_a_browser_in(server, route):
    """Good answers, refusals, missing routes: no script from elsewhere, no frame, no guess of types, no referrer."""
    answer = server.get(route)
    policy = answer.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "DENY" == answer.headers["x-frame-options"]
    assert "no-referrer" == answer.headers["referrer-policy"]
    assert "same-origin" == answer.headers["cross-origin-opener-policy"]
    assert "same-origin" == answer.headers["cross-origin-resource-policy"]
    assert "require-corp" == answer.headers["cross-origin-embedder-policy"]
    assert "ipfs-logs" == answer.headers["server"]
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cache-control"] in ("no-store", "no-cache")


def test_the_live_tail_has_the_same_headers(home):
    """A stream has them, too."""
    sample_homes.make(home, 1)
    with serving(sources_of(home)) as server, server.tail() as tail:
        headers = {name.lower() for name, _ in tail._answer.getheaders()}

    assert {"content-security-policy", "x-content-type-options", "x-frame-options", "cache-control"} <= headers


@pytest.mark.parametrize("route", ["/", "/api/records", "/api/tail", "/metrics", "/healthz", "/nope"])
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "localhost.", "", "192.0.2.1", "[::1", "a:b"]
)
def test_another_host_is_refused(server, route, host):
    """The page of a stranger whose name leads to this machine gets nothing (DNS rebinding)."""
    answer = ask(server.port, route, Host=host)

    assert 421 == answer.status
    assert "Host" == answer.json["error"]["where"]


def test_a_request_without_a_host_or_with_two_is_refused(server):
    """HTTP/1.0 without a host, and two hosts, are refused."""
    for hosts in ([], ["127.0.0.1", "evil.example"]):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.putrequest("GET", "/api/records", skip_host=True)
        for host in hosts:
            connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status in (400, 421)
        connection.close()


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST"])
def test_the_names_of_this_machine_are_answered(server, host):
    """What a browser here has in its address bar is a name of this server."""
    assert 200 == ask(server.port, "/api/about", Host=host.format(port=server.port)).status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "file://127.0.0.1"},
        {"Origin": "http://["},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"},
    ],
)
@pytest.mark.parametrize("route", ["/api/records", "/api/tail", "/metrics", "/page/app.js", "/api/download"])
def test_a_request_of_another_page_is_refused(server, route, headers):
    """Another site can neither read an answer nor have it loaded as a script, an image or a frame."""
    assert 403 == ask(server.port, route, **headers).status


def test_a_link_on_another_page_leads_to_the_page(server):
    """A person may follow a link; a script of the other page may not load the page."""
    by_person = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}
    assert 200 == ask(server.port, "/", **by_person).status
    assert 403 == ask(server.port, "/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec_Fetch_Site": "same-origin"}
    assert 200 == ask(server.port, "/api/records", **own).status


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "/healthz"])
def test_without_the_token_nothing_is_shown(guarded, route):
    """Every route but the one of health wants the token: the API, the page, its files, metrics, and further routes."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": f"ipfs_logs_{guarded.port}={TOKEN}"}):
        answer = ask(guarded.port, route, **headers)
        assert 401 == answer.status
        assert b"records" not in answer.body


def test_the_link_gives_a_cookie_and_the_cookie_opens_everything(guarded):
    """The cookie is for this site alone, no script reads it, and it is not the token itself."""
    answer = ask(guarded.port, f"/login?token={TOKEN}", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
    cookie = answer.headers["set-cookie"]
    pair = cookie.partition(";")[0]

    assert (200, "0; url=/") == (answer.status, answer.headers["refresh"])
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert TOKEN not in cookie
    assert 200 == ask(guarded.port, "/api/records", Cookie=pair).status
    assert 200 == ask(guarded.port, "/", Cookie=pair).status
    assert b"further" == ask(guarded.port, "/further", Cookie=pair).body


def test_a_wrong_token_gives_no_cookie(guarded):
    """403, and no cookie."""
    for path in ("/login", "/login?token=", "/login?token=wrong", f"/login?token={TOKEN}x"):
        answer = ask(guarded.port, path)
        assert 403 == answer.status
        assert "set-cookie" not in answer.headers
        assert TOKEN.encode() not in answer.body


def test_a_program_sends_the_token_itself(guarded):
    """Prometheus sends a bearer token."""
    assert 200 == ask(guarded.port, "/metrics", Authorization=f"Bearer {TOKEN}").status


def test_a_proxy_that_is_named_is_answered_and_its_cookie_is_secure(guarded):
    """Behind HTTPS the cookie is for HTTPS alone; another name is refused."""
    named = {"Host": "logs.example.org", "X_Forwarded_Proto": "https"}
    answer = ask(guarded.port, f"/login?token={TOKEN}", **named)

    assert "Secure" in answer.headers["set-cookie"]
    pair = answer.headers["set-cookie"].partition(";")[0]
    assert 200 == ask(guarded.port, "/api/records", Cookie=pair, **named).status
    assert 421 == ask(guarded.port, "/api/records", Cookie=pair, Host="other.example.org").status


def test_tokens_are_compared_in_constant_time(guarded, monkeypatch):
    """`hmac.compare_digest` compares; neither `==` nor a length tells how near a guess is."""
    compared: list[bytes] = []
    real = hmac.compare_digest

    def compare(one: bytes, two: bytes) -> bool:
        compared.append(two)
        return real(one, two)

    monkeypatch.setattr(hmac, "compare_digest", compare)

    ask(guarded.port, "/api/records", Authorization="Bearer guess", Cookie=f"ipfs_logs_{guarded.port}=guess")
    assert 2 == len(compared)
    assert TOKEN.encode() in compared


def test_on_another_address_an_ip_address_is_a_name_of_the_server():
    """A page of a stranger has a name, and no IP address."""
    from aiohttp.test_utils import make_mocked_request

    guard = Guard(Options(address="0.0.0.0", token=TOKEN))
    for host in ("192.0.2.7:8600", "[2001:db8::1]:8600", "localhost:8600"):
        assert host == guard._checked_host(make_mocked_request("GET", "/", headers={"Host": host}))
    with pytest.raises(Exception, match="not a name of this server"):
        guard._checked_host(make_mocked_request("GET", "/", headers={"Host": "evil.example:8600"}))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_answered(server, method):
    """No route changes anything; there is no other method."""
    for route in ("/", "/api/records", "/api/health", "/metrics", "/api/tail"):
        assert 405 == ask(server.port, route, method).status
    assert (405, 405) == tuple(ask(server.port, route, "HEAD").status for route in ("/api/tail", "/api/download"))


@pytest.mark.parametrize(
    "path",
    [
        "/page/../guard.py",
        "/page/..%2fguard.py",
        "/page/%2e%2e/guard.py",
        "/page//etc/passwd",
        "/page/.",
        "/page/x%00.js",
    ],
)
def test_no_path_of_a_client_is_opened(server, path):
    """Only the files of the page that were listed at the start are answered."""
    answer = ask(server.port, path)

    assert answer.status in (400, 404)
    assert b"compare_digest" not in answer.body


def test_each_file_of_the_page_is_listed_with_its_hash(server):
    """What is served is what is listed; a browser asks only whether a file has changed."""
    import hashlib

    files = server.json("/api/about")["page"]
    assert "index.html" in {file["name"] for file in files}
    for file in files:
        answer = server.get(f"/page/{file['name']}")
        assert (200, file["sha256"]) == (answer.status, hashlib.sha256(answer.body).hexdigest())
        again = ask(server.port, f"/page/{file['name']}", If_None_Match=answer.headers["etag"])
        assert (304, b"") == (again.status, again.body)


def test_the_wheel_has_the_files_of_the_page():
    """`package_data` names the directory of the page."""
    text = (Path(__file__).resolve().parents[2] / "setup.cfg").read_text("utf-8")
    assert "server/page/*" in text.partition("[options.package_data]")[2].partition("[")[0]


def test_a_long_url_and_a_long_body_are_refused(server):
    """Neither takes memory."""
    assert ask(server.port, "/api/records?contains=" + "a" * 70_000).status in (400, 414)
    assert 405 == ask(server.port, "/api/records", "POST", b"x" * 1_000_000).status


def test_a_connection_without_a_request_is_closed(home, monkeypatch):
    """A client that sends nothing, or half a request, is closed after its time; others are answered meanwhile."""
    monkeypatch.setattr("ipfs_log_handlers.server.patience._FIRST_REQUEST_S", 0.3)
    sample_homes.make(home, 1)
    with serving(sources_of(home)) as server:
        for sent in (b"", b"GET /api/records HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "):
            with socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent:
                silent.sendall(sent)
                assert 200 == server.get("/healthz").status
                assert b"" == silent.recv(1)


def test_too_many_connections_without_a_request_keep_nobody_out(home, monkeypatch):
    """For one connection above the bound the oldest silent one is closed; the new one is answered."""
    monkeypatch.setattr("ipfs_log_handlers.server.patience._MAX_SILENT", 3)
    sample_homes.make(home, 1)
    with serving(sources_of(home)) as server, ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20)) for _ in range(3)]
        assert 200 == server.get("/healthz").status
        assert b"" == silent[0].recv(1)
        assert [200, 200] == [_status_on(connection) for connection in silent[1:]]


def test_closed_connections_are_not_counted(home, monkeypatch):
    """A silent connection is not closed in favour of those that have gone by themselves."""
    monkeypatch.setattr("ipfs_log_handlers.server.patience._MAX_SILENT", 4)
    sample_homes.make(home, 1)
    with serving(sources_of(home)) as server, ExitStack() as stack:
        first, *others = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(3)]
        stack.enter_context(first)
        for connection in others:
            connection.close()
        assert 200 == server.get("/healthz").status
        for _ in range(2):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20))
        assert 200 == server.get("/healthz").status
        assert 200 == _status_on(first)


def _status_on(connection: socket.socket) -> int:
    """Send a request on a connection that has been silent; return the status of the answer."""
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    with http.client.HTTPResponse(connection) as answer:
        answer.begin()
        return answer.status
