"""Trace context in properties: carried with OpenTelemetry, absent without."""

import importlib

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from broker_trio.client.tracing import tracing_of
from broker_trio.testing import RocketMQ
from tests.unit.client.fake_net import FakeNet

PARENT = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
TRACEPARENT = f"00-{0xABC:032x}-{0xDEF:016x}-01"


async def test_a_span_travels_in_the_properties():
    """One that is open around the send, for single messages and for batches."""
    net = FakeNet()
    net.topic("t")
    async with net.client() as mq:
        with trace.use_span(NonRecordingSpan(PARENT)):
            await mq.send("t", b"x")
            await mq.send_oneway("t", b"x")
            await mq.send_batch("t", [b"y"])
        await mq.send("t", b"z")
    carried = [one[3].get("traceparent") for one in net.stored]
    assert carried == [TRACEPARENT, TRACEPARENT, TRACEPARENT, None]


async def test_tracing_can_be_switched_off():
    """Nothing is carried although a span is open."""
    net = FakeNet()
    net.topic("t")
    async with net.client(tracing=False) as mq:
        with trace.use_span(NonRecordingSpan(PARENT)):
            await mq.send("t", b"x")
    assert "traceparent" not in net.stored[0][3]


def test_a_consumer_continues_the_producers_trace():
    """Inside `processing` the current span is a child of the one that the message carries."""
    tracing = tracing_of("client", wanted=True)
    assert tracing is not None
    with tracing.processing("t", "id", {"traceparent": TRACEPARENT}, "g"):
        assert trace.get_current_span().get_span_context().trace_id == 0xABC
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_handler_runs_inside_the_trace_of_its_message(rocketmq: RocketMQ):
    """Also through an exception and a retry; outside of the block there is no span."""
    seen = []
    async with rocketmq.connect() as mq:
        with trace.use_span(NonRecordingSpan(PARENT)):
            await mq.send("orders", b"x")
        await mq.send("orders", b"y")
        async with mq.subscribe(
            "orders", group="shop", start="first", ordered=True, suspend_s=0.01
        ) as messages:
            for fails in (True, False, False):
                message = await anext(messages)
                async with message:
                    seen.append(trace.get_current_span().get_span_context().trace_id)
                    if fails:
                        raise KeyError("first")
                assert not trace.get_current_span().get_span_context().is_valid
    assert sorted(seen)[0] == 0
    assert set(seen) == {0xABC, 0}


def test_without_opentelemetry_there_is_none(monkeypatch: pytest.MonkeyPatch):
    """The package does not depend on it."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert tracing_of("client", wanted=True) is None
