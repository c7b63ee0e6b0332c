"""The admin client: everything that an administrator asks of a cluster, in one object.

    Admin(calls, nameservers)
      .brokers         who is there, and where          .topics        made, changed, looked at
      .groups          the same for consumer groups     .offsets       lag, resets, copies
      .messages        by id, key, time and place       .connections   who is online, running info
      .statistics      counters and settings            .dead_letters  counted, sent back
      .hosts           what each program says of its own host

`mq.admin` of a connected client is one of these; the command line is built on nothing else. Every
question has the deadline of `Calls`; what changes something may be repeated. A broker that does
not answer hides none of the others: see asking.py.
"""

from typing import final

from broker_trio.client.admin.brokers import Brokers
from broker_trio.client.admin.connections import Connections
from broker_trio.client.admin.dead_letters import DeadLetters
from broker_trio.client.admin.groups import Groups
from broker_trio.client.admin.hosts import Hosts
from broker_trio.client.admin.messages import Messages
from broker_trio.client.admin.offsets import Offsets
from broker_trio.client.admin.statistics import Statistics
from broker_trio.client.admin.topics import Topics
from broker_trio.client.calls import Calls
from broker_trio.client.routes import Nameservers


@final
class Admin:
    """Administration of one cluster. Holds nothing but its parts."""

    def __init__(self, calls: Calls, nameservers: Nameservers) -> None:
        self.brokers = Brokers(nameservers)
        self.topics = Topics(calls, nameservers, self.brokers)
        self.groups = Groups(calls, self.brokers)
        self.offsets = Offsets(calls, nameservers, self.brokers)
        self.messages = Messages(calls, self.brokers, self.offsets)
        self.connections = Connections(calls, self.brokers, self.offsets)
        self.statistics = Statistics(calls, nameservers, self.brokers)
        self.dead_letters = DeadLetters(
            calls,
            nameservers,
            self.brokers,
            self.topics,
            self.groups,
            self.offsets,
            self.messages,
        )
        self.hosts = Hosts(calls, nameservers)
