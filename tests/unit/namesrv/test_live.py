"""The live table: silence and connections."""

from broker_trio.model.topic import DataVersion
from broker_trio.namesrv.live import HEARTBEAT_TIMEOUT_S_MAX, LiveBroker, LiveBrokers


def live(addr: str = "a:1", session: int = 1, timeout_s: float = 10.0) -> LiveBroker:
    return LiveBroker("c", "b", addr, 0, "", DataVersion(), session, timeout_s, 0.0)


def test_expired_are_sorted_and_exact() -> None:
    """Who was silent for longer than its own timeout is expired, in the order of addresses."""
    table = LiveBrokers()
    for addr, timeout_s in (("b:1", 10.0), ("a:1", 10.0), ("c:1", 20.0)):
        table.put(live(addr, timeout_s=timeout_s))
    assert table.expired(10.0) == []
    assert [broker.broker_addr for broker in table.expired(10.1)] == ["a:1", "b:1"]


def test_registration_over_another_session_moves_the_address() -> None:
    """An address belongs to the session of its last registration only."""
    table = LiveBrokers()
    table.put(live(session=1))
    table.put(live(session=2))
    assert (len(table), table.of_session(1)) == (1, [])
    assert [broker.broker_addr for broker in table.of_session(2)] == ["a:1"]


def test_dropped_address_leaves_its_session() -> None:
    """Nothing remains of a dropped address, and dropping it twice is harmless."""
    table = LiveBrokers()
    table.put(live())
    assert table.drop("c", "a:1") is not None
    assert table.drop("c", "a:1") is None
    assert (len(table), table.of_session(1), table.get("c", "a:1")) == (0, [], None)


def test_refresh_of_an_unknown_address_is_false() -> None:
    """A heartbeat of somebody who never registered makes nobody alive."""
    table = LiveBrokers()
    assert table.refresh("c", "a:1", 5.0) is False
    assert len(table) == 0


def test_timeout_is_limited() -> None:
    """No broker can ask to be alive for ever."""
    table = LiveBrokers()
    table.put(live(timeout_s=1e12))
    assert len(table.expired(HEARTBEAT_TIMEOUT_S_MAX + 0.1)) == 1
