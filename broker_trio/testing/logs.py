"""What embedded programs log goes where a test's own logs go: to `logging`, and so to pytest.

    ---- Captured log call ----
    WARNING  broker_trio.namesrv  broker.lost why='connection closed' broker='broker-a' …

Only where the process has not configured structlog itself, and only while a cluster runs.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from structlog.types import EventDict


@contextmanager
def to_logging() -> Iterator[None]:
    """Send structlog's events to `logging.getLogger("broker_trio…")` inside the block."""
    if structlog.is_configured():
        yield
        return
    structlog.configure(
        processors=[
            _without_doors,
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=_logger,
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.reset_defaults()


def _without_doors(_logger: object, _level: str, event: EventDict) -> EventDict:
    """A simulated machine listens to everybody; a warning of that would help nobody."""
    if str(event.get("event", "")).endswith(".insecure"):
        raise structlog.DropEvent
    return event


def _logger(*names: str) -> logging.Logger:
    return logging.getLogger(".".join(("broker_trio", *names)))
