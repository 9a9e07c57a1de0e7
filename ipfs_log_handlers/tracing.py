"""Trace ids: a record that is logged inside an OpenTelemetry span carries `trace_id` and `span_id`.

Nothing of OpenTelemetry is imported here. A program that uses it has imported it, and one that has not pays for one
look into `sys.modules`. Ids are in lower-case hex as W3C Trace Context writes them (32 and 16 digits).
"""

from __future__ import annotations

import sys
from typing import Any, Final

__all__ = ["LOADED", "OPENTELEMETRY", "with_trace"]

OPENTELEMETRY: Final = "opentelemetry.trace"
LOADED: Final = sys.modules
"""`OPENTELEMETRY in LOADED` tells whether `with_trace` is worth a call."""


def with_trace(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with the ids of the span they belong to; the very same dict where there is none.

    A `trace_id` or `span_id` among them is the caller's word and stays. `otelTraceID` and `otelSpanID`, which
    OpenTelemetry's logging instrumentation sets where the record is made, come before the span that is active here:
    behind a `QueueHandler` that is another one. They are renamed; `"0"`, which stands for none, is left out.

    Args:
        fields: by name; not changed.

    Never raises.
    """
    if "trace_id" in fields or "span_id" in fields:
        return fields
    try:
        if "otelTraceID" in fields and "otelSpanID" in fields:
            return _renamed(fields)
        context = LOADED[OPENTELEMETRY].get_current_span().get_span_context()
        if not context.is_valid:
            return fields
        return {**fields, "trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
    except Exception:  # noqa: BLE001 - half imported, or a foreign span's own code
        return fields


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    found = dict(fields)
    trace, span = found.pop("otelTraceID"), found.pop("otelSpanID")
    return found if trace == "0" else {**found, "trace_id": trace, "span_id": span}
