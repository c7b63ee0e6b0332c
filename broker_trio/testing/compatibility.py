"""docs/compatibility.md, made from the dispatch tables: which request is answered, by whom, how.

    uv run python -m broker_trio.testing.compatibility > docs/compatibility.md

A test compares the page with what this makes, so that a new route without a row cannot land.
"""

import random
import sys
from typing import Final

import trio

from broker_trio.broker.config import BrokerConfig
from broker_trio.broker.parts import Parts
from broker_trio.model.codes import RequestCode
from broker_trio.model.hosts import encode_host
from broker_trio.namesrv.app import NameserverApp
from broker_trio.namesrv.config import NameserverConfig
from broker_trio.remoting.bridge import through
from broker_trio.remoting.client import RemotingClient
from broker_trio.remoting.dispatch import Dispatcher
from broker_trio.runtime.clock import RealClock
from broker_trio.runtime.network import RealNetwork
from broker_trio.store.store import Store
from broker_trio.testing.sim_disk import SimDisk

TO_CLIENTS: Final = {
    RequestCode.NOTIFY_CONSUMER_IDS_CHANGED: "sent to the members of a group that changed",
    RequestCode.GET_CONSUMER_STATUS_FROM_CLIENT: "asked of each client when 223 comes",
    RequestCode.GET_CONSUMER_RUNNING_INFO: "relayed to the client that is named",
    RequestCode.CONSUME_MESSAGE_DIRECTLY: "relayed to the client that is named",
}
"""Requests that the broker sends to its clients."""

IN_PAIRS: Final = (
    RequestCode.PAIR_CONFIRM,
    RequestCode.PAIR_RECORD,
    RequestCode.PAIR_STATUS,
    RequestCode.PAIR_ORDER,
)
"""Requests that a broker answers where it is in a pair; the table here is of one that is not."""

WHY_REFUSED: Final = {
    RequestCode.RESET_CONSUMER_CLIENT_OFFSET: "for clients; resets (222) happen in the broker, "
    "which is Apache's default, and need it not",
    RequestCode.QUERY_ASSIGNMENT: "clients then share the queues out themselves",
    RequestCode.SET_MESSAGE_REQUEST_MODE: "there is no POP: every group pulls",
    RequestCode.RESUME_CHECK_HALF_MESSAGE: "there are no half messages",
}
"""What a refusal means to whoever asks."""

HEAD: Final = """# Compatibility

Request code by request code: what the broker and the nameserver do with it.
This page is generated from the dispatch tables; a test keeps it current
(`uv run python -m broker_trio.testing.compatibility > docs/compatibility.md`).

- **full**: as Apache RocketMQ 5.4.0 answers it, for what the note does not except.
- **partial**: answered; the note says what is refused, and with which code.
- **refused**: answered with code 3, `request type … not supported`, and nothing else happens.

Header serialisations: JSON (0), ROCKETMQ (1) and, between our own programs, CBOR (2).
A request is answered in the one it came in.
What does not exist yet is refused as the feature that is switched off in Apache's broker:
transactional sends 16, timer properties 1, SQL92 filters 1.
It is never stored or delivered as something else.
"""


async def dispatchers() -> dict[str, Dispatcher]:
    """The tables of both programs, built as the programs build them."""
    disk, clock, config = SimDisk(random.Random(0)), RealClock(), BrokerConfig()
    entropy, network = random.Random(0), RealNetwork()
    store = Store(disk, clock, entropy, config.store, encode_host("127.0.0.1:10911"))
    async with RemotingClient(through(network)) as client:
        parts = Parts(clock, disk, entropy, config, "127.0.0.1:10911", store, client)
        nameserver = NameserverApp(clock, disk, network, NameserverConfig())
        return {"broker": parts.dispatcher(), "nameserver": nameserver.dispatcher}


def row(code: RequestCode, tables: dict[str, Dispatcher]) -> str:
    """One line of the page."""
    who, support, notes = [], "refused", []
    for name, table in tables.items():
        route = table.routes.get(code)
        if route is not None:
            who.append(name)
            support = route.support
            notes += [route.note] if route.note else []
    if code in IN_PAIRS:
        who.insert(0, "broker of a pair")
        support = "full"
        notes = ["ours: who owns a pair"]
    if code in TO_CLIENTS:
        who.append("to clients")
        support = "full" if support == "refused" else support
        notes.append(TO_CLIENTS[code])
    if support == "refused" and code in WHY_REFUSED:
        notes.append(WHY_REFUSED[code])
    return (
        f"| {code.value} | {code.name} | {', '.join(who) or '–'} | {support} | {'; '.join(notes)} |"
    )


async def page() -> str:
    """The whole page."""
    tables = await dispatchers()
    rows = [row(code, tables) for code in sorted(RequestCode)]
    counts = {
        kind: sum(f"| {kind} |" in line for line in rows) for kind in ("full", "partial", "refused")
    }
    total = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    head = "| code | name | where | support | note |\n|---|---|---|---|---|"
    return f"{HEAD}\n## {total}\n\n{head}\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(trio.run(page))
