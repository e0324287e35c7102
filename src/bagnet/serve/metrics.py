"""What the service counts of itself, in Prometheus' words."""

from __future__ import annotations

import time
from typing import Any

from fastapi import Response

from ..missing import needs

_UNKNOWN = "other"  # paths that are no route: a client must not make labels


class Metrics:
    """Requests by route and status, how long they took, how many are inside, and the sizes of batches; and how to read them.

    An ASGI middleware counts (`counting`).
    """

    def __init__(self) -> None:
        client = needs("prometheus_client", "serve")
        self._client = client
        self._registry = client.CollectorRegistry()
        about: dict[str, Any] = {"registry": self._registry}
        self._requests = client.Counter("bagnet_requests", "Requests that were answered", ["route", "status"], **about)
        self._seconds = client.Histogram("bagnet_request_seconds", "Seconds until the answer", ["route"], **about)
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self._batches = client.Histogram("bagnet_batch_images", "Images that the network saw together", buckets=sizes, **about)
        self.inside = client.Gauge("bagnet_requests_inside", "Requests that wait or are worked on", **about)
        self.batch = self._batches.observe

    def text(self) -> tuple[bytes, str]:
        """All of it, and its content type."""
        return self._client.generate_latest(self._registry), self._client.CONTENT_TYPE_LATEST

    async def answer(self) -> Response:
        """Counters and histograms, as text."""
        content, kind = self.text()
        return Response(content, media_type=kind)

    def counting(self, app: Any) -> Any:
        """The ASGI application, counted."""

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            start, status = time.perf_counter(), 500

            async def sending(message: Any) -> None:
                nonlocal status
                status = message.get("status", status)
                await send(message)

            try:
                await app(scope, receive, sending)
            finally:
                route = getattr(scope.get("route"), "path", _UNKNOWN)
                self._requests.labels(route, status).inc()
                self._seconds.labels(route).observe(time.perf_counter() - start)

        return counted
