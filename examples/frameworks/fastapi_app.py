"""FastAPI under uvicorn: uvicorn's own lines, the access log and the application's go to one signed log.

IPFS_LOGS_HOME=/var/lib/shop/logs uvicorn fastapi_app:app
IPFS_LOGS_HOME=/var/lib/shop/logs python fastapi_app.py 8000
uvicorn fastapi_app:app --log-config logging.yaml --workers 2
uvicorn fastapi_app:app --log-config logging.json
"""

from __future__ import annotations

import asyncio
import logging
import logging.config
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line"},
        "ipfs": {"class": "ipfs_log_handlers.IPFSHandler", "subsystem": "logs"},
    },
    "loggers": {
        "uvicorn": {"level": "INFO", "propagate": True},
        "uvicorn.access": {"level": "INFO", "propagate": True},
    },
    "root": {"handlers": ["console", "ipfs"], "level": "INFO"},
}
logging.config.dictConfig(LOGGING)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Flush at the end: uvicorn dies of the SIGTERM that stops it, so Python's own exit does not."""
    yield
    await asyncio.to_thread(logging.shutdown)


app = FastAPI(lifespan=lifespan)
log = logging.getLogger("shop")


@app.post("/orders/{number}")
async def order(number: int) -> dict[str, int]:
    """Place an order."""
    log.info("order placed", extra={"number": number})
    return {"number": number}


if __name__ == "__main__":
    import sys

    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None)
