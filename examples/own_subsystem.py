"""Register a subsystem of your own, with a checked event and with metadata for each batch.

In a dictConfig, the subsystem can be given as a mapping: `"subsystem": {"name": "billing", "type": "bills", …}`.
The home comes from IPFS_LOGS_HOME, or is the program's own directory under the user's state directory.
"""

from __future__ import annotations

import logging
import logging.config
from typing import Annotated, Literal

from ipfs_log_handlers import EventError, Subsystem, register
from ipfs_log_handlers.subsystems.events import Events, Unit
from ipfs_log_handlers.subsystems.rules import count, distinct

EVENTS = Events()


@EVENTS.define("billing.paid")
def paid(*, invoice: str, amount: Annotated[float, Unit("EUR")], method: Literal["card", "cash"] = "card") -> None:
    """An invoice was paid."""


META = {"paid_count": count(), "methods": distinct("method")}
register(Subsystem(name="billing", type="bills", loggers=("shop.billing",), events=EVENTS, meta=META))

LOGGING = {
    "version": 1,
    "handlers": {"all": {"class": "ipfs_log_handlers.IPFSHandler"}},
    "root": {"handlers": ["all"], "level": "INFO"},
}


def main() -> None:
    """Log two payments; the third one has a wrong field, and the call that makes it raises EventError."""
    logging.config.dictConfig(LOGGING)
    log = logging.getLogger("shop.billing")
    log.info("paid", extra=paid(invoice="A-17", amount=12.5))
    log.info("paid", extra=paid(invoice="A-18", amount=7, method="cash"))
    try:
        log.info("paid", extra=paid(invoice="A-19", amount=-1, method="cheque"))  # type: ignore[arg-type]
    except EventError as error:
        print(error)
    logging.shutdown()
    print("`ipfs-logs ls billing -o json` shows the batch and its `meta`, `ipfs-logs cat billing` the two records.")


if __name__ == "__main__":
    main()
