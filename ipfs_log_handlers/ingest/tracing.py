"""Add trace ids: a record that is logged inside an OpenTelemetry span gets `trace_id` and `span_id`.

This module does not import OpenTelemetry: a program that uses it has imported it already, and for other programs there
is only one look-up in `sys.modules`. Ids are in lower-case hex as W3C Trace Context writes them (32 and 16 digits).
"""

from __future__ import annotations

import sys
from typing import Any, Final

__all__ = ["LOADED", "OPENTELEMETRY", "with_trace"]

OPENTELEMETRY: Final = "opentelemetry.trace"
"""The module that knows the active span."""
LOADED: Final = sys.modules
"""All imported modules: call `with_trace` only if `OPENTELEMETRY in LOADED`."""


def with_trace(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the ids of their span; return the same dict if no span is active.

    A `trace_id` or `span_id` of the caller stays. `otelTraceID` and `otelSpanID`, which OpenTelemetry's logging
    instrumentation sets when the record is made, are used before the span that is active now, because after a
    `QueueHandler` another span is active. They are renamed; `"0"`, which means no span, is left out.

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
    others = dict(fields)
    trace, span = others.pop("otelTraceID"), others.pop("otelSpanID")
    return others if trace == "0" else {**others, "trace_id": trace, "span_id": span}
