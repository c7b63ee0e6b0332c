"""The HTTP door of a program: /metrics, /livez, /readyz on Hypercorn's Trio worker.

    GET /          these paths
    GET /livez     200 while the event loop answers at all
    GET /readyz    200 when the program serves, else 503; JSON either way:
                   {"ready": false, "reasons": ["recovering the store"],
                    "progress": {"recovery": 0.42}}
    GET /metrics   Prometheus' text format

Starlette and Hypercorn take a quarter of a second to import, and hold the loop: they are imported
in `serve`, and a program opens this door last, unless a long recovery is to be watched through it.
No threads: every endpoint is a coroutine of the same loop.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import trio

from broker_trio.metrics.exposition import CONTENT_TYPE, Exposition

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

BACKLOG: Final = 64
HEADER_BYTES_MAX: Final = 16 << 10
READ_TIMEOUT_S: Final = 10
KEEP_ALIVE_S: Final = 75.0  # longer than Prometheus' usual 15 to 60 s between scrapes


class Readiness(NamedTuple):
    """Whether the program serves; if not, why, and how far it is (shares from 0 to 1)."""

    ready: bool
    reasons: tuple[str, ...] = ()
    progress: Mapping[str, float] = {}

    def to_json(self) -> bytes:
        return (
            msgspec.json.encode(
                {"ready": self.ready, "reasons": self.reasons, "progress": dict(self.progress)}
            )
            + b"\n"
        )  # for a person's terminal


class Observed(NamedTuple):
    """What the door shows of a program."""

    exposition: Exposition
    readiness: Callable[[], Readiness]


def application(observed: Observed) -> "Starlette":
    """The ASGI app, for `serve` and for tests."""
    from starlette.applications import Starlette  # noqa: PLC0415 - see the module's theory
    from starlette.responses import Response  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    async def paths(_request: "Request") -> "Response":
        return Response("/livez\n/readyz\n/metrics\n", media_type="text/plain")

    async def livez(_request: "Request") -> "Response":
        return Response("alive\n", media_type="text/plain")

    async def readyz(_request: "Request") -> "Response":
        readiness = observed.readiness()
        return Response(
            readiness.to_json(),
            status_code=200 if readiness.ready else 503,
            media_type="application/json",
        )

    async def metrics(_request: "Request") -> "Response":
        page = await observed.exposition.page()
        return Response(page, headers={"content-type": CONTENT_TYPE})

    return Starlette(
        routes=[
            Route("/", paths),
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
        ]
    )


async def serve(
    observed: Observed,
    address: str,
    *,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on `host:port` until cancelled; `started` gives the bound address.

    Port 0 takes a free one. Raises `OSError` where the address is taken. Cancelled:
    answers under way are cut, they are scrapes that come again.
    """
    from hypercorn.config import Config  # noqa: PLC0415
    from hypercorn.trio import serve as serve_asgi  # noqa: PLC0415

    config = Config()
    config.bind = [address]
    config.accesslog = None
    config.loglevel = "WARNING"  # where it listens is ours to say; what fails is for stderr
    config.backlog = BACKLOG
    config.h11_max_incomplete_size = HEADER_BYTES_MAX
    config.read_timeout = READ_TIMEOUT_S
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.include_server_header = False

    async with trio.open_nursery() as nursery:
        binds: list[str] = await nursery.start(serve_asgi, application(observed), config)
        task_status.started(binds[0].removeprefix("http://"))
