"""Define the tools: their names, arguments and descriptions. Each calls the module that answers it, in a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Final, Literal

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from ipfs_log_handlers.mcp_server import describing, log_reading, proving, sql, streaming
from ipfs_log_handlers.mcp_server.answers import TooLarge, answer_text
from ipfs_log_handlers.mcp_server.arguments import (
    Contains,
    Cursor,
    DatasetName,
    Fields,
    Level,
    Limit,
    Loggers,
    Origin,
    Since,
    Until,
    Where,
    chosen,
)
from ipfs_log_handlers.mcp_server.limits import MAX_RECORDS, MAX_WAIT_S, READ_S, VERIFY_S
from ipfs_log_handlers.mcp_server.log_reading import Tracked
from ipfs_log_handlers.mcp_server.pages import Order
from ipfs_log_handlers.mcp_server.reading import Readers, Reading, Refused

__all__ = ["Tools"]

_DEFAULT_RECORDS: Final = 50
"""Records of an answer if the client does not say how many."""
_SPARE_S: Final = 10.0
"""Seconds that `stream_logs` may take beside its wait."""

Cid = Annotated[str | None, Field(description="CID of the batch (its manifest).", max_length=200)]
Number = Annotated[int | None, Field(description="Number of the record in the batch, from 0.", ge=0)]
Seq = Annotated[int | None, Field(description="`seq` of the record.", ge=0)]
Pid = Annotated[int | None, Field(description="`pid` of the record: its process.", ge=0)]


class Tools:
    """The tools of one server.

    Args:
        readers: runs the calls.
    """

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._verified: dict[str, str] = {}
        """The outcome of the last verification of each log in this server."""

    def all(self, *, sql: bool) -> Sequence[Callable[..., Awaitable[str]]]:
        """Return the functions that are tools.

        Args:
            sql: whether `query_sql` is one of them.
        """
        always: Sequence[Callable[..., Awaitable[str]]] = (
            self.list_datasets, self.describe_dataset, self.get_logs, self.count_logs, self.stream_logs,
            self.get_record, self.track, self.verify,
        )  # fmt: skip
        return (*always, self.query_sql) if sql else always

    async def answer(
        self,
        work: Callable[[Reading], dict[str, Any]],
        *,
        seconds: float = READ_S,
        ctx: Context | None = None,
        wait: bool = False,
    ) -> str:
        """Return the answer of a function that reads, as one bounded text.

        Args:
            work: the function.
            seconds: how long it may take.
            ctx: tells the client once a second that the call goes on.
            wait: whether it mostly waits.

        Raises:
            ToolError: the call cannot be answered.
        """

        async def tell(passed: float, what: str) -> None:
            if ctx is not None:
                await ctx.report_progress(passed, seconds, what)

        try:
            members = await self._readers.read(work, seconds=seconds, tell=None if ctx is None else tell, wait=wait)
            return answer_text(members)
        except (Refused, TooLarge) as refusal:
            raise ToolError(str(refusal)) from None

    async def list_datasets(self) -> str:
        """List the datasets: name, logs with the CID of the newest batch, first and last time, records, bytes."""
        return await self.answer(lambda reading: describing.list_datasets(reading, self._verified))

    async def describe_dataset(
        self, dataset: Annotated[str, Field(description="Name of a dataset, from list_datasets.", max_length=100)]
    ) -> str:
        """Describe one dataset: its logs, fields and their types, usual levels and loggers, three sample records."""
        return await self.answer(lambda reading: describing.describe_dataset(reading, dataset, self._verified))

    async def get_logs(
        self,
        dataset: DatasetName = None,
        since: Since = None,
        until: Until = None,
        level: Level = None,
        logger: Loggers = None,
        origin: Origin = None,
        where: Where = None,
        contains: Contains = None,
        fields: Fields = None,
        order: Annotated[Order, Field(description="The record that comes first.")] = "newest",
        limit: Limit = _DEFAULT_RECORDS,
        cursor: Cursor = None,
    ) -> str:
        """Read records. Each batch is verified before its records are shown. Give `fields` to save space.

        If `next_cursor` is not null, there are more records: call again with it as `cursor`. Long texts are cut, with a
        mark. Count with count_logs first: counting is cheaper than reading.
        """
        return await self.answer(
            lambda reading: log_reading.get_logs(
                reading,
                chosen(
                    reading.shown, name=dataset, since=since, until=until, level=level, loggers=logger, origin=origin,
                    where=where, contains=contains,
                ),
                fields=fields or (),
                order=order,
                limit=limit,
                cursor=cursor,
            )
        )  # fmt: skip

    async def count_logs(
        self,
        dataset: DatasetName = None,
        since: Since = None,
        until: Until = None,
        level: Level = None,
        logger: Loggers = None,
        origin: Origin = None,
        where: Where = None,
        contains: Contains = None,
        step: Annotated[
            str | None, Field(description="Count over time, in spans such as 1m, 15m, 1h or 1d.", max_length=50)
        ] = None,
        by: Annotated[
            str | None, Field(description="Count by the values of this field, such as level.", max_length=200)
        ] = None,
    ) -> str:
        """Count records: all, over time (`step`), by a field (`by`), or both. Cheaper than reading them."""
        return await self.answer(
            lambda reading: log_reading.count_logs(
                reading,
                chosen(
                    reading.shown, name=dataset, since=since, until=until, level=level, loggers=logger, origin=origin,
                    where=where, contains=contains,
                ),
                step=step,
                by=by,
            )
        )  # fmt: skip

    async def stream_logs(
        self,
        ctx: Context,
        dataset: DatasetName = None,
        level: Level = None,
        logger: Loggers = None,
        origin: Origin = None,
        where: Where = None,
        contains: Contains = None,
        wait_s: Annotated[
            float, Field(description="Seconds to wait for the first new record.", ge=0, le=MAX_WAIT_S)
        ] = 10,
        limit: Limit = _DEFAULT_RECORDS,
        cursor: Annotated[
            str | None,
            Field(
                description="`next_cursor` of the answer before. Leave it out to begin now.",
                max_length=streaming.MAX_CURSOR,
            ),
        ] = None,
    ) -> str:
        """Return records as they are logged: those since `cursor`, or the first new ones within `wait_s` seconds.

        Call again and again with `next_cursor`; no record is lost between two calls, also if the server is started
        again. To see older records, too, call this with wait_s=0 first, then get_logs, then this with the cursor.
        """
        return await self.answer(
            lambda reading: streaming.stream_logs(
                reading,
                chosen(
                    reading.shown, name=dataset, level=level, loggers=logger, origin=origin, where=where,
                    contains=contains,
                ),
                cursor=cursor,
                wait_s=wait_s,
                limit=limit,
            ),
            seconds=wait_s + _SPARE_S,
            ctx=ctx,
            wait=True,
        )  # fmt: skip

    async def get_record(
        self,
        cid: Cid = None,
        number: Number = None,
        dataset: DatasetName = None,
        seq: Seq = None,
        pid: Pid = None,
        proof: Annotated[bool, Field(description="Also make the bundle that proves the record.")] = True,
    ) -> str:
        """Return one record and its proof: by `cid` and `number`, or by `dataset` and its `seq` (and `pid`).

        The proof is a bundle that another person checks with `ipfs-logs check`, without this server. A record that is
        in no batch yet, or has hidden values, has no proof here; the answer says so.
        """
        keys = self._readers.settings.keys
        return await self.answer(
            lambda reading: proving.get_record(
                reading, cid=cid, number=number, name=dataset, seq=seq, pid=pid, proof=proof, keys=keys
            )
        )

    async def track(
        self,
        kind: Annotated[Tracked, Field(description="The kind of thing.")],
        value: Annotated[str, Field(description="Its exact name.", min_length=1, max_length=1000)],
        dataset: DatasetName = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = _DEFAULT_RECORDS,
        cursor: Cursor = None,
    ) -> str:
        """Return the history of one file path, tool, user, trace, request or CID, oldest first."""
        return await self.answer(
            lambda reading: log_reading.track(
                reading,
                chosen(reading.shown, name=dataset, since=since, until=until),
                kind,
                value,
                limit=limit,
                cursor=cursor,
            )
        )

    async def verify(
        self,
        ctx: Context,
        dataset: DatasetName = None,
        depth: Annotated[
            Literal["records", "blocks"],
            Field(description="records: count each record again; blocks: only hash the blocks of payloads."),
        ] = "records",
        since: Since = None,
        sample: Annotated[
            int | None, Field(description="Check the payloads of so many batches of each log only.", ge=0, le=100_000)
        ] = None,
    ) -> str:
        """Verify signatures, chain and records, and say what was checked and what is wrong, log by log."""
        return await self.answer(
            lambda reading: proving.verify(
                reading, dataset, depth=depth, since=since, sample=sample, verified=self._verified
            ),
            seconds=VERIFY_S,
            ctx=ctx,
        )

    async def query_sql(
        self,
        query: Annotated[str, Field(description="One SELECT, in the SQL of DuckDB.", min_length=1, max_length=20_000)],
        since: Since = None,
        until: Until = None,
        limit: Annotated[int, Field(description="Largest number of rows.", ge=1, le=MAX_RECORDS)] = 100,
    ) -> str:
        """Answer one SELECT. Each dataset is a table with its name; logs_all has all records.

        Columns are time, subsystem, level, logger, event, the fields, exception, stack, pid, seq, and `fields` (JSON).
        Only ORDER BY gives an order. It may take 10 seconds. `since` and `until` choose what is read.
        """
        return await self.answer(
            lambda reading: sql.query_sql(reading, chosen(reading.shown, since=since, until=until), query, limit=limit),
            seconds=READ_S,
        )

    async def batch(self, cid: str) -> str:
        """Return the content of the resource of one batch."""
        return await self.answer(lambda reading: describing.batch_of(reading, cid))
