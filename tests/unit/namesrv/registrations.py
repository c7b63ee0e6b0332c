"""Registrations in one line."""

from collections.abc import Iterable

from broker_trio.model.topic import DataVersion, TopicConfig
from broker_trio.namesrv.registration import Registration

V1 = DataVersion(state_version=0, timestamp=1_000, counter=1)
V2 = DataVersion(state_version=0, timestamp=2_000, counter=2)


def registration(
    *topics: str | TopicConfig,
    name: str = "broker-a",
    addr: str = "10.0.0.1:10911",
    broker_id: int = 0,
    session: int = 1,
    cluster: str = "c",
    version: DataVersion = V1,
    acting: bool | None = None,
    **more: object,
) -> Registration:
    """A 103 with these topics, by default the two of any fresh broker."""
    named: Iterable[str | TopicConfig] = topics or ("TBW102", "T1")
    configs = [topic if isinstance(topic, TopicConfig) else TopicConfig(topic) for topic in named]
    return Registration(
        cluster=cluster,
        broker_name=name,
        broker_addr=addr,
        broker_id=broker_id,
        session_id=session,
        ha_server_addr=addr.replace("10911", "10912"),
        enable_acting_master=acting,
        data_version=version,
        topics={config.topic_name: config for config in configs},
        **more,  # type: ignore[arg-type]
    )
