"""From a request code to a handler, and from its result to an answer.

A handler is a plain `def`: it runs on the loop in the order in which requests arrived, so it is
atomic. It returns one of

    Response   the answer, now
    PARKED     somebody keeps `request` and calls `request.answer(response)` later (a held pull, a
               send that waits for its fsync); no task is spent on waiting
    Later      an async function that makes the Response, or parks: it becomes a task (a cold read)

and it may raise `Refused`. A handler never sees the connection. One-way requests take the same way
and their answer is dropped in one place (`Request.answer`).
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar, final

import msgspec
import structlog

from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import Refused, RemoteProtocolError
from broker_trio.wire.command import Command, Ext
from broker_trio.wire.headers.base import from_ext


class Response(msgspec.Struct, gc=False):
    """An answer before it has an opaque. `body` may be several buffers, sent without a join.

    `frame`, where given, makes the whole frame of a plain success itself, from the request: what is
    answered most often has a quicker way than the general one.
    """

    code: int = ResponseCode.SUCCESS
    remark: str | None = None
    ext: Ext | None = None
    body: bytes | list[bytes] = b""
    frame: Callable[[Command], list[bytes]] | None = None


class Session(Protocol):
    """One connection, as handlers see it: an identity, an address, and requests the other way."""

    id: int
    peer_address: str

    @property
    def closed(self) -> bool: ...

    @property
    def parked_full(self) -> bool:
        """Whether one more parked request would pass its limit; handlers ask before they park."""
        ...

    def send_oneway(self, command: Command) -> bool:
        """Queue a one-way request to the peer; False where the connection is closed or full."""
        ...

    async def call(self, command: Command) -> Command:
        """Ask the peer and wait for its answer. Raises `trio.ClosedResourceError`; no timeout."""
        ...


class Request:
    """One command on its way to its answer. Answered at most once, from any plain function."""

    __slots__ = ("_answer", "command", "parked", "received", "session")

    def __init__(
        self,
        session: Session,
        command: Command,
        received: float,
        answer: Callable[["Request", Response], None],
    ) -> None:
        self.session, self.command, self.received = session, command, received
        self.parked = False  # counted against the connection's limit of waiting requests
        self._answer: Callable[[Request, Response], None] | None = answer

    @property
    def answered(self) -> bool:
        return self._answer is None

    def answer(self, response: Response) -> None:
        """Encode and queue the answer; nothing happens where the connection is gone."""
        answer, self._answer = self._answer, None
        assert answer is not None, f"request {self.command.code} answered twice"
        answer(self, response)


class Parked:
    """The type of `PARKED`."""


log = structlog.get_logger("remoting")
PARKED: Final = Parked()
Later = Callable[[], Awaitable[Response | Parked]]
H = TypeVar("H")


@dataclass(frozen=True, slots=True)
class Route(Generic[H]):
    """One request code: the struct its header converts to, and who handles it.

    `header` None hands the header over as `None`: the handler looks at `request.command` itself.
    `support` and `note` fill a row of docs/compatibility.md: "full", "partial" or "refused".
    `processor` is the name under which metrics and limits know the family: send, pull, admin, …
    """

    code: RequestCode
    header: type[H] | None
    handle: Callable[[Request, H], "Response | Parked | Later"]
    support: str = "full"
    note: str = ""
    processor: str = "admin"


@final
class Burst:
    """Frames that were handled together. Their answers come in their order, at once or later.

    Whoever took them calls `answer` until each frame has one; a connection collects them.
    """

    __slots__ = ("_deliver", "_early", "frames", "parked", "received", "size", "waiting")

    def __init__(self, frames: int, size: int) -> None:
        """`size`: bytes of all frames."""
        self.frames, self.size, self.waiting = frames, size, frames
        self.received, self.parked = 0.0, False
        self._early: list[tuple[int, list[bytes]]] = []
        self._deliver: Callable[[Burst, int, list[bytes]], None] | None = None

    def answer(self, code: int, answers: list[bytes]) -> None:
        """The next answers, whole frames with this code, one each; from any plain function."""
        self.waiting -= len(answers)
        assert self.waiting >= 0, "a burst answered twice"
        if self._deliver is None:
            self._early.append((code, answers))
        else:
            self._deliver(self, code, answers)

    def deliver_to(self, deliver: "Callable[[Burst, int, list[bytes]], None]") -> None:
        """Hand over the answers that are there, and from now on each as it comes."""
        self._deliver = deliver
        for code, answers in self._early:
            deliver(self, code, answers)
        self._early.clear()


TakeBurst = Callable[[Session, bytes | bytearray, int], Burst | None]


class Dispatcher:
    """All routes of one program; a duplicate code is an assertion at start.

    `take_burst`, where given, is asked before each frame whether it handles that one and some more
    at once: (session, bytes of a read, where the frame begins). None = they go one by one.
    """

    def __init__(
        self, routes: Iterable[Route[Any]], take_burst: TakeBurst | None = None, burst_code: int = 0
    ) -> None:
        """`burst_code`: the request code under which bursts are counted."""
        self.take_burst, self.burst_code = take_burst, burst_code
        self.routes: dict[int, Route[Any]] = {}
        for route in routes:
            assert route.code not in self.routes, f"two handlers for {route.code.name}"
            self.routes[route.code] = route
        self.long = frozenset(code for code, one in self.routes.items() if one.processor == "admin")
        """Codes whose handlers may walk a whole table: nobody gets two of them in one go."""

    def processor_of(self, code: int) -> str:
        """The family of a code that has a route."""
        return self.routes[code].processor

    def dispatch(self, request: Request) -> Response | Parked | Later:
        """Never raises for what a peer can send; anything else is our bug and ends the process."""
        command = request.command
        route = self.routes.get(command.code)
        if route is None:
            remark = f" request type {command.code} not supported"
            return Response(ResponseCode.REQUEST_CODE_NOT_SUPPORTED, remark)
        try:
            header = None if route.header is None else from_ext(command.ext, route.header)
            return route.handle(request, header)
        except (Refused, msgspec.ValidationError, RemoteProtocolError) as error:
            return answer_to(error)


def answer_to(error: Refused | msgspec.ValidationError | RemoteProtocolError) -> Response:
    """What a peer is told of a refusal, or of a request that does not make sense."""
    if isinstance(error, Refused):
        return Response(error.code, error.remark, dict(error.fields or {}))
    return Response(ResponseCode.SYSTEM_ERROR, f"{type(error).__name__}: {error}")


async def settle(later: Later) -> Response | Parked:
    """What a `Later` answers (or that it parked), or the error that it ended with.

    A peer's question ends no process. `OSError`: the device could not read what was asked for;
    whoever asks for something else is served as before.
    """
    try:
        return await later()
    except (Refused, RemoteProtocolError) as error:
        return answer_to(error)
    except OSError as error:
        log.exception("request.read_failed", path=error.filename)
        return Response(ResponseCode.SYSTEM_ERROR, f"the store cannot read: {error}")
