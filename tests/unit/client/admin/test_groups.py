"""Consumer groups through the admin client, against a real broker."""

import pytest

from broker_trio.client.admin.problems import NoSuchGroup
from broker_trio.model.group import SubscriptionGroupConfig

from .cluster import running


async def test_a_group_is_made_changed_and_deleted() -> None:
    """A change leaves what it does not name; a deleted group is gone on every broker."""
    async with running(brokers=2) as cluster:
        groups = cluster.admin.groups
        assert await groups.put(SubscriptionGroupConfig("billing")) == ["broker-a", "broker-b"]
        assert await groups.names() == ["billing"]
        await groups.change("billing", {"retry_max_times": 3})
        found = await groups.configs("billing")
        assert [(c.retry_max_times, c.consume_enable) for c in found.values()] == [(3, True)] * 2
        assert await groups.delete("billing", offsets=True) == ["broker-a", "broker-b"]
        with pytest.raises(NoSuchGroup, match="no consumer group billing on any of 2 brokers"):
            await groups.configs("billing")


async def test_a_group_is_barred_from_one_topic() -> None:
    """allow(readable=False) is shown by the tables, and can be taken back."""
    async with running() as cluster:
        await cluster.topic("orders")
        await cluster.admin.groups.put(SubscriptionGroupConfig("billing"))
        barred = await cluster.admin.groups.allow("billing", "orders", readable=False)
        assert barred == {"broker-a": False}
        (table,) = (await cluster.admin.groups.tables()).all().values()
        assert table.barred == {"billing": ["orders"]}
        assert await cluster.admin.groups.allow("billing", "orders", readable=True) == {
            "broker-a": True
        }


async def test_tool_groups_are_hidden() -> None:
    """Groups that every broker has are shown only when asked for."""
    async with running() as cluster:
        assert await cluster.admin.groups.names() == []
        assert "TOOLS_CONSUMER" in await cluster.admin.groups.names(system=True)
