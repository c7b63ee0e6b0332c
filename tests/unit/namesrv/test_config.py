"""A nameserver's settings."""

import pytest

from broker_trio.model.errors import ConfigError
from broker_trio.model.settings import load
from broker_trio.namesrv.config import HttpSection, NameserverConfig, RoutesSection, check


def test_defaults_listen_on_loopback_and_pass() -> None:
    """Without configuration a nameserver can be started, and only this machine reaches it."""
    config = load(NameserverConfig, "", {}, check)
    assert (config.listen, config.http.address) == ("127.0.0.1:9876", "127.0.0.1:9878")
    assert (config.routes.heartbeat_timeout_s, config.routes.scan_interval_s) == (120.0, 5.0)


@pytest.mark.parametrize("address", ["0.0.0.0:9876", "10.1.2.3:9876", "[::]:9876", "ns1:9876"])
def test_other_addresses_need_the_switch(address: str) -> None:
    """Whatever others can reach refuses to start, naming the switch that would allow it."""
    for config in (
        NameserverConfig(listen=address),
        NameserverConfig(http=HttpSection(address=address)),
    ):
        (problem,) = check(config)
        assert "allow_insecure_listen = true" in problem
    assert check(NameserverConfig(listen=address, allow_insecure_listen=True)) == []


@pytest.mark.parametrize("address", ["localhost:1", "127.9.9.9:0", "[::1]:9876"])
def test_loopback_needs_no_switch(address: str) -> None:
    """Any name of this machine itself is fine."""
    assert check(NameserverConfig(listen=address)) == []


def test_every_mistake_is_told_at_once() -> None:
    """Two broken rules give two sentences in one refusal."""
    text = 'listen = "nowhere"\n[routes]\nscan_interval_s = 0\n'
    with pytest.raises(ConfigError) as caught:
        load(NameserverConfig, text, {}, check)
    assert "2 mistakes" in str(caught.value)
    assert "routes.scan_interval_s" in str(caught.value)


def test_scan_slower_than_the_timeout_is_refused() -> None:
    """A scan that comes after the timeout would not see silence in time."""
    routes = RoutesSection(heartbeat_timeout_s=2.0, scan_interval_s=5.0)
    assert "scan_interval_s" in check(NameserverConfig(routes=routes))[0]


def test_no_http_listener_is_allowed() -> None:
    """An empty HTTP address switches that listener off."""
    assert check(NameserverConfig(http=HttpSection(address=""))) == []
