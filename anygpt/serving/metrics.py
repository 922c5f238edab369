"""What /metrics tells, in Prometheus's form."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
ROWS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The server's counters, in a registry of their own: several servers can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "anygpt"}
        self.requests = Counter("requests", "Requests that were answered.", ["route", "status"], **own)
        self.seconds = Histogram(
            "request_seconds", "From a request to the end of its answer.", ["route"], buckets=SECONDS, **own
        )
        self.first = Histogram(
            "first_token_seconds",
            "From an answer's place in the queue to its first token.",
            buckets=SECONDS,
            **own,
        )
        self.tokens = Counter("tokens", "Tokens read (prompt) and written (completion).", ["kind"], **own)
        self.media = Counter("media", "Media made.", ["modality"], **own)
        self.rows = Histogram("step_rows", "Answers in a step of the LLM.", buckets=ROWS, **own)
        self.batch = Histogram(
            "decoder_rows", "Media in a run of a decoder.", ["modality"], buckets=ROWS, **own
        )
        self.cancelled = Counter("cancelled", "Answers whose client left.", **own)
        self.waiting = Gauge("waiting", "Answers that wait for their turn.", **own)
        self.running = Gauge("running", "Answers being made.", **own)
