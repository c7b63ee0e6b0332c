"""How commands that send and consume run: a client as applications use it, entered and left.

    run_connected(target, work, rate=…) ──▶ trio.run ──▶ async with connect(…) as mq: await work(mq)

What goes wrong on the way becomes the `Failure` whose exit code says so, as in `access.run`.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from broker_trio.cli.access import Cluster, Target, failure_of, no_route, outgoing, sole_error
from broker_trio.cli.failures import Failure

if TYPE_CHECKING:
    from broker_trio.client.connect import Client
    from broker_trio.client.options import OptionNames

T = TypeVar("T")


def run_connected(
    target: Target,
    work: "Callable[[Client], Awaitable[T]]",
    options: "OptionNames",
    *,
    sends: bool = False,
) -> T:
    """Run a command's coroutine with a client of the target's cluster. Raises `Failure`.

    `sends`: a topic that is not there may be made.
    """
    import trio  # noqa: PLC0415

    from broker_trio.client.connect import connect  # noqa: PLC0415
    from broker_trio.client.errors import ClientError, NoRoute  # noqa: PLC0415

    options = {**options, "connect": outgoing()}

    async def main() -> T:
        async with connect(target.nameservers, **options) as mq:
            try:
                return await work(mq)
            except (NoRoute, BaseExceptionGroup) as error:
                sole = sole_error(error) if isinstance(error, BaseExceptionGroup) else error
                if not isinstance(sole, NoRoute) or not sole.topic:
                    raise
                cluster = Cluster(mq.session.calls, mq.session.nameservers)
                raise await no_route(cluster, sole.topic, target, changes=sends) from error

    try:
        return trio.run(main, strict_exception_groups=True)
    except (BaseExceptionGroup, ClientError) as error:
        sole = sole_error(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(sole, OSError):
            raise Failure(f"{sole.filename or 'a file'}: {sole.strerror}") from error
        raise failure_of(sole, target, changes=False) from error
