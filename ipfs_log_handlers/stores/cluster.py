"""Use an IPFS Cluster as a pin service, over its REST API (port 9094).

A cluster takes a CID and pins the tree below it on as many of its peers as its configuration, or the pin, asks for
(https://ipfscluster.io/documentation/reference/api/). The answer to `POST /pins/{cid}` means only that the request is
in its list, so a pin is confirmed by `GET /pins?cids=…`: by as many peers as `replication-min` says, else by one. A
cluster counts as one copy, whatever the number of its peers. Described as IPFS Cluster 1.1.6 behaves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import aiohttp

from ipfs_log_handlers.errors import FormatError, StoreDenied, StoreError, StoreUnavailable
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.stores.foreign_errors import translate
from ipfs_log_handlers.stores.kubo_answers import json_object, retry_after
from ipfs_log_handlers.stores.kubo_rpc import (
    CONNECT_S,
    MAX_ANSWER,
    complaint_of,
    hidden,
    leave_behind,
    open_session,
    read,
    read_token,
)
from ipfs_log_handlers.stores.pin_address import replication
from ipfs_log_handlers.stores.pins import PinStatus

__all__ = ["DEADLINE_S", "ClusterPins"]

DEADLINE_S: Final = 30.0
"""Seconds that the cluster gets for a call; it asks its other peers in that time."""
_MAX_CIDS: Final = 32
"""Largest number of CIDs in one query: by default a peer takes 4,096 bytes of headers."""
_MAX_SHOWN_CHARS: Final = 300
"""Characters of an answer that an error shows."""
_WAITING: Final = frozenset({"pinning", "pin_queued", "queued", "unpinning", "unpin_queued"})
"""States of a peer that works on it."""
_FAILED: Final = frozenset({"pin_error", "unpin_error", "cluster_error", "error", "unexpectedly_unpinned"})
"""States of a peer that has given up, or cannot be reached by the others."""
_ADVICE: Final[Mapping[int, str]] = {
    401: "Set `pins_token` to a credential of the cluster: basic:USER:PASSWORD or bearer:TOKEN",
    403: "Set `pins_token` to a credential of the cluster: basic:USER:PASSWORD or bearer:TOKEN",
    404: "Check that the address is the REST API of an IPFS Cluster (port 9094)",
    405: "Check that the address is the REST API of an IPFS Cluster (port 9094)",
}
"""What to do next, by status of an answer."""
_TEMPORARY: Final = frozenset({400, 408, 425, 429})
"""Statuses after which the same call is made again, beside those from 500 on."""


class _NoSuchPinError(StoreUnavailable):
    """The cluster has no pin of this CID."""


class ClusterPins:
    """Keep the contract of a pin service over the REST API of one peer of a cluster.

    Args:
        address: `cluster+http…`, normalised.
        token: in the form that `normalise_token` has checked; `None`: no credential.
        name: the name of the service in a home.
        deadline_s: seconds that the cluster gets for a call.
    """

    max_cids: int = _MAX_CIDS

    def __init__(self, address: str, *, token: str | None, name: str, deadline_s: float = DEADLINE_S) -> None:
        self.address = address
        self.name = name
        self._url, self._options = replication(address)
        self._least = int(self._options.get("replication-min", 1))
        self._token = token
        self._authorization: str | None = None
        self._deadline_s = deadline_s
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"ClusterPins({self.address!r})"

    def __del__(self) -> None:
        """Prevent aiohttp from logging connections that were not closed: logging would call this package."""
        session = getattr(self, "_session", None)
        if session is not None:
            session.detach()

    async def statuses(self, cids: Sequence[Cid]) -> Mapping[Cid, PinStatus]:
        """Ask for all CIDs in one call. An answer without one of them is no answer: the stream may have broken off."""
        body = await self._call("GET", "/pins", {"cids": ",".join(cid.text for cid in cids), "local": "false"})
        found: dict[Cid, PinStatus] = {}
        for line in body.splitlines():
            if line.strip():
                pin = json_object(line, self.address)
                cid = _cid_of(pin)
                if cid is not None:
                    found[cid] = self._status_of(pin)
        missing = [cid for cid in cids if cid not in found]
        if missing:
            raise StoreUnavailable("the cluster did not answer for each pin", found=missing[0].text, where=self.address)
        return {cid: found[cid] for cid in cids}

    def _status_of(self, pin: Mapping[str, Any]) -> PinStatus:
        """Combine the states of all peers."""
        peers = pin.get("peer_map")
        parts = [peer for peer in peers.values() if isinstance(peer, dict)] if isinstance(peers, dict) else []
        states = [peer.get("status") for peer in parts]
        if states.count("pinned") >= self._least:
            return PinStatus("pinned")
        if not _WAITING.isdisjoint(map(str, states)):
            return PinStatus("waiting")
        failed = [peer for peer in parts if peer.get("status") in _FAILED]
        if failed:
            return PinStatus("failed", f"{failed[0].get('status')}: {_shown(failed[0].get('error'))}")
        if "pinned" in states:
            return PinStatus("failed", f"only {states.count('pinned')} of {self._least} peers have pinned it")
        return PinStatus("absent")

    async def request(self, cid: Cid, name: str, *, again: bool = False) -> None:
        """Put the CID on the list of the cluster; one that has failed is recovered, too."""
        await self._call("POST", f"/pins/{cid.text}", {"name": name, "mode": "recursive", **self._options})
        if again:
            await self._call("POST", f"/pins/{cid.text}/recover", {})

    async def remove(self, cids: Sequence[Cid]) -> None:
        """Take the CIDs off the list."""
        for cid in cids:
            try:
                await self._call("DELETE", f"/pins/{cid.text}", {})
            except _NoSuchPinError:
                continue

    async def probe(self) -> str:
        """Ask for the version, and for the number of peers."""
        version = json_object(await self._call("GET", "/version", {}), self.address).get("version")
        peers = json_object(await self._call("GET", "/id", {}), self.address).get("cluster_peers")
        if not isinstance(version, str) or not isinstance(peers, list):
            raise StoreDenied("no IPFS Cluster answers there", where=self.address, hint=_ADVICE[404])
        several = "1 peer" if len(peers) == 1 else f"{len(peers)} peers"
        return f"IPFS Cluster {_shown(version)} with {several} at {self.address}"

    async def close(self) -> None:
        """Close the connections, if they belong to the running loop."""
        session, self._session = self._session, None
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.close()
        elif session is not None:
            leave_behind(session)

    async def _call(self, method: Literal["GET", "POST", "DELETE"], path: str, options: Mapping[str, str]) -> bytes:
        limit = self._deadline_s
        try:
            session = self._running_session()
            response = await session.request(
                method,
                self._url + path,
                params=options,
                headers={} if self._authorization is None else {"Authorization": self._authorization},
                timeout=aiohttp.ClientTimeout(total=limit, sock_connect=min(CONNECT_S, limit)),
                allow_redirects=False,
            )
            try:
                if response.status not in (200, 202, 204):
                    said = hidden(await complaint_of(response), self._authorization)
                    raise self._failure(response.status, said, response.headers)
                body = await read(response, MAX_ANSWER)
            finally:
                response.close()
        except StoreError:
            raise
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, EOFError) as error:
            ours = translate(error, where=self.address, connect_s=min(CONNECT_S, limit), answer_s=limit)
            ours.message = ours.message.replace("the daemon", "the cluster")
            raise ours from error
        if len(body) > MAX_ANSWER:
            raise StoreUnavailable("the answer of the cluster is too long", where=self.address)
        return body

    def _failure(self, status: int, body: bytes, headers: Mapping[str, str]) -> StoreError:
        message = _message(body)
        if status == 404 and "pinset" in message:
            return _NoSuchPinError("the cluster has no such pin", where=self.address)
        if status >= 500 or status in _TEMPORARY:
            error = StoreUnavailable(f"the cluster answered {status}", found=message or None, where=self.address)
            error.retry_after = retry_after(headers.get("Retry-After"), headers.get("Date"))
            return error
        self._authorization = None
        return StoreDenied(
            f"the cluster refuses the call ({status})",
            found=message or None,
            where=self.address,
            hint=_ADVICE.get(status),
        )

    def _running_session(self) -> aiohttp.ClientSession:
        """Return the session of the running loop; read the token again for a new one, and after a refusal."""
        loop = asyncio.get_running_loop()
        if self._session is not None and self._loop is not loop:
            leave_behind(self._session)
            self._session = None
        if self._authorization is None:
            self._authorization = read_token(self._token)
        if self._session is None:
            self._session, self._loop = open_session(self._url), loop
        return self._session


def _cid_of(pin: Mapping[str, Any]) -> Cid | None:
    """Read the CID of a pin: text, or `{"/": text}` as older peers write it."""
    cid = pin.get("cid")
    text = cid.get("/") if isinstance(cid, dict) else cid
    try:
        return Cid.parse(text) if isinstance(text, str) else None
    except FormatError:
        return None


def _message(body: bytes) -> str:
    """Return the `message` of an error of the cluster, or the whole text, on one bounded line."""
    text = body.decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        text = value["message"]
    return _shown(text)


def _shown(text: object) -> str:
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(str(text).split()))
    return line[:_MAX_SHOWN_CHARS]
