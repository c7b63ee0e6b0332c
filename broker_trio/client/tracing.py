"""W3C trace context in a message's properties, where OpenTelemetry is installed.

    producer   span "send TOPIC" ──▶ traceparent, tracestate, baggage as properties
    consumer   those properties ──▶ span "process TOPIC" as a child of the producer's

Without OpenTelemetry nothing is imported and nothing carried. Spans follow its conventions for
messaging; without a configured SDK a span that is already there is carried on.
"""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, final

SCOPE: Final = "broker_trio"


@final
class Tracing:
    """Spans around sends and handling; made by `tracing_of`."""

    def __init__(self, trace: Any, propagate: Any, group: str) -> None:
        self._trace, self._propagate, self._group = trace, propagate, group
        self._tracer = trace.get_tracer(SCOPE)

    @contextmanager
    def sending(
        self, topic: str, message_id: str | None, count: int = 1
    ) -> Iterator[dict[str, str]]:
        """A producer's span, current inside; yields the properties that carry it."""
        attributes: dict[str, str | int] = {
            **self._attributes("send", topic),
            "messaging.batch.message_count": count,
        }
        if message_id is not None:
            attributes["messaging.message.id"] = message_id
        with self._tracer.start_as_current_span(
            f"send {topic}", kind=self._trace.SpanKind.PRODUCER, attributes=attributes
        ):
            carrier: dict[str, str] = {}
            self._propagate.inject(carrier)
            yield carrier

    @contextmanager
    def processing(
        self, topic: str, message_id: str, properties: Mapping[str, str], group: str
    ) -> Iterator[None]:
        """A consumer's span, current inside, a child of the one that the message carries."""
        attributes = {
            **self._attributes("process", topic),
            "messaging.consumer.group.name": group,
            "messaging.message.id": message_id,
        }
        with self._tracer.start_as_current_span(
            f"process {topic}",
            context=self._propagate.extract(dict(properties)),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=attributes,
        ):
            yield

    def _attributes(self, operation: str, topic: str) -> dict[str, str]:
        return {
            "messaging.system": "rocketmq",
            "messaging.operation.name": operation,
            "messaging.destination.name": topic,
            "messaging.client.id": self._group,
        }


def tracing_of(group: str, *, wanted: bool) -> Tracing | None:
    """None where it is not wanted or OpenTelemetry is not installed."""
    if not wanted:
        return None
    try:
        trace = importlib.import_module("opentelemetry.trace")
        propagate = importlib.import_module("opentelemetry.propagate")
    except ImportError:
        return None
    return Tracing(trace, propagate, group)
