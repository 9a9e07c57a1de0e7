"""A logger whose records go through a handler."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.logging_home import handler_of, logging_to


@pytest.fixture
def log(home: Path) -> Iterator[logging.Logger]:
    """Make a logger for the subsystem `logs`, and log one record, so that the fast path is used from then on."""
    with logging_to(home) as logger:
        logger.info("first")
        yield logger
        assert 0 == handler_of(logger)._recorder.failed
