"""The same raw request to Apache's programs and to ours gets the same answer, or one listed here.

`KNOWN` is the whole list of differences, each with its reason. A difference that is not in it
fails, and so does one that is no longer there.
"""

from collections.abc import Iterator

import pytest

from tests.interop.cases_broker import BROKER
from tests.interop.cases_nameserver import NAMESERVER
from tests.interop.clusters import Cluster
from tests.interop.differ import Case, Side, differences, sides, told

# What differs, path by path, and why. Paths lead into {code, ext, body, remark}.
STORED = {"ext.durability": "ours: whether the message was on disk when it was acknowledged"}
REFUSED = {
    "ext.MSG_REGION": "nobody reads the region of a refusal",
    "ext.TRACE_ON": "nobody traces a refusal",
}
PULLED = {
    "ext.groupSysFlag": "optional, and always 0 where there are no units",
    "ext.topicSysFlag": "optional, and always 0 where there are no units",
}
MESSAGE = {"body[].properties.WAIT": "true is the default: 9 bytes less in every record"}
FOUND = PULLED | MESSAGE | {"remark": "FOUND says no more than code 0"}
NO_QUEUE = PULLED | {"remark": "Apache makes a queue when it is asked for, ours with a message"}

_BROKER: dict[str, dict[str, str]] = {
    **dict.fromkeys(
        [
            "send, by letters", "send, batch", "send, broker picks the queue",
            "send, retry topic of nobody", "send, delay level 99",
        ],
        STORED,
    ),
    **dict.fromkeys(
        [
            "send, topic with a space", "send, topic with a slash",
            "send, topic of 128 characters", "send, empty topic", "send, queue out of range",
            "send, body over 4 MiB", "send, forbidden topic", "send, half topic",
            "send, no template", "send, template without INHERIT", "send, half message",
            "send, timer", "send, properties too long",
        ],
        REFUSED,
    ),
    "send, empty body": {"code": "13, as storage.md has it; Apache falls over it (1)"},
    **dict.fromkeys(["pull, found", "pull, two", "pull, one tag of two"], FOUND),
    **dict.fromkeys(["pull, by registration", "pull, lite"], PULLED | MESSAGE),
    **dict.fromkeys(
        [
            "pull, none matches", "pull, below the first", "pull, at the end",
            "pull, one past the end", "pull, far past the end",
        ],
        PULLED,
    ),
    **dict.fromkeys(["pull, empty queue at 0", "pull, empty queue at 5"], NO_QUEUE),
    "all consumer offsets": {"body": "groupTopicMap is an index of Apache's own"},
    "query, one key": MESSAGE,
    "query, no such key": {
        "ext.indexLastUpdateTimestamp": "ours tells it also where nothing was found"
    },
    "system topics": {"body.topicList": "POP's and RocksDB's topics are not there yet"},
    "delete a topic, unknown": {"code": "Apache fails here while its timers are switched off"},
    "group config, none": {
        "body": "Apache makes a group of any name that is looked at; ours of those that are used",
        "code": "26, as the protocol has it",
    },
    "what it subscribes to": {"body.topicList": "Apache: only where offsets were committed"},
    "time spans, no messages": {
        "body[].delayTime": "Apache: the time since 1970, where nothing waits"
    },
    "correction, without the slow": {
        "body.correctionOffsets.0": "Apache deletes the offsets of the groups that are left out"
    },
    "units, for a group": {
        "body.queueData[].eval": "Apache: only with its extended units, which are off"
    },
    "run-time figures": {"body": "ours: what the exporter wants; Apache's: latencies, elsewhere"},
    "broker config": {"body": "Apache's settings that ours has not"},
}  # fmt: skip
_NAMESERVER: dict[str, dict[str, str]] = {
    "route, no topic": {"code": "1 for a header without a required field, wherever that is"},
    "config": {"body": "Apache's settings that ours has not"},
    "cluster, after a refused broker": {
        "body.brokerAddrTable.nobody": "a refused registration leaves nothing behind in ours",
        "body.clusterAddrTable.Nowhere": "a refused registration leaves nothing behind in ours",
    },
    "node's old lookup": {"code": "no topic: an error by the protocol, and Node goes on"},
}
KNOWN = {f"broker: {name}": paths for name, paths in _BROKER.items()} | {
    f"nameserver: {name}": paths for name, paths in _NAMESERVER.items()
}


@pytest.fixture(scope="module")
def pair(ours: Cluster, apache: Cluster) -> Iterator[tuple[Side, Side]]:
    """Both makes with the same scene."""
    with sides(ours, apache) as found:
        yield found


def ids(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", BROKER, ids=ids)
def test_a_broker_answers_as_apaches_does(pair: tuple[Side, Side], case: Case) -> None:
    """Code, header fields and body, but for what is known to differ."""
    compare(pair, case, f"broker: {case.name}")


@pytest.mark.parametrize("case", NAMESERVER, ids=ids)
def test_a_nameserver_answers_as_apaches_does(pair: tuple[Side, Side], case: Case) -> None:
    """Code, header fields and body, but for what is known to differ."""
    compare(pair, case, f"nameserver: {case.name}")


def compare(pair: tuple[Side, Side], case: Case, key: str) -> None:
    ours, apache = (told(case, case.ask(side), side) for side in pair)
    found = differences(ours, apache)
    surprising = {path: values for path, values in found.items() if path not in KNOWN.get(key, {})}
    assert not surprising, surprising
    assert KNOWN.get(key, {}).keys() <= found.keys(), "a known difference is gone"


def test_every_known_difference_belongs_to_a_case() -> None:
    """A case that is renamed takes its differences along."""
    cases = {f"broker: {case.name}" for case in BROKER}
    cases |= {f"nameserver: {case.name}" for case in NAMESERVER}
    assert KNOWN.keys() <= cases
