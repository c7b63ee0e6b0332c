"""Every Network against the same suite: loopback TCP, IPv6 too, and the simulator.

The real ones run in real time without waiting for any; the simulated ones in virtual time.
"""

import random

import pytest
from trio.testing import MockClock

from broker_trio.runtime.network import RealNetwork
from broker_trio.testing.contracts.network import NetworkContract
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
    def network(self, autojump_clock: MockClock) -> SimHost:
        return SimNetwork(random.Random(1)).host("a")


class TestSimLoopback(NetworkContract):
    address = "127.0.0.1:0"

    @pytest.fixture
    def network(self, autojump_clock: MockClock) -> SimHost:
        return SimNetwork(random.Random(2), chunked=1.0).host("a")
