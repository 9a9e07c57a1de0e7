"""CIDs of files: what Kubo's `add` gives is what we compute."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator
from typing import Protocol
from urllib.parse import urlencode, urlsplit

import pytest

from ipfs_log_handlers.format import unixfs
from tests.vectors import load
from tests.vectors.build_ipld import pattern

# Profile unixfs-v1-2025, spelled out: a daemon's configuration decides whatever a request leaves out.
PROFILE = {
    "cid-version": "1",
    "raw-leaves": "true",
    "hash": "sha2-256",
    "chunker": "size-1048576",
    "max-file-links": "1024",
    "max-directory-links": "0",
    "max-hamt-fanout": "256",
    "trickle": "false",
    "inline": "false",
    "only-hash": "true",
    "pin": "false",
}
BOUNDARY = "a-line-that-the-pattern-does-not-have"


class Daemon(Protocol):
    """What the fixture `kubo` gives."""

    url: str


def multipart(body: Iterable[bytes]) -> Iterator[bytes]:
    """Wrap a file for a form, without holding it."""
    yield (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
    yield from body
    yield f"\r\n--{BOUNDARY}--\r\n".encode()


def add(url: str, body: Iterable[bytes]) -> str:
    """Let the daemon name a file."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)
    try:
        connection.request(
            "POST",
            f"/api/v0/add?{urlencode(PROFILE)}",
            body=multipart(body),
            headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
            encode_chunked=True,
        )
        response = connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer
    finally:
        connection.close()
    return str(json.loads(answer.splitlines()[-1])["Hash"])


@pytest.mark.kubo
@pytest.mark.parametrize("size", load("foreign.json")["unixfs"])
def test_same_cid_as_kubo(kubo: Daemon, size: str) -> None:
    """Around every boundary of the profile, a file's CID is the one that `ipfs add` prints."""
    *_, root = (cid.text for cid, _ in unixfs.build(pattern(int(size))))

    assert add(kubo.url, pattern(int(size))) == root
