"""One view: `/orders/4711` places an order."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.urls import path

log = logging.getLogger("shop.orders")


def order(_: HttpRequest, number: int) -> HttpResponse:
    """Place an order."""
    log.info("order placed", extra={"number": number})
    return HttpResponse(f"placed {number}\n")


urlpatterns = [path("orders/<int:number>", order)]
