"""What an operator ordered, and what became of it, is in the brokers' logs and counters."""

from typing import Any

import pytest
import structlog
import trio

from broker_trio.broker.replication import commands
from broker_trio.model.errors import Refused

from .cluster import Pair, pair
from .test_commands import carry_out, of, seen
from .test_interrupted import CASES, Case


def lines(logs: list[Any], event: str) -> list[str]:
    return [one["verb"] for one in logs if one["event"] == event]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_each_order_is_a_line_before_and_after(
    autojump_clock: trio.abc.Clock, case: Case
) -> None:
    """Who asked, for what, above which epoch, at whose risk; and the state that it led to."""
    async with pair() as found:
        await case.prepare(found)
        plan = case.plan(found, await seen(found))
        with structlog.testing.capture_logs() as logs:
            await carry_out(found, plan)
        wanted = [step.order.verb for step in plan.steps]
        assert lines(logs, "pair.order") == lines(logs, "pair.ordered") == wanted
        for one in logs:
            if one["event"] == "pair.order":
                assert one["peer"] == "10.9.9.9:1"
                assert ("the old disk is gone" in one["risk"]) == (
                    case.name in {"accept-loss", "fenced-host"}
                )


async def test_a_refused_order_is_a_line_too(autojump_clock: trio.abc.Clock) -> None:
    """With the reason; nothing changed."""
    async with pair() as found:
        before = found.b.replica.changes
        with structlog.testing.capture_logs() as logs, pytest.raises(Refused):
            await found.order(found.b, "degrade")
        assert lines(logs, "pair.order") == lines(logs, "pair.order_refused") == ["degrade"]
        assert found.b.replica.changes == before


async def test_each_change_of_role_is_counted_and_logged_at_both(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A switchover there and back: each replica tells each of its own changes."""
    async with pair() as found:
        with structlog.testing.capture_logs() as logs:
            for source, target in ((found.a, found.b), (found.b, found.a)):
                before = [node.replica.changes for node in (found.a, found.b)]
                view = await seen(found)
                plan = commands.plan_switchover(view, of(view, source), of(view, target))
                await carry_out(found, plan)
                await _whole(found)
                after = [node.replica.changes for node in (found.a, found.b)]
                assert all(new > old for new, old in zip(after, before, strict=True))
        states = [one["state"] for one in logs if one["event"] == "pair.changed"]
        assert states.count("owner") >= 2
        assert states.count("slave") >= 2
        assert all(one["epoch"] for one in logs if one["event"] == "pair.changed")


async def _whole(found: Pair) -> None:
    for node in (found.a, found.b):
        with trio.fail_after(30):
            while node.state not in {"owner", "slave"}:  # noqa: ASYNC110
                await trio.sleep(0.05)
