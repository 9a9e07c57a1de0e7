"""A logger whose records go through a handler."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workshop import handler_of, logging_to


@pytest.fixture
def log(home: Path) -> Iterator[logging.Logger]:
    """A logger whose records go to the subsystem `logs`; one record is logged, so that the short way is open."""
    with logging_to(home) as logger:
        logger.info("first")
        yield logger
        assert 0 == handler_of(logger)._recorder.failed
