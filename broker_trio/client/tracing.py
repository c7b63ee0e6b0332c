"""W3C trace context in a message's properties, where OpenTelemetry is installed.

    producer   span "send TOPIC" ──▶ traceparent, tracestate, baggage as properties
    consumer   those properties ──▶ span "process TOPIC" as a child of the producer's

Without OpenTelemetry nothing is imported and nothing carried. Spans follow its conventions for
messaging; without a configured SDK a span that is already there is carried on, and where there is
none either, nobody could tell a span from no span: it is left out (10 µs a message).
"""

import importlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, final

SCOPE: Final = "broker_trio"
TRACEPARENT: Final = "traceparent"
NOTHING: Final[Mapping[str, str]] = {}


@final
class Tracing:
    """Spans around sends and handling; made by `tracing_of`."""

    def __init__(self, trace: Any, propagate: Any, context: Any, client_id: str) -> None:
        self._trace, self._propagate, self._client_id = trace, propagate, client_id
        self._context = context
        self._tracer = trace.get_tracer(SCOPE)

    def sending(
        self, topic: str, message_id: str | None, count: int = 1
    ) -> AbstractContextManager[Mapping[str, str]]:
        """A producer's span, current inside; yields the properties that carry it."""
        if self._unwatched():
            return nullcontext(NOTHING)
        return self._sending(topic, message_id, count)

    def processing(
        self, topic: str, message_id: str, properties: Mapping[str, str], group: str
    ) -> AbstractContextManager[None]:
        """A consumer's span, current inside, a child of the one that the message carries."""
        if TRACEPARENT not in properties and self._unwatched():
            return nullcontext()
        return self._processing(topic, message_id, properties, group)

    def _unwatched(self) -> bool:
        """No span around us, and nobody who would hear of a new one."""
        if self._context.get_current():
            return False
        return isinstance(self._trace.get_tracer_provider(), self._trace.ProxyTracerProvider)

    @contextmanager
    def _sending(self, topic: str, message_id: str | None, count: int) -> Iterator[dict[str, str]]:
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
    def _processing(
        self, topic: str, message_id: str, properties: Mapping[str, str], group: str
    ) -> Iterator[None]:
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
            "messaging.client.id": self._client_id,
        }


def tracing_of(client_id: str, *, wanted: bool) -> Tracing | None:
    """None where it is not wanted or OpenTelemetry is not installed."""
    if not wanted:
        return None
    try:
        trace = importlib.import_module("opentelemetry.trace")
        propagate = importlib.import_module("opentelemetry.propagate")
        context = importlib.import_module("opentelemetry.context")
    except ImportError:
        return None
    return Tracing(trace, propagate, context, client_id)
