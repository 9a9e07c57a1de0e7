"""Speak the part of Loki's HTTP API that Grafana's data source and logcli need, over the records of a dataset.

    from aiohttp import web
    from ipfs_log_handlers.api import open_home
    from ipfs_log_handlers.loki import routes

    application = web.Application()
    application.router.add_routes(routes(lambda: open_home().dataset()))

The room has a grammar of LogQL (`tokens.py`, `parser.py`, `pipeline_parser.py`, `syntax.py`), an evaluation
(`streams.py`, `pipeline.py`, `windows.py`, `vectors.py`, `evaluation.py`), and the API around it (`requests.py`,
`answers.py`, `queries.py`, `catalogue.py`, `tailing.py`, `handlers.py`). A query that is not supported is refused with
status 400 and the reason, and never answered with a wrong number. docs/loki.md says what is supported.
"""

from __future__ import annotations

from ipfs_log_handlers.loki.handlers import routes
from ipfs_log_handlers.loki.limits import Limits

__all__ = ["Limits", "routes"]
