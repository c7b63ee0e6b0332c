"""Every Network against the same suite: loopback TCP, IPv6 too, that of a test,
and the simulator.

All run in real time, so the simulated links have no delay here: unit tests have those.
"""

import random
from collections.abc import Iterator

import pytest

from broker_trio.runtime.network import RealNetwork
from broker_trio.testing.contracts.network import NetworkContract
from broker_trio.testing.loopback import Loopback
from broker_trio.testing.sim_network import SimHost, SimNetwork


class TestRealNetwork(NetworkContract):
    address = "127.0.0.1:0"

    @pytest.fixture
    def network(self) -> RealNetwork:
        return RealNetwork()


class TestRealNetworkIPv6(NetworkContract):
    address = "[::1]:0"

    @pytest.fixture
    def network(self) -> RealNetwork:
        return RealNetwork()


class TestSimNetwork(NetworkContract):
    address = "a:0"

    @pytest.fixture
    def network(self) -> SimHost:
        return SimNetwork(random.Random(1), delay_s=(0, 0)).host("a")


class TestSimLoopback(NetworkContract):
    address = "127.0.0.1:0"

    @pytest.fixture
    def network(self) -> SimHost:
        return SimNetwork(random.Random(2), delay_s=(0, 0), chunked=1.0).host("a")


class TestLoopback(NetworkContract):
    """The card of an embedded program, with no fault on it."""

    address = "127.0.0.1:0"

    @pytest.fixture
    def network(self) -> Iterator[Loopback]:
        network = Loopback()
        yield network
        network.kill()
