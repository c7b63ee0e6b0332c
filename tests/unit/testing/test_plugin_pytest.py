"""Users' own tests, run by a pytest of their own: which fixture works under which plugin."""

import subprocess
import sys
from statistics import median

import pytest
import structlog
import trio

# Imported here once: a pytest inside this one forgets what it imported.
import broker_trio.testing.plugin
import broker_trio.testing.simulated
import broker_trio.testing.threaded
import tests.unit.testing.talk
from broker_trio.testing.embedded import open_embedded

pytest_plugins = ["pytester"]
IMPORTED = (broker_trio.testing, tests.unit.testing.talk)


@pytest.fixture(autouse=True)
def logging_as_in_a_new_process() -> None:
    """Whatever other tests captured: the fixtures leave a program's own configuration alone."""
    structlog.reset_defaults()


QUIET = ("-p", "no:randomly", "-p", "no:cacheprovider", "-W", "error")
SENDS = """
import pytest
from tests.unit.testing.talk import talk_to

async def sends(rocketmq):
    connect = rocketmq.machines.connect if hasattr(rocketmq, "machines") else None
    async with talk_to(rocketmq.nameservers, *([connect] if connect else [])) as talk:
        await talk.send("orders", b"one")
    assert [message.body for message in rocketmq.messages("orders")] == [b"one"]
"""


def run(
    pytester: pytest.Pytester, test: str, *options: str, settings: str = ""
) -> pytest.RunResult:
    pytester.makeini(f"[pytest]\n{settings}\n")
    pytester.makepyfile(SENDS + test)
    return pytester.runpytest_inprocess(*QUIET, *options)


def test_marked_tests_of_pytest_trio(pytester: pytest.Pytester) -> None:
    """Without trio_mode a mark is enough, and the simulated fixture brings its own."""
    run(
        pytester,
        """
@pytest.mark.trio
async def test_embedded(rocketmq):
    await sends(rocketmq)

async def test_simulated(rocketmq_simulated):
    await sends(rocketmq_simulated)
""",
    ).assert_outcomes(passed=2)


def test_the_trio_mode_of_pytest_trio(pytester: pytest.Pytester) -> None:
    """With it nothing is written at all; fixtures of one's own may use ours."""
    run(
        pytester,
        """
@pytest.fixture
async def orders(rocketmq):
    await rocketmq.create_topic("orders")
    return rocketmq

async def test_embedded(orders):
    await sends(orders)

@pytest.mark.rocketmq(brokers=2, storage="folder")
async def test_folder(rocketmq, tmp_path):
    assert (tmp_path / "rocketmq" / "broker-b").is_dir()

async def test_simulated(rocketmq_simulated):
    import trio
    await trio.sleep(600)
    await sends(rocketmq_simulated)
""",
        settings="trio_mode = true",
    ).assert_outcomes(passed=3)


def test_anyio_on_asyncio_and_on_trio(pytester: pytest.Pytester) -> None:
    """The threaded fixture works on both backends; the embedded one on anyio's Trio."""
    run(
        pytester,
        """
import trio.testing

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_threaded(rocketmq_threaded):
    await sends(rocketmq_threaded)

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_embedded(rocketmq):
    await sends(rocketmq)

@pytest.mark.anyio
@pytest.mark.parametrize(
    "anyio_backend", [("trio", {"clock": trio.testing.MockClock(autojump_threshold=0)})]
)
async def test_simulated(rocketmq_simulated):
    await trio.sleep(600)
    await sends(rocketmq_simulated)
""",
        "-p",
        "no:trio",
    ).assert_outcomes(passed=4)


def test_plain_tests(pytester: pytest.Pytester) -> None:
    """No plugin for async tests is needed at all."""
    run(
        pytester,
        """
import asyncio

def test_threaded(rocketmq_threaded):
    asyncio.run(sends(rocketmq_threaded))
    rocketmq_threaded.kill_broker()
""",
        "-p",
        "no:trio",
        "-p",
        "no:anyio",
    ).assert_outcomes(passed=1)


def test_the_wrong_fixture_names_the_right_one(pytester: pytest.Pytester) -> None:
    """A test without a Trio loop is told what to use instead."""
    found = run(
        pytester,
        """
def test_plain(rocketmq):
    pass

def test_plain_simulated(rocketmq_simulated):
    pass

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_asyncio(rocketmq):
    pass

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_real_clock(rocketmq_simulated):
    pass
""",
        "-rN",  # where CI is set, pytest's summary has each message whole, a second time
    )
    found.assert_outcomes(errors=4)
    text = found.stdout.str()
    assert text.count("use rocketmq_threaded, which works with asyncio") == 3
    assert "a simulated cluster needs a clock that jumps" in text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ("-p", "no:trio", "-p", "no:anyio"),
            "*nothing runs this test on Trio*pip install pytest-trio*",
        ),
        ((), "*nothing runs this test on Trio*set trio_mode = true*@pytest.mark.trio*"),
    ],
)
def test_what_is_missing_to_run_it_is_named(
    pytester: pytest.Pytester, options: tuple[str, ...], text: str
) -> None:
    """Without pytest-trio the package is named, with it the setting."""
    found = run(pytester, "async def test_it(rocketmq): pass", *options)
    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines([text])


def test_a_wrong_mark_is_refused_by_name(pytester: pytest.Pytester) -> None:
    """A misspelt option, a wrong value, and a storage that does not exist."""
    found = run(
        pytester,
        """
@pytest.mark.rocketmq(broker=2)
def test_misspelt(rocketmq_threaded): pass

@pytest.mark.rocketmq(brokers=0)
def test_none(rocketmq_threaded): pass

@pytest.mark.rocketmq(storage="tape")
def test_tape(rocketmq_threaded): pass
""",
    )
    found.assert_outcomes(errors=3)
    found.stdout.fnmatch_lines_random(
        [
            "*no option broker; did you mean brokers?*",
            "*brokers=0, allowed 1 to 16*",
            "*storage='tape', allowed 'memory' and 'folder'*",
        ]
    )


def test_a_failing_test_shows_the_brokers_warnings(pytester: pytest.Pytester) -> None:
    """They are in pytest's captured log, and nothing is printed to stdout."""
    found = run(
        pytester,
        """
@pytest.mark.trio
async def test_fails(rocketmq):
    await rocketmq.kill_broker()
    assert False
""",
    )
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*Captured log call*", "*broker_trio.namesrv*broker.lost*"])
    found.stdout.no_fnmatch_line("*Captured stdout*")


def test_seeds(pytester: pytest.Pytester) -> None:
    """A test's seed is its own and stays, unless the mark or the command line says otherwise."""
    test = """
from broker_trio.testing.plugin import seed_of

async def test_own(rocketmq_simulated, request):
    print("own", seed_of(request.node), rocketmq_simulated.machines.world.seed)

@pytest.mark.rocketmq(seed=7)
async def test_marked(rocketmq_simulated):
    print("marked", rocketmq_simulated.machines.world.seed)
"""
    plain = run(pytester, test, "-s").stdout.str()
    own = [line for line in plain.splitlines() if "own " in line]
    assert "marked 7" in plain
    assert own
    assert own[0] in run(pytester, test, "-s").stdout.str()
    forced = run(pytester, test, "-s", "--rocketmq-seed", "99").stdout.str()
    assert "own 99 99" in forced
    assert "marked 99" in forced


# ---- what it costs


def test_loading_the_plugin_imports_nothing() -> None:
    """Every pytest run of the environment loads it, so it costs no library and no module of ours
    but the packages that it lies in."""
    program = """
import sys, pytest
before = set(sys.modules)
import broker_trio.testing.plugin
print(*sorted(set(sys.modules) - before))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert loaded == ["broker_trio", "broker_trio.testing", "broker_trio.testing.plugin"]


def test_the_public_names_are_where_the_manual_says() -> None:
    """`broker_trio.testing` has them, each at its first use, and says no to others."""
    assert broker_trio.testing.open_embedded is open_embedded
    names = set(dir(broker_trio.testing))
    assert {"Options", "RocketMQ", "open_simulated", "open_threaded"} <= names
    for name in broker_trio.testing._HOME_OF:
        assert getattr(broker_trio.testing, name) is not None
    with pytest.raises(AttributeError, match="open_sesame"):
        broker_trio.testing.open_sesame  # noqa: B018


@pytest.mark.slow
def test_a_cluster_starts_in_50_ms() -> None:
    """Nameserver and broker, until the broker is registered; the median, imports apart."""

    async def main() -> list[float]:
        taken = []
        for _ in range(15):
            began = trio.current_time()
            async with open_embedded():
                taken.append(trio.current_time() - began)
        return taken

    assert median(trio.run(main)) < 0.05
