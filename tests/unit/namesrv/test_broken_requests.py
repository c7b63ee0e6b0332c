"""No request, however broken, gets anything but an answer out of a nameserver."""

import random

import pytest

from broker_trio.model.codes import RequestCode
from broker_trio.model.route import QueueData, TopicRouteData
from broker_trio.model.topic import DataVersion
from broker_trio.remoting.dispatch import Response
from broker_trio.wire.bodies.route import encode_route
from broker_trio.wire.bodies.topic_config import encode_data_version
from broker_trio.wire.command import Command, Serialize
from broker_trio.wire.serialize import encode_parts
from namesrv.fakes import Nameserver, register_body, register_ext

ROUTE = TopicRouteData(queue_datas=[QueueData("broker-a", 4, 4, 6)])
PIECES = (
    b"null",
    b"{}",
    b"[]",
    b'"',
    b"{",
    b"1e99",
    b"9" * 25,
    b"\xff",
    b"-1",
    b'{"$ref":"$"}',
    b"\\ud800",
)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The same with a few bytes changed, cut, or replaced by something nasty."""
    for _ in range(rng.randint(0, 3)):
        at = rng.randint(0, len(data))
        piece = rng.choice((*PIECES, rng.randbytes(rng.randint(0, 4))))
        data = data[:at] + piece + data[at + rng.randint(0, 6) :]
    return data


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("serialize", [Serialize.JSON, Serialize.CBOR])
def test_broken_requests_are_answered(seed: int, serialize: Serialize) -> None:
    """Mutated bodies and headers of every code end in an answer, and the table keeps its promises;
    whatever got in can be shown to clients."""
    rng, server = random.Random(seed), Nameserver()
    bodies = {
        RequestCode.REGISTER_BROKER: register_body(serialize=serialize),
        RequestCode.QUERY_DATA_VERSION: encode_data_version(DataVersion(), serialize),
        RequestCode.REGISTER_TOPIC_IN_NAMESRV: encode_route(ROUTE, serialize),
        RequestCode.UPDATE_NAMESRV_CONFIG: b"orderMessageEnable=true\nenableTopicList=\\u0041\n",
    }
    for _ in range(150):
        code = rng.choice((*bodies, *server.app.dispatcher.routes))
        ext = {**register_ext(), "topic": "T1", "namespace": "n", "key": "k", "value": "v"}
        if rng.random() < 0.3:
            name = rng.choice(sorted(ext))
            ext[name] = rng.choice(("", "9" * 30, "-1", "true", "\x00", "ü" * 300))
        body = mutated(rng, bodies.get(RequestCode(code), b""))
        version = rng.choice((30, 300, 412, 413, 481))
        ext["compressed"] = rng.choice(("true", "false"))
        said = server.start(RequestCode(code), ext, body, version=version, serialize=serialize)
        if isinstance(said, Response):
            reply = Command(said.code, flag=1, ext=said.ext or {}, remark=said.remark)
            assert encode_parts(reply, said.body)
        server.app.table.check_invariants()
    for topic in server.app.table.topics.names():
        shown = server.ask(RequestCode.GET_ROUTEINFO_BY_TOPIC, {"topic": topic}, version=317)
        assert isinstance(shown, Response)
    assert server.ask(RequestCode.GET_BROKER_CLUSTER_INFO).code == 0
