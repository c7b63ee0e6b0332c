"""The catalogue: conventions that each family keeps."""

import pytest

from broker_trio.metrics.catalogue import CATALOGUE, FAMILIES, by_name, exposed
from broker_trio.metrics.families import Family, Kind, Status

OWN_UNITS = ("seconds", "bytes")
NATIVE = tuple(f for f in FAMILIES if f.name.startswith("rocketmq_"))
UPSTREAM = """
messages_in_total messages_out_total throughput_in_total throughput_out_total message_size
rpc_latency_milliseconds consumer_lag_messages consumer_lag_latency_milliseconds
consumer_inflight_messages consumer_ready_messages consumer_queueing_latency_milliseconds
send_to_dlq_messages_total producer_connections consumer_connections topic_number
consumer_group_number broker_permission processor_watermark storage_size_bytes
storage_flush_behind_bytes storage_dispatch_behind_bytes storage_message_reserve_time_milliseconds
timer_enqueue_lag timer_dequeue_lag timer_enqueue_latency_milliseconds
timer_dequeue_latency_milliseconds timing_messages timer_message_snapshot timer_enqueue_total
timer_dequeue_total delay_message_latency_seconds half_messages commit_messages_total
rollback_messages_total finish_message_latency_milliseconds
topic_create_execution_time_milliseconds consumer_group_create_execution_time_milliseconds
pop_revive_lag_milliseconds pop_revive_latency_milliseconds pop_checkpoint_buffer_size
pop_offset_buffer_size pop_revive_in_message_total pop_revive_out_message_total
pop_revive_retry_messages_total pop_buffer_scan_time_consume_milliseconds
"""
"""What a broker of RocketMQ 5.4 can expose, without tiered storage and RocksDB: instruments of its
metrics managers, with the suffix of their unit."""
OURS = tuple(f for f in FAMILIES if f.name.startswith("brokertrio_"))


@pytest.mark.parametrize("family", OURS, ids=lambda f: f.name)
def test_our_families_use_base_units_in_their_names(family: Family) -> None:
    """A unit stands at the end of the name, and is one of Prometheus' base units."""
    assert family.unit in ("", *OWN_UNITS)
    if family.unit:
        assert family.name.removesuffix("_total").endswith(f"_{family.unit}")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_help_reads_as_a_sentence(family: Family) -> None:
    """Help begins like a sentence and ends with a full stop."""
    assert family.help.endswith(".")
    assert family.help[0].isupper() or family.help[0].isdigit()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_no_label_has_values_without_bound(family: Family) -> None:
    """Client ids, keys and message ids never become labels."""
    assert not {"client_id", "key", "msg_id", "message_id"} & set(family.labels)
    assert "le" not in family.labels


def test_native_families_carry_the_identity_first() -> None:
    """RocketMQ's dashboards filter by cluster, node type and node id."""
    for family in NATIVE:
        assert family.label_names[:3] == ("cluster", "node_type", "node_id")


def test_the_native_families_are_all_there_and_none_is_made_up() -> None:
    """Upstream may use any other name tomorrow, with another meaning."""
    assert {family.name for family in NATIVE} == {f"rocketmq_{name}" for name in UPSTREAM.split()}


def test_a_name_stands_once() -> None:
    """Two rows of one name are refused."""
    assert len(CATALOGUE) == len(FAMILIES)
    with pytest.raises(AssertionError, match="twice"):
        by_name([FAMILIES[0], FAMILIES[0]])


def test_nothing_of_a_later_feature_is_exposed() -> None:
    """A family whose feature is not built is on nobody's page."""
    names = {family.name for role in ("broker", "nameserver") for family in exposed(role)}
    assert not names & {f.name for f in FAMILIES if f.status is Status.LATER}
    assert "brokertrio_ready" in names


def test_a_gauge_without_known_values_has_no_zero() -> None:
    """0 would be a claim about something nobody measured."""
    gauge = Family("brokertrio_x", Kind.GAUGE, "X.")
    counter = Family("brokertrio_x_total", Kind.COUNTER, "X.")
    assert gauge.zeros == ()
    assert counter.zeros == ((),)
