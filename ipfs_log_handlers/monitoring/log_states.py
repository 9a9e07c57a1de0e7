"""Tell how far each log of a home has come: what is sealed, what each store has confirmed, and what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.home.delivery_state import Confirmations
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import Log, logs_of, policy_of
from ipfs_log_handlers.monitoring.name_status import name_status

__all__ = ["LogState", "Step", "log_states"]

Step = Literal["spool", "sealed", "shipped", "published"]
"""How far a record has come: it is durable in the spool; it is in a signed batch; as many stores as configured have the
batch; the published home head leads to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """How far one log of a home has come, at the moment of reading."""

    subsystem: str
    """Its subsystem."""
    log: str
    """Its name."""
    newest: int
    """Number of its newest batch; -1 without one."""
    head: str | None
    """CID of its newest head block; `None` if the head cannot be read."""
    replicas: int
    """Number of stores that must confirm a batch before it is shipped."""
    ended: str | None
    """The reason why a keeper has ended the log; `None` for the current log, or if the reason is not known."""
    is_former: bool
    """Whether the log has ended."""
    published_through: int
    """Number of the newest batch to which the published home head leads; -1 without one."""
    stores: Mapping[str, int]
    """By address of a store or pin service: number of batches that it has confirmed."""
    problem: str | None = None
    """The problem of the head; `None` if there is none."""
    _confirmations: Confirmations = field(repr=False, compare=False)

    def step(self, index: int) -> Step:
        """Return how far the records of a batch have come; those of a batch that is not sealed yet are in the spool."""
        if index > self.newest:
            return "spool"
        if index <= self.published_through:
            return "published"
        return "shipped" if self._confirmations.has(index) else "sealed"

    def holders(self, index: int) -> Sequence[str]:
        """List the addresses of the stores and pin services that have confirmed a batch."""
        return [state.address for state in self._confirmations.states if state.has(index)]

    def as_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        names = ("subsystem", "log", "newest", "head", "replicas", "ended", "is_former", "published_through", "problem")
        stores = [{"store": address, "confirmed": count} for address, count in self.stores.items()]
        return {name: getattr(self, name) for name in names} | {"stores": stores}


def log_states(home: HomeDir) -> tuple[LogState, ...]:
    """Read the state of every log that the home has sealed, oldest first in each subsystem; no store is asked.

    Raises:
        OSError: the home cannot be read.
    """
    published: Mapping[str, int] = {}
    name = name_status(home)
    if name is not None:
        published = name.through
    states: list[LogState] = []
    for subsystem_dir in home.subsystem_dirs():
        replicas = policy_of(subsystem_dir).replicas
        states += [_of(log, replicas, published.get(log.name, -1)) for log in logs_of(subsystem_dir)]
    return tuple(states)


def _of(log: Log, replicas: int, published_through: int) -> LogState:
    confirmations = log.confirmations(replicas)
    head = None if log.sealed is None else log.sealed.cid.text
    if head is None and log.newest >= 0:
        with suppress(FormatError, OSError):
            head = log.batches.facts(log.newest).head_cid.text
    return LogState(
        subsystem=log.subsystem,
        log=log.name,
        newest=log.newest,
        head=head,
        replicas=replicas,
        ended=log.log_dir.ended(),
        is_former=log.log_dir.is_former,
        published_through=published_through,
        stores={state.address: len(state.confirmed(log.newest)) for state in confirmations.states},
        problem=log.head_problem,
        _confirmations=confirmations,
    )
