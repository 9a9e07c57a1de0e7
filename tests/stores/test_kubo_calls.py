"""What the Kubo store asks, of whom, with which token, and what it reads."""

from __future__ import annotations

import asyncio
import os

import pytest

from ipfs_log_handlers.errors import (
    LogStoreError,
    StoreDenied,
    StoreUnavailable,
    VerificationError,
)
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.stores.kubo import KuboStore
from ipfs_log_handlers.testing import FakeKubo, Request, Response
from tests.support import shipments
from tests.support.lying_kubo import DEADLINE_S, GOOD, ship

STRANGER = Cid.of(RAW, b"stranger")


TEXT = (("Content-Type", "text/plain; charset=utf-8"),)


class TestRequest:
    def test_what_is_sent(self, liar):
        """An import pins, asks for counts, says how long, and carries nothing that Kubo forbids."""
        ship(liar, GOOD, deadline_s=2.0)
        (sent,) = liar.uploads()
        assert sent.method == "POST"
        assert sent.query == {
            "pin-roots": "true",
            "stats": "true",
            "timeout": "2001ms",
            "fast-provide-root": "false",
            "allow-big-block": "false",
        }
        assert not {"origin", "referer", "cookie", "authorization", "expect", "transfer-encoding"} & sent.headers.keys()
        assert sent.headers["user-agent"].startswith("ipfs-log-handlers/")
        assert "/kubo/" not in sent.headers["user-agent"]
        assert int(sent.headers["content-length"]) == len(sent.body)

    def test_every_call_has_a_timeout(self, liar):
        """No call is sent without a timeout."""
        cid = GOOD.roots[0]

        async def all_calls() -> None:
            store = KuboStore(liar.url)
            await store.ship(GOOD)
            await store.pinned([cid])
            await store.get(cid)
            await store.probe()
            await store.unpin([cid])
            await store.close()

        asyncio.run(all_calls())
        assert {asked.command for asked in liar.asked} >= {"version", "dag/import", "pin/ls", "block/get", "pin/rm"}
        assert all(asked.query["timeout"].endswith("ms") for asked in liar.asked)
        assert all(asked.query["type"] == "recursive" for asked in liar.asked if asked.command == "pin/ls")

    def test_proxy_settings_are_ignored(self, liar, monkeypatch):
        """Neither a proxy from the environment nor a netrc changes where the records go."""
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        ship(liar, GOOD)
        assert liar.uploads()

    def test_redirects_are_not_followed(self, liar):
        """A redirect is shown, and nothing is sent to where it points."""
        with FakeKubo() as elsewhere:
            liar.respond_once(
                "dag/import", Response(status=307, headers=(("Location", elsewhere.url + "/api/v0/dag/import"),))
            )
            with pytest.raises(StoreDenied, match="redirect"):
                ship(liar, GOOD)
            assert not elsewhere.asked

    def test_a_large_upload_that_is_refused(self, liar):
        """A refusal that comes before a large body is a refusal, not a broken pipe."""
        liar.respond_always(
            "dag/import", Response(status=403, headers=TEXT, body=(b"403 - Forbidden",), read=0, then="close")
        )
        with pytest.raises(StoreDenied, match="403"):
            ship(liar, shipments.shipment(shipments.batch(os.urandom(8 << 20 >> 2))))

    def test_one_connection(self, liar):
        """Who answers is asked once, not before every call."""
        ship(liar, *[shipments.shipment() for _ in range(5)])
        assert [a.command for a in liar.asked].count("version") == 1

    def test_gate_after_a_loss(self, liar):
        """After a lost connection it asks again who answers, for it may be another daemon."""

        async def work() -> None:
            store = KuboStore(liar.url, deadline_s=DEADLINE_S)
            await store.ship(GOOD)
            liar.respond_once("dag/import", Response(then="close"))
            with pytest.raises(StoreUnavailable):
                await store.ship(GOOD)
            await store.ship(GOOD)
            await store.close()

        asyncio.run(work())
        assert [a.command for a in liar.asked].count("version") == 2


class TestGate:
    @pytest.mark.parametrize("version", ["0.25.0", "0.4.22", "0.25.1-rc1"])
    def test_too_old(self, liar, version):
        """A Kubo before 0.26 is refused with what to do, and gets no upload."""
        liar.respond_always("version", Response(body=FakeKubo.json_lines({"Version": version})))
        with pytest.raises(StoreDenied, match=r"too old.*0\.26.*Update the daemon"):
            ship(liar, GOOD)
        assert not liar.uploads()

    @pytest.mark.parametrize("version", ["0.26.0", "0.43.0-rc1", "1.0.0", "0.44.0-dev"])
    def test_new_enough(self, liar, version):
        """0.26 and all later ones are taken."""
        liar.respond_always("version", Response(body=FakeKubo.json_lines({"Version": version})))
        ship(liar, GOOD)

    @pytest.mark.parametrize("body", [b"{}", b'{"Version":7}', b'{"Version":"new"}', b'{"Version":null}'])
    def test_not_kubo(self, liar, body):
        """What does not say which version of Kubo it is, is refused."""
        liar.respond_always("version", Response(body=(body,)))
        with pytest.raises(StoreDenied, match="does not contain the version of Kubo"):
            ship(liar, GOOD)

    def test_web_server(self, liar):
        """A web server that answers everything with a page is not taken for a daemon."""
        liar.respond_always("version", Response(headers=TEXT, body=(b"<html>",)))
        with pytest.raises(LogStoreError, match="not JSON"):
            ship(liar, GOOD)


class TestReading:
    def get(self, liar: FakeKubo, cid: Cid) -> bytes:
        """Read one block with a new store."""

        async def work() -> bytes:
            store = KuboStore(liar.url, deadline_s=DEADLINE_S)
            try:
                return await store.get(cid)
            finally:
                await store.close()

        return asyncio.run(work())

    def test_other_bytes(self, liar):
        """A block that is not what its CID says never gets out."""
        liar.respond_once("block/get", Response(body=(b"other",)))
        with pytest.raises(VerificationError):
            self.get(liar, STRANGER)

    def test_without_end(self, liar):
        """A block without an end is read to the bound and no further."""
        liar.respond_once("block/get", Response(body=tuple([bytes(1 << 16)] * 1000)))
        with pytest.raises(VerificationError, match="too long"):
            self.get(liar, STRANGER)

    @pytest.mark.parametrize("then", ["cut", "reset", "hang"])
    def test_cut(self, liar, then):
        """A block that breaks off is unavailable, though the bytes that came are right."""
        liar.respond_once("block/get", Response(body=(b"stran",), then=then))
        with pytest.raises(StoreUnavailable):
            self.get(liar, STRANGER)

    @pytest.mark.parametrize(
        "said",
        [
            FakeKubo.json_lines({"Keys": {}}),
            FakeKubo.json_lines({"Keys": None}),
            FakeKubo.json_lines({"Keys": {str(STRANGER): {"Type": "indirect"}}}),
            FakeKubo.json_lines({"Keys": {str(STRANGER): "recursive"}}),
            FakeKubo.json_lines({"Keys": [str(STRANGER)]}),
        ],
    )
    def test_pin_of_another_kind(self, liar, said):
        """Only a recursive pin of that very CID counts as pinned."""
        liar.respond_once("pin/ls", Response(body=said))

        async def work() -> frozenset[Cid]:
            store = KuboStore(liar.url)
            try:
                return await store.pinned([STRANGER])
            finally:
                await store.close()

        assert asyncio.run(work()) == frozenset()


class TestToken:
    def asked(self, liar: FakeKubo, token: str | None) -> Request:
        """Return the upload that a store with this token makes."""
        ship(liar, GOOD, token=token)
        return liar.uploads()[-1]

    @pytest.mark.parametrize(
        ("token", "header"),
        [
            ("bearer:s3cret", "Bearer s3cret"),
            ("s3cret", "Bearer s3cret"),
            ("basic:us:pass:word", "Basic dXM6cGFzczp3b3Jk"),
            ("basic:dXM6cGFzcw==", "Basic dXM6cGFzcw=="),
        ],
    )
    def test_forms(self, liar, tmp_path, monkeypatch, token, header):
        """A token means the same in the settings, in a variable and in a file."""
        (tmp_path / "token").write_text(token + "\n")
        monkeypatch.setenv("A_TOKEN", token)
        for spelt in (token, "env:A_TOKEN", f"file:{tmp_path / 'token'}"):
            assert self.asked(liar, spelt).headers["authorization"] == header

    @pytest.mark.parametrize("token", ["env:NO_SUCH_VARIABLE", "file:/no/such/file", "env:A_TOKEN"])
    def test_cannot_be_had(self, liar, monkeypatch, token):
        """A token that cannot be had is a refusal that names the place and not the secret."""
        monkeypatch.setenv("A_TOKEN", "odd:s3cret")
        with pytest.raises(StoreDenied) as caught:
            ship(liar, GOOD, token=token)
        assert token in str(caught.value)
        assert "s3cret" not in str(caught.value)
        assert not liar.asked

    def test_renewed(self, liar, tmp_path):
        """A file is read again after a refusal, so a renewed token needs no restart."""
        path = tmp_path / "token"
        path.write_text("bearer:old")

        def guard(asked: Request) -> Response:
            if asked.headers["authorization"] != "Bearer new":
                return Response(status=403, headers=TEXT, body=(b"403 - Forbidden",))
            return liar.answer(asked)

        liar.respond_always("dag/import", guard)

        async def work() -> None:
            store = KuboStore(liar.url, token=f"file:{path}", deadline_s=DEADLINE_S)
            with pytest.raises(StoreDenied):
                await store.ship(GOOD)
            path.write_text("bearer:new")
            await store.ship(GOOD)
            await store.close()

        asyncio.run(work())
