"""Use a Kubo daemon as a store.

`dag/import` uploads a CAR and pins its roots in one call; all other calls only read. `kubo_answers` says which answer
is a success and what the others mean, `kubo_rpc` makes a call. This module never retries: the keeper sends the same
bytes again, which is safe at any time. The RPC is described as Kubo 0.26 to 0.43 behave.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientError

from ipfs_log_handlers.errors import (
    ConfigurationError,
    FormatError,
    StoreDenied,
    StoreError,
    StoreUnavailable,
    VerificationError,
)
from ipfs_log_handlers.format.car import MAX_BLOCK
from ipfs_log_handlers.format.cid import DAG_CBOR, DAG_PB, RAW, Cid
from ipfs_log_handlers.stores import Exposure, MissingBlockError, Shipment, StoreInfo
from ipfs_log_handlers.stores.address import normalise, normalise_token, store_name
from ipfs_log_handlers.stores.exposure import exposure_of, has_swarm_key
from ipfs_log_handlers.stores.kubo_answers import ImportAnswer, json_object, version_of, version_problem
from ipfs_log_handlers.stores.kubo_rpc import CONNECT_S, MAX_ANSWER, KuboRpc, Upload, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aiohttp import ClientResponse


__all__ = ["BYTES_PER_S", "DEADLINE_S", "KuboStore"]

DEADLINE_S: Final = 30.0
"""Seconds that the daemon gets for a call, besides the time of the upload: it answers in milliseconds, or hangs."""

BYTES_PER_S: Final = 1 << 20
"""Bytes per second of the slowest link on which a shipment still arrives in time."""

BLOCKS_PER_S: Final = 200
"""Blocks per second that a slow daemon reads while it walks through what it pins."""

_ANSWER_BYTES_PER_ROOT: Final = 1 << 10
"""Bytes that the answer to an upload may have for each root, beside `MAX_ANSWER`."""
_MAX_PINS_BYTES: Final = 64 << 20
"""Bytes of the answer that lists all pins: some 600,000 of them."""
_MAX_RECORD_BYTES: Final = 10 << 10
"""Bytes of a record of a name."""
_NAME_PUT_SINCE: Final = (0, 40)
"""The release of Kubo that introduced `name/put` and `name/get`."""
_CODEC_NAMES: Final = {RAW: "raw", DAG_CBOR: "dag-cbor", DAG_PB: "dag-pb"}
"""The names of the codecs of our blocks in calls."""
_READ_BYTES: Final = 1 << 16
"""Bytes of an answer that are read at a time."""
_LAST_CHUNK_S: Final = 0.5
"""Seconds to wait for the end of a complete answer, so that its connection can be used again."""


class _Bytes:
    """A record of a name, or a block, as an upload."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self.open: Callable[[], Iterable[bytes]] = lambda: [data]


class KuboStore:
    """Keep the Store contract over one daemon's RPC; the constructor uses neither files nor network.

    Args:
        address: as for `open_store`, but without registered schemes.
        token: `bearer:…`, `basic:…`, `env:NAME` or `file:PATH`; read again after the daemon denied a call.
        name: the store's name in the home.
        deadline_s: seconds that the daemon gets for a call, besides one second for each MiB of an upload.
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
        """Upload the CAR; return when the daemon has confirmed every root, and then the counts.

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
        """Look up every pin by its own call, never with `type=all`, which walks every pinned DAG."""
        await self._gate()
        return frozenset([cid for cid in cids if await self._is_pinned(cid)])

    async def list_pins(self) -> frozenset[Cid]:
        """List all recursive pins, in one answer of at most 64 MiB; CIDs of a kind that we never write are left out."""
        await self._gate()
        body = await self._call("pin/ls", {"type": "recursive"}, bound=_MAX_PINS_BYTES)
        keys = json_object(body, self._rpc.where).get("Keys")
        pinned: set[Cid] = set()
        for text in keys if isinstance(keys, dict) else ():
            with suppress(FormatError):
                pinned.add(Cid.parse(text))
        return frozenset(pinned)

    async def get(self, cid: Cid) -> bytes:
        """Read one block of at most 2 MiB that the daemon itself has, and hash it again."""
        await self._gate()
        try:
            block = await self._call("block/get", {"arg": cid.text, "offline": "true"}, bound=MAX_BLOCK)
        except StoreUnavailable as error:
            if "could not find" in str(error.found):
                raise MissingBlockError(error.message, found=error.found, where=error.where) from error
            raise
        cid.verify(block)
        return block

    async def resolve_name(self, name: str, *, deadline_s: float | None = None) -> Cid:
        """Ask where a name `/ipns/<name>` leads to now; the answer is not proven."""
        await self._gate()
        options = {"arg": f"/ipns/{name}", "nocache": "true", "recursive": "true"}
        body = await self._call("name/resolve", options, deadline_s=deadline_s)
        path = json_object(body, self._rpc.where).get("Path")
        try:
            return Cid.from_user(str(path))
        except FormatError as error:
            raise StoreUnavailable("a name leads to no block", where=self._rpc.where, found=ascii(path)[:80]) from error

    async def put_name(self, name: str, record: bytes) -> None:
        """Hand out a signed record of a name: `name/put`, before Kubo 0.40 `routing/put`."""
        await self._gate()
        command, argument = ("name/put", name) if self._has_name_put else ("routing/put", f"/ipns/{name}")
        upload = Upload(_Bytes(record))
        options = {"arg": argument, "allow-offline": "true"}
        async with self._rpc.request(command, options, deadline_s=self._deadline_s, upload=upload) as response:
            if len(await read(response, MAX_ANSWER)) > MAX_ANSWER:
                raise StoreUnavailable("the daemon's answer is too long", where=self._rpc.where)

    async def get_name(self, name: str) -> bytes:
        """Get the newest record of a name, of at most 10 KiB: `name/get`, which Kubo has from 0.40 on."""
        await self._gate()
        return await self._call("name/get", {"arg": name}, bound=_MAX_RECORD_BYTES)

    async def routing_type(self) -> str | None:
        """Ask for `Routing.Type` of the configuration; `None` if the token does not allow it. `none`: no names."""
        await self._gate()
        value = (await self._if_allowed("config", {"arg": "Routing.Type"})).get("Value")
        return value if isinstance(value, str) else None

    @property
    def _has_name_put(self) -> bool:
        return version_of(self._version) >= _NAME_PUT_SINCE

    async def unpin(self, cids: Sequence[Cid]) -> None:
        """Remove the recursive pins of the CIDs."""
        await self._gate()
        for cid in cids:
            try:
                await self._call("pin/rm", {"arg": cid.text, "recursive": "true"})
            except StoreUnavailable as error:
                if "not pinned" not in str(error.found):
                    raise

    async def keep_alone(self, cid: Cid, block: bytes) -> None:
        """Replace the pin of a block by one that does not follow links.

        Kubo refuses such a pin while the block is pinned recursively, so that pin is removed first; then the block is
        stored again, because the garbage collection may have run in between.
        """
        await self.unpin([cid])
        upload = Upload(_Bytes(block))
        options = {"cid-codec": _CODEC_NAMES[cid.codec], "mhtype": "sha2-256", "pin": "false"}
        async with self._rpc.request("block/put", options, deadline_s=self._deadline_s, upload=upload) as response:
            answer = json_object(await read(response, MAX_ANSWER), self._rpc.where)
        if answer.get("Key") != cid.text:
            raise StoreUnavailable(
                "the daemon names a block otherwise", where=self._rpc.where, found=ascii(answer)[:80]
            )
        body = await self._call("pin/add", {"arg": cid.text, "recursive": "false"})
        if json_object(body, self._rpc.where).get("Pins") != [cid.text]:
            raise StoreUnavailable("the daemon does not confirm a pin", where=self._rpc.where, found=cid.text)

    async def probe(self) -> StoreInfo:
        """Ask for version, repository size and whether flatfs syncs; `None` if the token does not allow it."""
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

    async def exposure(self) -> Exposure:
        """Read the configuration, and look for the key of a private network if the daemon is on this machine."""
        await self._gate()
        config: dict[str, Any] | None = None
        with suppress(StoreDenied):
            config = json_object(await self._call("config/show", {}), self._rpc.where)
        private = False
        if config is not None and self._rpc.is_here:
            environment = (await self._if_allowed("diag/sys", {})).get("environment")
            private = has_swarm_key(environment, config)
        return exposure_of(config, version_of(self._version), has_swarm_key=private)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await self._rpc.close()

    async def _gate(self) -> None:
        """Check version and permission before the first call, and again after a connection was lost.

        An empty import shows a refusal early: during a large upload, a refusal would look like a lost connection.
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
        deadline_s = self._deadline_s + shipment.size / BYTES_PER_S + shipment.linked / BLOCKS_PER_S
        left = MAX_ANSWER + _ANSWER_BYTES_PER_ROOT * len(shipment.roots)
        async with self._rpc.request("dag/import", options, deadline_s=deadline_s, upload=upload) as response:
            while piece := await response.content.read(_READ_BYTES):
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

    async def _call(
        self, command: str, options: Mapping[str, str], *, bound: int = MAX_ANSWER, deadline_s: float | None = None
    ) -> bytes:
        body = await self._rpc.call(command, options, deadline_s=deadline_s or self._deadline_s, bound=bound)
        if len(body) > bound:
            raise VerificationError(
                "the daemon's answer is too long", expected=f"at most {bound} bytes", where=self._rpc.where
            )
        return body


async def _last_chunk(response: ClientResponse) -> None:
    """Wait a moment for the end of an answer that is complete, so that its connection can be used again."""
    with suppress(asyncio.TimeoutError, ClientError, OSError):
        await asyncio.wait_for(response.content.read(1), _LAST_CHUNK_S)


def _syncs(spec: object) -> bool | None:
    """Return whether confirmed blocks survive a power cut, from the datastore's own description."""
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
