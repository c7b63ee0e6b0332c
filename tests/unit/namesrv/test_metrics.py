"""The nameserver's samples, through the collector that checks them."""

from broker_trio.metrics.collector import Identity, MetricsCollector
from broker_trio.model.codes import RequestCode
from broker_trio.model.pair import NO_RECORD
from broker_trio.namesrv.witness import Known
from namesrv.fakes import SLAVE, Nameserver


def samples(server: Nameserver) -> dict[tuple[str, ...], float]:
    """Family and label values -> value, without our identity."""
    identity = Identity("c", "nameserver", "ns1")
    collector = MetricsCollector(identity, [server.app._source])
    return {
        (sample.name, *list(sample.labels.values())[3:]): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


def test_tables_and_counters_are_shown() -> None:
    """Brokers by role, topics, heartbeats, results, the fingerprint and wiped brokers are there."""
    server = Nameserver()
    server.register("A", "B")
    server.register(addr=SLAVE, broker_id=1, session=2)
    server.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": "A"})
    server.ask(RequestCode.WIPE_WRITE_PERM_OF_BROKER, {"brokerName": "broker-a"})
    shown = samples(server)
    assert shown["brokertrio_ns_brokers", "c", "master"] == 1
    assert shown["brokertrio_ns_brokers", "c", "slave"] == 1
    assert shown["brokertrio_ns_topics",] == 2
    assert shown["brokertrio_ns_registrations_total", "new"] == 2
    assert shown["brokertrio_ns_route_requests_total", "found"] == 1
    assert shown["brokertrio_ns_route_fingerprint",] == server.app.table.fingerprint
    assert shown["brokertrio_ns_write_wiped", "broker-a"] == 1
    heard = shown["brokertrio_ns_broker_last_heartbeat_timestamp_seconds", "broker-a", "1"]
    assert heard == server.clock.wall_ms() / 1_000


def test_an_empty_nameserver_has_its_families() -> None:
    """Before the first broker the page is complete and says not ready."""
    shown = samples(Nameserver())
    assert shown["brokertrio_ready",] == 0
    assert shown["brokertrio_ns_route_fingerprint",] == 0
    assert shown["brokertrio_ns_registrations_total", "rejected"] == 0


def test_a_witness_that_forgot_says_so() -> None:
    """A nameserver without its record file is on the page as one, and shows no epochs."""
    server = Nameserver()
    server.app.witnessing.witness.state = None
    shown = samples(server)
    assert shown["brokertrio_ns_witness_forgot",] == 1
    server.app.witnessing.witness.state = Known({"broker-a": NO_RECORD})
    shown = samples(server)
    assert shown["brokertrio_ns_witness_forgot",] == 0
    assert shown["brokertrio_ns_record_epoch", "broker-a"] == 0


def test_names_of_lost_brokers_are_bounded() -> None:
    """However many names a peer invents, the counter's labels end."""
    stats = Nameserver().app.stats
    for number in range(1_100):
        stats.expired(f"broker-{number}")
    assert len(stats.expirations) == 1_025
    assert sum(stats.expirations.values()) == 1_100
