"""Bugs that are put into a running broker on purpose, each of which a checker must find.

A checker that finds nothing proves nothing. Each plant breaks one promise in the way that real
brokers have broken it; the scenario that should notice is run until it does, 40 seeds at most.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from broker_trio.broker.app import BrokerApp
from broker_trio.broker.parts import Parts
from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, StoreFailed
from broker_trio.model.names import SCHEDULE_TOPIC
from broker_trio.namesrv.app import NameserverApp
from broker_trio.store.recovery import Recovery
from broker_trio.testing.checkers.verdict import Violation
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.scenarios.catalogue import run

SEEDS_MAX = 40


def parts_of(app: BrokerApp) -> Parts:
    assert app.parts is not None
    return app.parts


def caught(name: str, plant: Plant = sound) -> str:
    """The invariant that the first failing seed names."""
    for seed in range(SEEDS_MAX):
        try:
            run(name, seed, plant=plant)
        except Violation as violation:
            return violation.invariant
    raise AssertionError(f"{SEEDS_MAX} seeds of {name} did not notice")


def acknowledges_before_the_flush(app: BrokerApp) -> None:
    store = parts_of(app).store
    store.when_durable = lambda _end, done: done(True)


def shows_what_is_not_durable(app: BrokerApp) -> None:
    parts_of(app).store._sync = False


def drops_a_wake_up(app: BrokerApp) -> None:
    parts = parts_of(app)
    woken = parts.held.arrived
    seen = [0]

    def arrived(entries: list[Any]) -> None:
        seen[0] += 1
        if seen[0] % 5:
            woken(entries)

    parts.store.arrivals[parts.store.arrivals.index(woken)] = arrived


def at_each_tenth(app: BrokerApp, instead: Callable[[Any, Any], Any]) -> None:
    """Append every tenth message by `instead(append, draft)`."""
    store = parts_of(app).store
    append = store.append
    count = [0]

    def wrapped(draft: Any) -> Any:
        count[0] += 1
        return append(draft) if count[0] % 10 else instead(append, draft)

    store.append = wrapped


def stores_twice(app: BrokerApp) -> None:
    def twice(append: Any, draft: Any) -> Any:
        append(draft)
        return append(draft)

    at_each_tenth(app, twice)


def changes_a_byte(app: BrokerApp) -> None:
    def changed(append: Any, draft: Any) -> Any:
        return append(msgspec.structs.replace(draft, body=draft.body + b"!"))

    at_each_tenth(app, changed)


def refuses_what_it_stored(app: BrokerApp) -> None:
    def refused(append: Any, draft: Any) -> Any:
        append(draft)
        raise Refused(ResponseCode.SYSTEM_BUSY, "too late")

    at_each_tenth(app, refused)


def stores_into_another_queue(app: BrokerApp) -> None:
    def elsewhere(append: Any, draft: Any) -> Any:
        other = (draft.queue_id + 1) % 4
        return append(msgspec.structs.replace(draft, queue_id=other))

    at_each_tenth(app, elsewhere)


def tears_batches(app: BrokerApp) -> None:
    store = parts_of(app).store
    append_batch = store.append_batch

    def torn(draft: Any, items: Any) -> Any:
        other = msgspec.structs.replace(draft, queue_id=(draft.queue_id + 1) % 4)
        return append_batch(draft, items[:1]) + append_batch(other, items[1:])

    store.append_batch = torn


def forgets_keys(app: BrokerApp) -> None:
    index = parts_of(app).store.index
    put_all = index.put_all

    def forgetting(entries: list[Any]) -> None:
        put_all([entry._replace(properties=b"") for entry in entries])

    index.put_all = forgetting  # type: ignore[method-assign]


def skips_what_is_due(app: BrokerApp) -> None:
    parts = parts_of(app)
    deliver = parts.schedule._deliver_one
    count = [0]

    async def skipping(level: int, offset: int, unit: Any) -> float:
        count[0] += 1
        return 0.0 if count[0] % 20 == 0 else await deliver(level, offset, unit)

    parts.schedule._deliver_one = skipping  # type: ignore[method-assign]


class Fast:
    """A clock that is a second ahead."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def wall_ms(self) -> int:
        return int(self._clock.wall_ms()) + 1_000

    def monotonic(self) -> float:
        return float(self._clock.monotonic())


def delivers_early(app: BrokerApp) -> None:
    schedule = parts_of(app).schedule
    schedule._clock = Fast(schedule._clock)


def loses_retries(app: BrokerApp) -> None:
    store = parts_of(app).store
    append = store.append

    def wrapped(draft: Any) -> Any:
        if draft.topic == SCHEDULE_TOPIC and draft.reconsume_times:
            draft = msgspec.structs.replace(draft, topic="lost", queue_id=0)
        return append(draft)

    store.append = wrapped


def commits_too_far(app: BrokerApp) -> None:
    offsets = parts_of(app).offsets
    commit = offsets.commit

    def further(group: str, topic: str, queue_id: int, offset: int) -> bool:
        return commit(group, topic, queue_id, offset + 7)

    offsets.commit = further  # type: ignore[method-assign]


def swallows_a_failed_fsync(app: BrokerApp) -> None:
    flusher = parts_of(app).store._flusher
    sync = flusher._sync

    async def swallowing() -> None:
        try:
            await sync()
        except StoreFailed:
            parts_of(app).store.log.failure = None

    flusher._sync = swallowing  # type: ignore[method-assign]


def takes_everything(app: BrokerApp) -> None:
    log = parts_of(app).store.log
    config = log._config
    log._config = msgspec.structs.replace(config, unflushed_bytes_max=1 << 30)


@pytest.mark.parametrize(
    ("name", "plant", "invariants"),
    [
        ("power_loss", acknowledges_before_the_flush, {"I1"}),
        ("power_loss", shows_what_is_not_durable, {"I5"}),
        ("long_poll", drops_a_wake_up, {"I14"}),
        ("send_and_pull", stores_twice, {"I3"}),
        ("send_and_pull", changes_a_byte, {"I1", "I2"}),
        ("send_and_pull", refuses_what_it_stored, {"I19", "I20"}),
        ("send_and_pull", stores_into_another_queue, {"I1"}),
        ("send_and_pull", tears_batches, {"I1"}),
        ("send_and_pull", forgets_keys, {"I5"}),
        ("delays", skips_what_is_due, {"I1"}),
        ("delays", delivers_early, {"I12"}),
        ("retries", loses_retries, {"I4"}),
        ("kill9", commits_too_far, {"I7", "I19"}),
        ("fsync_error", swallows_a_failed_fsync, {"I21", "I1"}),
        ("overload", takes_everything, {"I17"}),
    ],
    ids=lambda value: getattr(value, "__name__", None) if callable(value) else None,
)
def test_planted_bug_is_caught(name: str, plant: Plant, invariants: set[str]) -> None:
    """By a checker of the promise that it breaks."""
    assert caught(name, plant) in invariants


@pytest.mark.slow
def test_tail_that_is_not_written_again_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """After kill −9 the tail is in the page cache only: a recovery that trusts it loses it with
    the power."""

    async def trusting(_self: Recovery, _plan: Any) -> list[Any]:
        return []

    monkeypatch.setattr(Recovery, "_write_again", trusting)
    assert caught("kill9") in {"I1", "I5", "I16"}


def test_broker_that_stays_in_the_routes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A nameserver that waits for the timeout although the connection has ended."""
    monkeypatch.setattr(NameserverApp, "_connection_closed", lambda _self, _session: None)
    assert caught("nameserver_loss") == "I19"
