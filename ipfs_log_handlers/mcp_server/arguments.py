"""Define the arguments that several tools share, each with the description that a model reads, and its bounds."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ipfs_log_handlers.mcp_server.limits import MAX_RECORDS

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Dataset

__all__ = [
    "Condition", "Contains", "Cursor", "DatasetName", "Fields", "Level", "Limit", "Loggers", "Origin", "Since", "Until",
    "Where", "chosen",
]  # fmt: skip

_Text = Annotated[str, Field(min_length=1, max_length=1000)]

DatasetName = Annotated[
    str | None,
    Field(description="Name of a dataset, from list_datasets. Leave it out for all datasets.", max_length=100),
]
Since = Annotated[
    str | None,
    Field(
        description="Records of this time and later: 10m, 2h, 3d (that long ago), today, yesterday, 2026-03-02, or "
        "2026-03-02T17:40:00Z. A time without an offset is in UTC.",
        max_length=100,
    ),
]
Until = Annotated[str | None, Field(description="Records before this time; written like `since`.", max_length=100)]
Level = Annotated[
    str | None,
    Field(description="This level and those above it: debug, info, warning, error or critical.", max_length=50),
]
Loggers = Annotated[
    list[_Text] | None,
    Field(
        description="Names of loggers; mcp.* stands for many, and !name leaves one out.",
        max_length=50,
    ),
]
Origin = Annotated[
    str | None,
    Field(description="Name of one log. Only if list_datasets shows logs of several homes.", max_length=200),
]
Contains = Annotated[
    list[_Text] | None,
    Field(description="Texts that event, message or exception must all contain.", max_length=20),
]
Fields = Annotated[
    list[_Text] | None,
    Field(
        description="Only these fields of each record, which saves space; user.name is a member of user.", max_length=50
    ),
]
Limit = Annotated[int, Field(description="Largest number of records.", ge=1, le=MAX_RECORDS)]
Cursor = Annotated[
    str | None,
    Field(description="`next_cursor` of the answer before; all other arguments must be the same.", max_length=100_000),
]


class Condition(BaseModel):
    """A condition on one field of a record."""

    model_config = ConfigDict(extra="forbid")

    field: Annotated[
        str, Field(description="Name of a field; user.name is a member of user.", min_length=1, max_length=200)
    ]
    op: Annotated[Literal["=", "!=", ">", ">=", "<", "<="], Field(description="How to compare.")] = "="
    value: Annotated[str | int | float | bool | None, Field(description="The value to compare with.")]


Where = Annotated[list[Condition] | None, Field(description="Conditions on fields; all must be met.", max_length=20)]


def chosen(
    dataset: Dataset,
    *,
    name: str | None = None,
    since: str | None = None,
    until: str | None = None,
    level: str | None = None,
    loggers: list[str] | None = None,
    origin: str | None = None,
    where: list[Condition] | None = None,
    contains: list[str] | None = None,
) -> Dataset:
    """Return the records that meet all conditions.

    Raises:
        ConfigurationError: a condition is malformed.
    """
    conditions: list[dict[str, Any]] = [{one.field: {one.op: one.value}} for one in where or ()]
    if origin is not None:
        conditions.append({"origin": {"=": origin}})
    return dataset.filter(
        subsystem=name,
        since=since,
        until=until,
        level=level,
        logger=loggers or None,
        where=conditions or None,
        contains=contains or None,
        timezone=dt.timezone.utc,
    )
