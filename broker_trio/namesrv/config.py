"""Settings of a nameserver: the file that `broker-trio nameserver --config FILE` reads.

    listen = "127.0.0.1:9876"                [http]      address of /metrics, /livez, /readyz
    data = "/var/lib/broker-trio/…"          [routes]    liveness and limits of the route table
    allow_insecure_listen = false            [hot]       what UPDATE_NAMESRV_CONFIG may change
                                             [remoting]  limits of the doors
                                             [witness]   the other witnesses of pairs

`[hot]` is the whole list of what a request may change while the program runs: switches of
behaviour, never a path, an address or a limit. Its names on the wire are Apache's; a change lasts
until the next start, because the file is the operator's.
"""

from typing import Final

import msgspec

from broker_trio.model.addresses import door_problems
from broker_trio.remoting.limits import RemotingLimits

DEFAULT_PORT: Final = 9_876


class HttpSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP listener: /metrics, /livez, /readyz. Empty address = none."""

    address: str = "127.0.0.1:9878"
    series_max: int = 50_000


class RoutesSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long silence is life, and how large the table may grow."""

    heartbeat_timeout_s: float = 120.0  # a broker silent for longer is dropped
    scan_interval_s: float = 5.0
    not_ready_s: float = 45.0  # hot.need_wait_for_service: no routes for so long after a start
    brokers_max: int = 4_096  # broker addresses, all clusters together
    topics_max: int = 200_000
    entries_max: int = 1_000_000  # (topic, broker name) pairs
    topics_per_registration_max: int = 100_000


class HotSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may change at run time. Defaults are Apache's."""

    order_message_enable: bool = False
    return_order_topic_config_to_broker: bool = True
    enable_all_topic_list: bool = True
    enable_topic_list: bool = True
    support_acting_master: bool = False
    delete_topic_with_broker_registration: bool = False
    need_wait_for_service: bool = False


class WitnessSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pairs: this nameserver keeps one record a broker name. Times are those of the brokers.

    `others`: the other nameservers, host:port; without them a lost file is an operator's work.
    `new`: the very first start of a cluster, in an empty folder; leave it off ever after.
    """

    others: tuple[str, ...] = ()
    new: bool = False
    lease_ms: int = 6_000
    heartbeat_ms: int = 1_000


class NameserverConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One nameserver process. `data` holds `kvConfig.json` and `witness.cbor`.

    `name` and `cluster_name` are labels of its metrics; without a name it is called as it listens.
    """

    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    name: str = ""
    cluster_name: str = "DefaultCluster"
    data: str = "/var/lib/broker-trio/nameserver"
    allow_insecure_listen: bool = False
    log_json: bool = False
    http: HttpSection = HttpSection()
    routes: RoutesSection = RoutesSection()
    hot: HotSection = HotSection()
    remoting: RemotingLimits = RemotingLimits()
    witness: WitnessSection = WitnessSection()


def check(config: NameserverConfig) -> list[str]:
    """Every rule that one field alone cannot hold; empty where the configuration can be used."""
    problems = door_problems(
        config.listen, config.http.address, allow_insecure_listen=config.allow_insecure_listen
    )
    routes = config.routes
    problems.extend(
        f"routes.{field.name} must be above 0"
        for field in msgspec.structs.fields(RoutesSection)
        if getattr(routes, field.name) <= 0 and field.name != "not_ready_s"
    )
    witness = config.witness
    if witness.lease_ms < witness.heartbeat_ms or witness.heartbeat_ms < 1:
        problems.append(
            f"witness.lease_ms = {witness.lease_ms} must be at least witness.heartbeat_ms = "
            f"{witness.heartbeat_ms}, which must be above 0"
        )
    if len(set(witness.others)) != len(witness.others):
        problems.append("witness.others names a nameserver twice")
    if routes.scan_interval_s > routes.heartbeat_timeout_s:
        problems.append(
            f"routes.scan_interval_s = {routes.scan_interval_s} is longer than "
            f"routes.heartbeat_timeout_s = {routes.heartbeat_timeout_s}: silence would go unseen"
        )
    return problems
