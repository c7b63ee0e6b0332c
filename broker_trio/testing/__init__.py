"""Testing: the simulator, and a real broker inside a test's own process; docs/testing.md.

The names below are for users' tests, each imported when it is first used: pytest loads the plugin
of this package in every run, and only a test that asks for a broker pays for one.
"""

TYPE_CHECKING = False  # type checkers know the name; importing it would be most of the cost
if TYPE_CHECKING:
    from broker_trio.testing.embedded import open_embedded as open_embedded
    from broker_trio.testing.rocketmq import RocketMQ as RocketMQ
    from broker_trio.testing.shape import Fault as Fault
    from broker_trio.testing.shape import NotRunning as NotRunning
    from broker_trio.testing.shape import Options as Options
    from broker_trio.testing.simulated import open_simulated as open_simulated
    from broker_trio.testing.simulated import run_in_virtual_time as run_in_virtual_time
    from broker_trio.testing.threaded import ThreadedRocketMQ as ThreadedRocketMQ
    from broker_trio.testing.threaded import open_threaded as open_threaded

_HOMES = {
    "embedded": ("open_embedded",),
    "rocketmq": ("RocketMQ",),
    "shape": ("Fault", "NotRunning", "Options"),
    "simulated": ("open_simulated", "run_in_virtual_time"),
    "threaded": ("ThreadedRocketMQ", "open_threaded"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
