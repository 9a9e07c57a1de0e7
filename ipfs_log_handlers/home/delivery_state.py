"""Read and write delivery states: the batches of a log that a store or a pin service has confirmed, and its last error.

A delivery state is written after the store's answer and without a sync: if it is lost, the same bytes are uploaded
again, or asked for again, which is harmless. It never names a batch after the `head`, because only batches in the head
are shipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

from ipfs_log_handlers.errors import FormatError, StoreErrorKind
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.stores.pin_address import is_pin_service

__all__ = ["MAX_BYTES", "Aside", "Confirmations", "DeliveryState", "LastError", "load", "load_all", "store"]

_VERSION: Final = 1
"""Version of this file; no other version is read."""
_KIND_ON_DISK: Final[dict[str, str]] = {"unreachable": "refused", "timeout": "silent"}
"""Kinds of errors that have another name in the file."""
_KIND_IN_CODE: Final = {on_disk: kind for kind, on_disk in _KIND_ON_DISK.items()}
_MAX_LISTED: Final = 1_000_000
"""Largest number of batches that the file of a store lists one by one: some 8 MB of numbers."""
MAX_BYTES: Final = 16 << 20
"""Largest number of bytes of the file of one store: one line, with some 100 bytes for a batch that is set aside."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A batch that is not sent to a store again: the store refused it as bad twice, or it is damaged in the home."""

    index: int
    """Its number."""
    reason: str
    """The reason, in the words of the store or of the check that found the damage."""


@dataclass(frozen=True, slots=True)
class LastError:
    """The last error of a store."""

    kind: StoreErrorKind
    """The reason, in one word."""
    message: str
    """The reason, in words."""
    at: float
    """Time of the error, seconds since 1970."""
    next_retry: float
    """Time of the next try, seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryState:
    """The batches of one log that one store, or one pin service, has confirmed."""

    log: str
    """The log."""
    address: str
    """The store's address, without credentials."""
    confirmed_through: int = -1
    """All batches up to this one are confirmed or set aside."""
    confirmed_after: tuple[int, ...] = ()
    """Confirmed batches above `confirmed_through`, in order."""
    aside: tuple[Aside, ...] = ()
    """Batches set aside."""
    head: str | None = None
    """CID of the head block that is pinned there."""
    last_error: LastError | None = None
    """The last error of the store; `None` after a success."""
    lost: bool = False
    """Whether the store has lost batches that it had confirmed, and not all batches were checked since then."""

    def __post_init__(self) -> None:
        indexes = (self.confirmed_through, *self.confirmed_after, *(batch.index for batch in self.aside))
        if not all(type(index) is int and index >= -1 for index in indexes):
            raise FormatError("a batch number in a delivery state is not a number", found=repr(indexes)[:200])
        texts = (self.log, self.address, self.head or "", *(batch.reason for batch in self.aside))
        if not all(isinstance(text, str) for text in texts):
            raise FormatError("names and reasons in a delivery state are text", found=repr(texts)[:200])
        error = self.last_error
        if error is not None and not isinstance(error.at + error.next_retry, (int, float)):
            raise FormatError("the times of the last error are numbers", found=repr(error)[:200])

    @property
    def is_of_pin_service(self) -> bool:
        """Whether it is the state of a pin service: it keeps a copy, but no block can be read from it."""
        return is_pin_service(self.address)

    def has(self, index: int) -> bool:
        """Return whether the store has confirmed a batch."""
        if index > self.confirmed_through:
            return index in self.confirmed_after
        return all(aside.index != index for aside in self.aside)

    def confirmed(self, newest: int) -> list[int]:
        """List the batches up to `newest` that the store has confirmed, in order."""
        numbers = {*range(min(self.confirmed_through, newest) + 1), *self.confirmed_after}
        return sorted(index for index in numbers - {aside.index for aside in self.aside} if index <= newest)

    def settled(self, index: int) -> bool:
        """Return whether a batch is done: confirmed or set aside."""
        return (
            index <= self.confirmed_through
            or index in self.confirmed_after
            or any(aside.index == index for aside in self.aside)
        )

    def missing(self, newest: int) -> Iterator[int]:
        """Yield the batches up to `newest` that must still be shipped, in order."""
        settled = self._settled_after()
        return (index for index in range(self.confirmed_through + 1, newest + 1) if index not in settled)

    def lacks(self, newest: int) -> bool:
        """Return whether a batch up to `newest` must still be shipped."""
        return next(self.missing(newest), None) is not None

    def count_missing(self, newest: int) -> int:
        """Count the batches up to `newest` that must still be shipped."""
        settled = sum(self.confirmed_through < index <= newest for index in self._settled_after())
        return max(0, newest - self.confirmed_through) - settled

    def _settled_after(self) -> set[int]:
        """Return the batches above `confirmed_through` that are confirmed or set aside."""
        return {*self.confirmed_after, *(aside.index for aside in self.aside)}

    def confirm(self, indexes: Iterable[int]) -> DeliveryState:
        """Return the delivery state after the store has confirmed these batches."""
        return self._moved(set(self.confirmed_after) | set(indexes), self.aside)

    def set_aside(self, index: int, reason: str) -> DeliveryState:
        """Return the delivery state after the store has finally rejected a batch."""
        return self._moved(set(self.confirmed_after), (*self.aside, Aside(index, reason)))

    def retried(self) -> DeliveryState:
        """Return the delivery state with no batch set aside: these batches will be shipped again.

        If very many batches were confirmed after the first of them, these are shipped again, too: this is harmless,
        and a list of them would be too long for the file.
        """
        again = {aside.index for aside in self.aside}
        confirmed_through = min([self.confirmed_through, *(index - 1 for index in again)])
        after = range(confirmed_through + 1, self.confirmed_through + 1)
        confirmed = set(self.confirmed_after) | (set(after[:_MAX_LISTED]) - again)
        return replace(self, confirmed_through=confirmed_through, confirmed_after=(), aside=()).confirm(confirmed)

    def forget(self, indexes: Iterable[int]) -> DeliveryState:
        """Return the delivery state without the confirmation of these batches: they will be shipped again.

        If very many batches were confirmed after the first of them, these are shipped again, too, as in `retried`.
        """
        lost = {index for index in indexes if self.has(index)}
        if not lost:
            return self
        through = min(self.confirmed_through, min(lost) - 1)
        after = range(through + 1, self.confirmed_through + 1)
        kept = {*self.confirmed_after, *after[:_MAX_LISTED]} - lost
        kept -= {aside.index for aside in self.aside}
        return replace(self, confirmed_through=through, confirmed_after=()).confirm(kept)

    def _moved(self, confirmed_after: set[int], aside: tuple[Aside, ...]) -> DeliveryState:
        confirmed_through = self.confirmed_through
        settled = confirmed_after | {batch.index for batch in aside}
        while confirmed_through + 1 in settled:
            confirmed_through += 1
        return replace(
            self,
            confirmed_through=confirmed_through,
            confirmed_after=tuple(sorted(i for i in confirmed_after if i > confirmed_through)),
            aside=aside,
        )

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        members: dict[str, Any] = {
            "v": _VERSION,
            "log": self.log,
            "address": self.address,
            "upto": self.confirmed_through,
        }
        members["beyond"] = list(self.confirmed_after)
        members["aside"] = [[batch.index, batch.reason] for batch in self.aside]
        members["head"] = self.head
        error = self.last_error
        members["trouble"] = error and [
            _KIND_ON_DISK.get(error.kind, error.kind),
            error.message,
            error.at,
            error.next_retry,
        ]
        if self.lost:
            members["lost"] = True
        return line.record(json.dumps(members, separators=(",", ":")).encode())

    @classmethod
    def decode(cls, data: bytes) -> DeliveryState:
        """Parse the content of the file.

        Raises:
            FormatError: it is damaged or of another version.
        """
        try:
            members = json.loads(line.decode(data.removesuffix(b"\n")).json)
            if members.pop("v") != _VERSION:
                raise FormatError("a delivery state of another version")
            confirmed_through, confirmed_after = members.pop("upto"), tuple(members.pop("beyond"))
            members["aside"] = tuple(Aside(*entry) for entry in members["aside"])
            last_error = members.pop("trouble")
            members["last_error"] = last_error and _last_error(*last_error)
            members["lost"] = members.get("lost") is True
            return cls(confirmed_through=confirmed_through, confirmed_after=confirmed_after, **members)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError("not a delivery state", found=repr(data[:80])) from error


@dataclass(frozen=True, slots=True)
class Confirmations:
    """The confirmations of all stores and pin services for one log, and the only rule for when a batch is shipped.

    A pin service counts as a store does: `replicas` is the number of copies, wherever they are.

    `has` says whether a batch is shipped, and `settled` whether it is done. The other methods ask these two only for
    the few batches that a delivery state names, so the work does not grow with the length of the log. They use one
    fact: up to `settled_through` every batch is settled, and after it only batches that a state names can be settled.
    """

    states: Sequence[DeliveryState]
    """The delivery state of each store and pin service that counts."""
    replicas: int
    """Number of them that must confirm a batch before it is shipped."""

    def of_stores(self, replicas: int) -> Confirmations:
        """Return the confirmations of the stores alone.

        Args:
            replicas: number of stores that must confirm a batch.
        """
        return Confirmations([state for state in self.states if not state.is_of_pin_service], replicas)

    def has(self, index: int) -> bool:
        """Return whether a batch is shipped: `replicas` stores have confirmed it."""
        return sum(state.has(index) for state in self.states) >= self.replicas

    def settled(self, index: int) -> bool:
        """Return whether a batch is done: `replicas` stores have confirmed it or set it aside."""
        return sum(state.settled(index) for state in self.states) >= self.replicas

    def missing(self, newest: int) -> Iterator[int]:
        """Yield the batches up to `newest` that are not shipped, in order."""
        yield from sorted(self._doubtful(newest))
        shipped = {index for index in self._named_after() if self.has(index)}
        yield from (index for index in range(self.settled_through + 1, newest + 1) if index not in shipped)

    def count_missing(self, newest: int) -> int:
        """Count the batches up to `newest` that are not shipped, without a loop over them."""
        shipped = sum(index <= newest and self.has(index) for index in self._named_after())
        return len(self._doubtful(newest)) + max(0, newest - self.settled_through - shipped)

    def shipped_after(self) -> list[int]:
        """List the batches above `settled_through` that are shipped."""
        return sorted(index for index in self._named_after() if self.has(index))

    def unsettled(self, newest: int) -> Iterator[int]:
        """Yield the batches up to `newest` that must still be shipped to a store, in order."""
        settled = set(self.settled_after())
        return (index for index in range(self.settled_through + 1, newest + 1) if index not in settled)

    def settled_after(self) -> list[int]:
        """List the batches above `settled_through` that are done."""
        return sorted(index for index in self._named_after() if self.settled(index))

    def holders(self, index: int) -> list[str]:
        """List the addresses of the stores that have confirmed a batch."""
        return [state.address for state in self.states if state.has(index) and not state.is_of_pin_service]

    @property
    def set_aside(self) -> frozenset[int]:
        """The batches that a store has refused as bad, and that are not shipped."""
        return frozenset(index for index in self._named_bad() if not self.has(index))

    def _named_bad(self) -> set[int]:
        return {aside.index for state in self.states for aside in state.aside}

    def _doubtful(self, newest: int) -> list[int]:
        """List the batches up to `settled_through` that are not shipped, because a store has set them aside."""
        return [
            index for index in self._named_bad() if index <= min(self.settled_through, newest) and not self.has(index)
        ]

    def _named_after(self) -> set[int]:
        """Return the batches above `settled_through` that a delivery state names; no others there can be settled."""
        named = self._named_bad().union(*(state.confirmed_after for state in self.states))
        return {index for index in named if index > self.settled_through}

    @property
    def settled_through(self) -> int:
        """Number of the batch up to which at least `replicas` stores have confirmed or set aside every batch."""
        reached = sorted((state.confirmed_through for state in self.states), reverse=True)
        return reached[self.replicas - 1] if len(reached) >= self.replicas else -1


def _last_error(kind: str, *rest: Any) -> LastError:
    """Return the error with this kind in the file; a kind that is not known counts as `unavailable`."""
    kind = _KIND_IN_CODE.get(kind, kind)
    return LastError(kind if kind in get_args(StoreErrorKind) else "unavailable", *rest)  # type: ignore[arg-type]


def load(directory: Path, store_name: str, log: str, address: str) -> DeliveryState:
    """Read the delivery state of a store; return a new one if it is missing, damaged, a link, or of another log.

    Raises:
        OSError: it cannot be read.
    """
    try:
        state = DeliveryState.decode(disk.read(directory / store_name, MAX_BYTES))
    except (FormatError, FileNotFoundError, disk.WrongFileError):
        state = None
    return state if state is not None and state.log == log else DeliveryState(log=log, address=address)


def load_all(directory: Path) -> dict[str, DeliveryState]:
    """Read every delivery state that can be read, by store name."""
    states: dict[str, DeliveryState] = {}
    for name in disk.names(directory):
        if name.endswith(".tmp"):
            continue
        try:
            states[name] = DeliveryState.decode(disk.read(directory / name, MAX_BYTES))
        except (FormatError, OSError):
            continue
    return states


def store(directory: Path, store_name: str, state: DeliveryState) -> None:
    """Replace the delivery state of a store."""
    disk.ensure_directory(directory)
    disk.replace(directory / store_name, state.encode(), sync=False)
