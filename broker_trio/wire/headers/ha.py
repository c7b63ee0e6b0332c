"""Headers between the replicas of one broker name."""

from broker_trio.wire.headers.base import I64, Header


class ExchangeHAInfoRequestHeader(Header, frozen=True, kw_only=True):
    """906. Nothing set asks; anything set is to be adopted by the receiver."""

    master_ha_address: str | None = None
    master_flush_offset: I64 | None = None
    master_address: str | None = None


class ExchangeHAInfoResponseHeader(Header, frozen=True, kw_only=True):
    """To 906 with nothing set."""

    master_ha_address: str | None = None
    master_flush_offset: I64 | None = None
    master_address: str | None = None


class NotifyMinBrokerIdChangeRequestHeader(Header, frozen=True, kw_only=True):
    """905, nameserver to brokers, one-way: the smallest living id of the broker name changed."""

    min_broker_id: I64 | None = None
    broker_name: str | None = None
    min_broker_addr: str | None = None
    offline_broker_addr: str | None = None
    ha_broker_addr: str | None = None
