"""Every scenario by name, and how one is run: `run("power_loss", 4711)`.

    broker-trio sim power_loss --seed 4711

A failure carries its seed, the last events and that command. Logs of the programs are off, unless
somebody asks for them: there are many, and the same seed gives them again.
"""

import logging
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import structlog

from broker_trio.testing.checkers.verdict import Verdict
from broker_trio.testing.cluster.cluster import Plant, sound
from broker_trio.testing.scenarios import (
    crashes,
    network,
    pair_crashes,
    pair_disks,
    pair_network,
    pair_orders,
    pair_promises,
    pair_rules,
    plain,
    resources,
    retries,
)
from broker_trio.testing.simulate import SimResult, simulate
from broker_trio.testing.world import World


class Scenario(Protocol):
    """One kind of run. `plant` puts a bug into each broker."""

    def __call__(self, world: World, *, plant: Plant = sound) -> Awaitable[Verdict]: ...


SCENARIOS: Final[dict[str, Scenario]] = {
    "send_and_pull": plain.send_and_pull,
    "long_poll": plain.long_poll,
    "delays": plain.delays,
    "retries": retries.retries,
    "disk_full": resources.disk_full,
    "queues_full": resources.queues_full,
    "overload": resources.overload,
    "partition": network.partition,
    "nameserver_loss": network.nameserver_loss,
    "power_loss": crashes.power_loss,
    "kill9": crashes.kill9,
    "fsync_error": crashes.fsync_error,
    "pair_kill": pair_crashes.pair_kill,
    "pair_power": pair_crashes.pair_power,
    "pair_cut": pair_network.pair_cut,
    "pair_slow": pair_network.pair_slow,
    "pair_clock": pair_network.pair_clock,
    "pair_nameservers": pair_network.pair_nameservers,
    "pair_switchover": pair_orders.pair_switchover,
    "pair_mistakes": pair_orders.pair_mistakes,
    "pair_loss": pair_orders.pair_loss,
    "pair_rules": pair_rules.pair_rules,
    "pair_promises": pair_promises.pair_promises,
    "pair_eio": pair_disks.pair_eio,
    "pair_full": pair_disks.pair_full,
    "pair_other_disk": pair_disks.pair_other_disk,
}


def run(name: str, seed: int, *, plant: Plant = sound, logs: bool = False) -> SimResult[Verdict]:
    """Run a scenario. Raises `Violation`, or whatever ended it, and says how to repeat it."""
    scenario = SCENARIOS[name]

    async def main(world: World) -> Verdict:
        return await scenario(world, plant=plant)

    try:
        if logs:
            return simulate(seed, main)
        with silence():
            return simulate(seed, main)
    except BaseException as error:
        error.add_note(f"scenario {name}; replay: broker-trio sim {name} --seed {seed}")
        raise


@contextmanager
def silence() -> Iterator[None]:
    """No log line below CRITICAL costs anything."""
    before = structlog.get_config()
    was_configured = structlog.is_configured()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        if was_configured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()
