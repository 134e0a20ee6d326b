"""Numbers of a server in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ServerMetrics:
    """Requests, latencies, batches, and refused requests of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "cnncli_requests", "Answered requests.", ("path", "method", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "cnncli_request_seconds", "Time until the answer.", ("path",), buckets=SECONDS, registry=self._registry
        )
        self.rejected = Counter(
            "cnncli_rejected", "Refused requests and images, by the code of the reason.", ("reason",),
            registry=self._registry,
        )  # fmt: skip
        self.images = Counter("cnncli_images", "Classified images.", ("answer",), registry=self._registry)
        self.batches = Histogram(
            "cnncli_batch_images", "Images that were classified together.", buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32, 64),
            registry=self._registry,
        )  # fmt: skip
        self.waiting = Gauge("cnncli_waiting_images", "Images without an answer.", registry=self._registry)

    def text(self) -> bytes:
        """Return all numbers."""
        return generate_latest(self._registry)
