"""Use a remote pinning service through the Kubo of a store: the commands `pin/remote/…`.

Kubo has the endpoint and the key of the service (`ipfs pin remote service add`), so neither is ever in a home or in the
configuration of a program. It also tells the service its own addresses, from which the blocks are fetched. The service
speaks the Pinning Service API 1.0 (https://ipfs.github.io/pinning-services-api-spec/): each request makes a new pin
object, so the service is asked before each request whether it has one.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from ipfs_log_handlers.errors import FormatError, StoreDenied, StoreError, StoreUnavailable
from ipfs_log_handlers.format.cid import RAW, Cid
from ipfs_log_handlers.stores.address import normalise_token
from ipfs_log_handlers.stores.kubo_answers import json_object
from ipfs_log_handlers.stores.kubo_rpc import MAX_ANSWER, KuboRpc, Options
from ipfs_log_handlers.stores.pin_address import REMOTE
from ipfs_log_handlers.stores.pins import PinState, PinStatus, Stores

__all__ = ["DEADLINE_S", "RemotePins"]

DEADLINE_S: Final = 30.0
"""Seconds that Kubo gets for a call, in which it must hear from the service."""
_MAX_CIDS: Final = 10
"""Largest number of CIDs that a service takes in one query (Pinning Service API, parameter `cid`)."""
_STATES: Final[Mapping[str, PinState]] = {
    "pinned": "pinned",
    "pinning": "waiting",
    "queued": "waiting",
    "failed": "failed",
}
"""The state of a pin by the status of a pin object."""
_BEST_FIRST: Final[tuple[PinState, ...]] = ("pinned", "waiting", "failed", "absent")
"""The states, that which counts first: a service may have several pin objects of one CID."""
_REFUSED: Final = re.compile(r"\b(401|403)\b|UNAUTHORIZED|FORBIDDEN", re.IGNORECASE)
"""Words of Kubo after a service has refused the key."""
_ANSWER = TypeVar("_ANSWER")


class RemotePins:
    """Keep the contract of a pin service over `pin/remote/…` of the first store that answers.

    Args:
        address: `remote:SERVICE`, normalised.
        name: the name of the service in a home.
        stores: returns the stores.
        deadline_s: seconds that Kubo gets for a call.
    """

    max_cids: int = _MAX_CIDS

    def __init__(self, address: str, *, name: str, stores: Stores, deadline_s: float = DEADLINE_S) -> None:
        self.address = address
        self.name = name
        self._service = address.removeprefix(REMOTE)
        self._stores = stores
        self._deadline_s = deadline_s
        self._rpcs: dict[tuple[str, str | None], KuboRpc] = {}
        """The RPC of each store, by address and token."""
        self._answered: tuple[str, str | None] | None = None
        """The store that answered last; it is asked first."""

    def __repr__(self) -> str:
        return f"RemotePins({self.address!r})"

    async def statuses(self, cids: Sequence[Cid]) -> Mapping[Cid, PinStatus]:
        """List the pin objects of the CIDs, whatever their status; the best one of each CID counts."""
        options = {"cid": [cid.text for cid in cids], "status": [*_STATES]}
        found: dict[Cid, set[PinState]] = {cid: set() for cid in cids}
        for answer in await self._listed(options):
            with suppress(FormatError):
                cid, state = Cid.parse(str(answer.get("Cid"))), _STATES.get(str(answer.get("Status")))
                if state is not None and cid in found:
                    found[cid].add(state)
        return {cid: self._best(states) for cid, states in found.items()}

    def _best(self, states: set[PinState]) -> PinStatus:
        best: PinState = next((state for state in _BEST_FIRST if state in states), "absent")
        return PinStatus(best, f"{self._service} could not pin it" if best == "failed" else "")

    async def request(self, cid: Cid, name: str, *, again: bool = False) -> None:
        """Add a pin object in the background; a failed one is removed before."""
        if again:
            await self._call("pin/remote/rm", {"cid": cid.text, "status": "failed", "force": "true"})
        await self._call("pin/remote/add", {"arg": cid.text, "name": name, "background": "true"})

    async def remove(self, cids: Sequence[Cid]) -> None:
        """Remove every pin object of the CIDs."""
        for cid in cids:
            await self._call("pin/remote/rm", {"cid": cid.text, "status": [*_STATES], "force": "true"})

    async def probe(self) -> str:
        """Let Kubo list the pins of the empty block: the service must answer, and accept the key."""
        empty = Cid.of(RAW, b"")
        await self._listed({"cid": [empty.text], "status": ["pinned"]})
        where = self._answered[0] if self._answered is not None else ""
        return f"remote pinning service {self._service} through {where}"

    async def close(self) -> None:
        """Close the connections of the running loop."""
        for rpc in self._rpcs.values():
            await rpc.close()

    async def _listed(self, options: Options) -> list[dict[str, Any]]:
        body = await self._call("pin/remote/ls", options)
        if len(body) > MAX_ANSWER:
            raise StoreUnavailable("the list of pins is too long", where=self.address)
        return [json_object(line, self.address) for line in body.splitlines() if line.strip()]

    async def _call(self, command: str, options: Options) -> bytes:
        """Make a call through the first store that answers, and translate what Kubo says about the service."""

        async def call(rpc: KuboRpc) -> bytes:
            if not rpc.usable:
                await rpc.look()
                rpc.connected = True
            return await rpc.call(command, {**options, "service": self._service}, deadline_s=self._deadline_s)

        return await self._through_a_store(call)

    async def _through_a_store(self, call: Callable[[KuboRpc], Awaitable[_ANSWER]]) -> _ANSWER:
        stores = list(self._stores())
        if not stores:
            raise StoreDenied(
                "no store is configured, so no Kubo knows this service", where=self.address, hint="Set `kubo`, too."
            )
        errors: list[StoreError] = []
        for place in sorted(stores, key=lambda place: place != self._answered):
            try:
                answer = await call(self._rpc(*place))
            except StoreError as error:
                errors.append(self._translated(error))
                continue
            self._answered = place
            return answer
        raise min(errors, key=_is_about_the_store)

    def _rpc(self, address: str, token: str | None) -> KuboRpc:
        key = (address, token)
        if key not in self._rpcs:
            self._rpcs[key] = KuboRpc(address, normalise_token(token))
        return self._rpcs[key]

    def _translated(self, error: StoreError) -> StoreError:
        """Return the error of the service that an error of Kubo stands for; others stay as they are."""
        said = str(error.found or "")
        if "service not known" in said:
            return StoreDenied(
                f"the Kubo at {error.where} knows no service {self._service}",
                where=self.address,
                hint=f"Run there: ipfs pin remote service add {self._service} ENDPOINT KEY",
            )
        if isinstance(error, StoreDenied) or error.kind in ("unreachable", "timeout"):
            error.message = f"{error.message}, through {error.where}"
            error.where = self.address
            return error
        if _REFUSED.search(said):
            return StoreDenied(
                "the service refuses the key",
                found=said,
                where=self.address,
                hint=f"Give Kubo the right key: ipfs pin remote service rm {self._service}, then add",
            )
        ours = StoreUnavailable("the service did not do it", found=said or error.message, where=self.address)
        ours.retry_after = getattr(error, "retry_after", None)
        return ours


def _is_about_the_store(error: StoreError) -> bool:
    """Return whether an error tells of a store that did not answer, and nothing of the service."""
    return error.kind in ("unreachable", "timeout")
