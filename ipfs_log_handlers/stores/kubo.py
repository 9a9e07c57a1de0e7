"""A Kubo daemon as a store.

`dag/import` uploads a CAR and pins its roots in one call; all the other calls only look. Which answer is a success and
what the others mean stands in `kubo_answers`, how a call is made in `kubo_rpc`. Nothing is retried here: the keeper
does that, with the same bytes, which is safe at any time.
RPC as it really behaves in Kubo 0.26 to 0.43.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientError

from ipfs_log_handlers.errors import ConfigurationError, StoreError, StoreUnavailable, VerificationError
from ipfs_log_handlers.stores import MAX_BLOCK, Shipment, StoreInfo
from ipfs_log_handlers.stores.address import normalise, normalise_token, store_name
from ipfs_log_handlers.stores.kubo_answers import ImportAnswer, json_object, version_problem
from ipfs_log_handlers.stores.kubo_rpc import CONNECT_S, MAX_ANSWER, KuboRpc, Upload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import ClientResponse

    from ipfs_log_handlers.format.cid import Cid

__all__ = ["BYTES_PER_S", "DEADLINE_S", "KuboStore"]

DEADLINE_S: Final = 30.0
"""What the daemon gets for a call, besides the time of the upload: it answers in milliseconds, or hangs."""

BYTES_PER_S: Final = 1 << 20
"""The slowest link on which a shipment still arrives in time."""

_ANSWER_PER_ROOT = 1 << 10
_PIECE = 1 << 16
_LAST_CHUNK_S = 0.5


class KuboStore:
    """The Store contract over one daemon's RPC; made without touching file or network.

    Args:
        address: as `open_store` takes it, but for `memory:`.
        token: `bearer:…`, `basic:…`, `env:NAME` or `file:PATH`; read again after the daemon refused.
        name: the store's name in the home.
        deadline_s: what the daemon gets for a call, besides a second for each MiB of an upload.
    """

    def __init__(
        self, address: str, *, token: str | None = None, name: str | None = None, deadline_s: float = DEADLINE_S
    ) -> None:
        if not deadline_s > 0:
            raise ConfigurationError("the deadline of a store is not positive", found=deadline_s)
        self.address = normalise(address)
        self.name = name or store_name(self.address)
        self._deadline_s = deadline_s
        self._rpc = KuboRpc(self.address, normalise_token(token))
        self._version = ""

    def __repr__(self) -> str:
        return f"KuboStore({self.address!r})"

    async def ship(self, shipment: Shipment) -> None:
        """Uploads the CAR; returns when the daemon has confirmed every root, and then the counts.

        When the daemon hangs or dies, this ends at the deadline with `StoreUnavailable`, and the same CAR may be sent
        again.
        """
        await self._gate()
        upload = Upload(shipment)
        answer = ImportAnswer(shipment.roots, shipment.blocks, shipment.block_bytes, self._rpc.where)
        try:
            await self._import(upload, answer, shipment)
        except StoreUnavailable:
            if answer.complete:  # the end marker came before the connection broke
                return
            if upload.trouble is not None:
                raise upload.trouble from None
            raise

    async def pinned(self, cids: Sequence[Cid]) -> frozenset[Cid]:
        """One index look-up for each; never `type=all`, which walks every pinned DAG."""
        await self._gate()
        return frozenset([cid for cid in cids if await self._is_pinned(cid)])

    async def get(self, cid: Cid) -> bytes:
        """Reads one block of at most 2 MiB that the daemon itself has; it is rehashed here."""
        await self._gate()
        block = await self._call("block/get", {"arg": cid.text, "offline": "true"}, bound=MAX_BLOCK)
        cid.verify(block)
        return block

    async def unpin(self, cids: Sequence[Cid]) -> None:
        """Takes each recursive pin away."""
        await self._gate()
        for cid in cids:
            try:
                await self._call("pin/rm", {"arg": cid.text, "recursive": "true"})
            except StoreUnavailable as error:
                if "not pinned" not in str(error.found):
                    raise

    async def probe(self) -> StoreInfo:
        """Asks for version, repository size and whether flatfs syncs; what the token does not allow is None."""
        await self._gate()
        stat = await self._if_allowed("repo/stat", {"size-only": "true"})
        spec = await self._if_allowed("config", {"arg": "Datastore.Spec"})
        return StoreInfo(
            kind="kubo",
            version=self._version,
            address=self._rpc.endpoint,
            syncs=_syncs(spec.get("Value")),
            repo_bytes=_int(stat.get("RepoSize")),
            storage_max_bytes=_int(stat.get("StorageMax")),
        )

    async def close(self) -> None:
        """Closes the connections of the running loop."""
        await self._rpc.close()

    async def _gate(self) -> None:
        """Before the first call, and again after a connection was lost: who answers, and may we import there?

        The empty import brings a refusal out before a large body is on its way, where it would look like a reset.
        """
        if self._rpc.usable:
            return
        await self._rpc.look()
        wait = min(self._deadline_s, 2 * CONNECT_S)
        answer = await self._rpc.call("version", {}, deadline_s=wait)
        self._version, problem = version_problem(answer, self._rpc.where)
        if problem is not None:
            raise problem
        try:
            await self._rpc.call("dag/import", {"pin-roots": "true"}, deadline_s=wait)
        except StoreUnavailable as error:
            if "(400)" not in error.message:  # file argument 'path' is required
                raise
        self._rpc.connected = True

    async def _import(self, upload: Upload, answer: ImportAnswer, shipment: Shipment) -> None:
        options = {"pin-roots": "true", "stats": "true", "fast-provide-root": "false", "allow-big-block": "false"}
        deadline_s = self._deadline_s + shipment.size / BYTES_PER_S
        left = MAX_ANSWER + _ANSWER_PER_ROOT * len(shipment.roots)
        async with self._rpc.request("dag/import", options, deadline_s=deadline_s, upload=upload) as response:
            while piece := await response.content.read(_PIECE):
                answer.feed(piece)
                left -= len(piece)
                if left < 0:
                    raise StoreUnavailable("the daemon's answer is too long", where=self._rpc.where)
                if answer.complete:
                    await _last_chunk(response)
                    return
            answer.end()

    async def _is_pinned(self, cid: Cid) -> bool:
        try:
            body = await self._call("pin/ls", {"arg": cid.text, "type": "recursive"})
        except StoreUnavailable as error:
            if "is not pinned" in str(error.found):
                return False
            raise
        keys = json_object(body, self._rpc.where).get("Keys")
        pin = keys.get(cid.text) if isinstance(keys, dict) else None
        return isinstance(pin, dict) and pin.get("Type") == "recursive"

    async def _if_allowed(self, command: str, options: Mapping[str, str]) -> dict[str, Any]:
        try:
            return json_object(await self._call(command, options), self._rpc.where)
        except StoreError:
            return {}

    async def _call(self, command: str, options: Mapping[str, str], *, bound: int = MAX_ANSWER) -> bytes:
        body = await self._rpc.call(command, options, deadline_s=self._deadline_s, bound=bound)
        if len(body) > bound:
            raise VerificationError(
                "the daemon's answer is too long", expected=f"at most {bound} bytes", where=self._rpc.where
            )
        return body


async def _last_chunk(response: ClientResponse) -> None:
    """Waits a moment for the end of an answer that is complete, so that its connection can be used again."""
    with suppress(asyncio.TimeoutError, ClientError, OSError):
        await asyncio.wait_for(response.content.read(1), _LAST_CHUNK_S)


def _syncs(spec: object) -> bool | None:
    """Says whether confirmed blocks survive a power cut, from the datastore's own description."""
    if not isinstance(spec, dict):
        return None
    mounts = spec.get("mounts")
    for part in [spec, *(mounts if isinstance(mounts, list) else [])]:
        inner = part.get("child") or part if isinstance(part, dict) else None
        if isinstance(inner, dict) and inner.get("type") == "flatfs":
            return inner.get("sync") is True
        if isinstance(inner, dict) and inner.get("type") == "pebbleds":
            return True
    return None


def _int(value: object) -> int | None:
    return value if type(value) is int else None
