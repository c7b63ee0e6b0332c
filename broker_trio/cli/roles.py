"""`broker-trio nameserver` and `broker-trio broker`: one program in the foreground.

    --config FILE ──▶ load: every mistake at once ──▶ --check ends here, 0 or 1
                                   │
                                   ▼
                      seams ──▶ program ──▶ supervise: signals, readiness, exit code 0 | 1 | 74

As a child of `up` (`--child`) it says on stdout when it is ready, as one line of JSON, and stops
when its stdin ends: then whoever started it is gone.
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import click
import msgspec

from broker_trio.cli.failures import Failure
from broker_trio.cli.output import print_json

if TYPE_CHECKING:
    from types import ModuleType

    import trio
    from structlog.types import EventDict

STDIN: Final = 0
LOGGED_CHARS_MAX: Final = 1_000  # of one value in a log line
NAMESERVER_GRACE_S: Final = 10.0
KEY_BYTES_MIN: Final = 16  # of a pair's key; shorter ones can be guessed
C = TypeVar("C", bound=msgspec.Struct)
F = TypeVar("F", bound=Callable[..., Any])


def print_example(role: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    """What --config-example does: the whole file with its defaults, and nothing else."""

    def show(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
        if not wanted:
            return
        from broker_trio.cli.config_example import example_of  # noqa: PLC0415

        click.echo(example_of(role), nl=False)
        ctx.exit()

    return show


def example_option(role: str) -> Callable[[F], F]:
    """--config-example of one role."""
    return click.option(
        "--config-example",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=print_example(role),
        help="Print every key with its default, and exit.",
    )


config_option = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="TOML; BROKER_TRIO__SECTION__KEY overrides a value.",
)
check_option = click.option(
    "--check", "check_only", is_flag=True, help="Validate, and start nothing."
)
child_option = click.option("--child", is_flag=True, hidden=True)


def load_config(path: Path, kind: type[C], check: Callable[[C], list[str]]) -> C:
    """The file's settings with the environment's overrides. Raises `Failure` with all mistakes."""
    from broker_trio.model.errors import ConfigError  # noqa: PLC0415
    from broker_trio.model.settings import load  # noqa: PLC0415

    try:
        return load(kind, path.read_text(), os.environ, check)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error
    except (ConfigError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {error}") from error


@click.command()
@config_option
@check_option
@example_option("nameserver")
@child_option
def nameserver(path: Path, *, check_only: bool, child: bool) -> None:
    """Run a nameserver in the foreground, as systemd does."""
    import_structlog_alone()
    from broker_trio.namesrv.config import NameserverConfig, check  # noqa: PLC0415

    config = load_config(path, NameserverConfig, check)
    if check_only:
        try_folder(config.data)
        click.echo(f"{path}: ok")
        return
    from broker_trio.namesrv.app import NameserverApp  # noqa: PLC0415
    from broker_trio.runtime.clock import RealClock  # noqa: PLC0415
    from broker_trio.runtime.disk import RealDisk  # noqa: PLC0415
    from broker_trio.runtime.network import RealNetwork  # noqa: PLC0415

    log_to_stderr(as_json=config.log_json)
    make_folder(config.data)

    def build() -> Program:
        return NameserverApp(RealClock(), RealDisk(config.data), RealNetwork(), config)

    sys.exit(run("nameserver", build, grace_s=NAMESERVER_GRACE_S, child=child))


@click.command()
@config_option
@check_option
@example_option("broker")
@child_option
def broker(path: Path, *, check_only: bool, child: bool) -> None:
    """Run a broker in the foreground, as systemd does.

    A failed write or fsync ends it with exit code 74.
    """
    import_structlog_alone()
    from broker_trio.broker.config import BrokerConfig, check  # noqa: PLC0415

    config = load_config(path, BrokerConfig, check)
    if check_only:
        try_folder(config.data)
        click.echo(f"{path}: ok")
        return
    from broker_trio.broker.app import BrokerApp  # noqa: PLC0415
    from broker_trio.runtime.clock import RealClock  # noqa: PLC0415
    from broker_trio.runtime.disk import RealDisk  # noqa: PLC0415
    from broker_trio.runtime.entropy import real_entropy  # noqa: PLC0415
    from broker_trio.runtime.network import RealNetwork  # noqa: PLC0415

    log_to_stderr(as_json=config.log_json)
    make_folder(config.data)
    key = pair_key(config.replication.key_file)

    def build() -> Program:
        disk, network = RealDisk(config.data), RealNetwork()
        return BrokerApp(
            RealClock(),
            disk,
            network,
            real_entropy(),
            config,
            process_id=os.getpid(),
            pair_key=key,
        )

    sys.exit(run("broker", build, grace_s=config.stop_grace_s, child=child))


def make_folder(data: str) -> list[Path]:
    """Make the data folder; gives the folders that were not there. Raises `Failure`."""
    folder = Path(data)
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_all(missing)
        raise Failure(f"data = {data}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        remove_all(missing)
        raise Failure(f"data = {data}: not writable for this user")
    return missing


def try_folder(data: str) -> None:
    """Whether the data folder can be made and written; nothing is left behind. Raises `Failure`."""
    remove_all(make_folder(data))


def remove_all(folders: list[Path]) -> None:
    """Those of them that are there and empty, the innermost first."""
    for each in folders:
        with suppress(OSError):
            each.rmdir()


def pair_key(path: str) -> bytes:
    """What a pair's key file holds; nothing without a pair. Raises `Failure`."""
    if not path:
        return b""
    try:
        key = Path(path).read_bytes()
    except OSError as error:
        raise Failure(f"replication.key_file {path}: {error.strerror}") from error
    if len(key) < KEY_BYTES_MIN:
        raise Failure(
            f"replication.key_file {path} holds {len(key)} bytes, at least {KEY_BYTES_MIN} are "
            f"needed: head -c 32 /dev/urandom > {path}"
        )
    return key


def import_structlog_alone() -> None:
    """Import structlog without Rich, which it takes along for a renderer that no role uses.

    That is 0.2 s of each start and 4 MB of each process.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = cast(
        "ModuleType", None
    )  # an import of it fails, and structlog expects that
    try:
        import structlog  # noqa: F401, PLC0415
    finally:
        del sys.modules["rich"]


class Program(Protocol):
    """A role that can be run, and where it listens once it is ready ("" where it does not)."""

    address: str
    http_address: str

    async def run(
        self, stopping: "trio.Event", *, task_status: "trio.TaskStatus[None]"
    ) -> None: ...


Build = Callable[[], Program]
"""Makes the program inside the running loop, whose clock it reads from the first moment on."""


def run(name: str, build: Build, *, grace_s: float, child: bool) -> int:
    """Supervise the program until it ends; gives the process's exit code."""
    from broker_trio.runtime.supervise import run_role  # noqa: PLC0415

    return run_role(name, AsChild(build) if child else Alone(build), grace_s=grace_s)


class Alone:
    """The program as a role, as systemd runs it."""

    def __init__(self, build: Build) -> None:
        self._build = build

    async def __call__(
        self, stopping: "trio.Event", *, task_status: "trio.TaskStatus[None]"
    ) -> None:
        await self._build().run(stopping, task_status=task_status)


class AsChild:
    """The same, telling its parent when it is ready and ending with it."""

    def __init__(self, build: Build) -> None:
        self._build = build

    async def __call__(
        self, stopping: "trio.Event", *, task_status: "trio.TaskStatus[None]"
    ) -> None:
        import trio  # noqa: PLC0415

        program = self._build()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_with_parent)
            async with trio.open_nursery() as running:
                await running.start(program.run, stopping)
                print_json({"address": program.address, "http": program.http_address})
                task_status.started()
            nursery.cancel_scope.cancel()


async def end_with_parent() -> None:
    """Stop this process as a signal would once its stdin has ended."""
    import trio  # noqa: PLC0415

    async with trio.lowlevel.FdStream(os.dup(STDIN)) as parent:
        while await parent.receive_some(1_024):
            """Whatever a person types into it means nothing."""
    os.kill(os.getpid(), signal.SIGTERM)


def lines_for_people(logger: object, name: str, event: "EventDict") -> str:
    """One key=value line, and a traceback as it is below it."""
    from structlog.processors import LogfmtRenderer  # noqa: PLC0415

    traceback = event.pop("exception", None)
    order = ["timestamp", "level", "event"]
    line = LogfmtRenderer(key_order=order, drop_missing=True)(logger, name, event)
    if not line.isprintable():  # a peer's text moves no cursor and colours no screen
        line = "".join(
            one if one.isprintable() else one.encode("unicode_escape").decode() for one in line
        )
    return f"{line}\n{traceback}" if traceback else line


def bounded(_logger: object, _name: str, event: "EventDict") -> "EventDict":
    """No peer's text fills the disk by being refused."""
    for name, value in event.items():
        if isinstance(value, str) and len(value) > LOGGED_CHARS_MAX and name != "exception":
            event[name] = f"{value[:LOGGED_CHARS_MAX]}… ({len(value)} characters)"
    return event


def log_to_stderr(*, as_json: bool) -> None:
    """structlog's output: key=value lines for people, JSON for systemd's journal."""
    import structlog  # noqa: PLC0415

    processors: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        bounded,
    ]
    if as_json:
        processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    else:
        processors += [
            structlog.processors.format_exc_info,
            lines_for_people,
        ]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
