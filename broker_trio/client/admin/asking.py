"""One question to many programs: every answer that came, and why the others did not.

    ask_each({"broker-a": "10.0.0.1:10911", …}, question) ──▶ Asked(answers, problems)

An administrator looks at a cluster *because* something in it is broken: a broker that is down must
not hide the others. At most `AT_ONCE` questions are on their way at a time, and each has the
deadline of `Calls`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Generic, NamedTuple, TypeVar

import anyio

from broker_trio.client.errors import ClientError
from broker_trio.remoting.client import Unreachable

AT_ONCE: Final = 32

K = TypeVar("K")
T = TypeVar("T")


class Asked(NamedTuple, Generic[K, T]):
    """Answers and problems by the same keys; every key is in exactly one of them."""

    answers: dict[K, T]
    problems: dict[K, ClientError | Unreachable]

    def all(self) -> dict[K, T]:
        """Every answer. Raises the first problem where there is one."""
        for problem in self.problems.values():
            raise problem
        return self.answers

    def some(self) -> dict[K, T]:
        """What was answered. Raises the first problem where nothing was."""
        if not self.answers:
            return self.all()
        return self.answers


async def ask_each(
    addresses: Mapping[K, str], question: Callable[[str], Awaitable[T]]
) -> Asked[K, T]:
    """Ask `question(address)` of each. Cancelled: no question is left behind."""
    answers: dict[K, T] = {}
    problems: dict[K, ClientError | Unreachable] = {}
    limit = anyio.CapacityLimiter(AT_ONCE)

    async def one(key: K, address: str) -> None:
        async with limit:
            try:
                answers[key] = await question(address)
            except (ClientError, Unreachable) as problem:
                problems[key] = problem

    async with anyio.create_task_group() as group:
        for key, address in addresses.items():
            group.start_soon(one, key, address)
    in_order = [key for key in addresses if key in answers]  # as asked, not as answered
    failed = [key for key in addresses if key in problems]
    return Asked({key: answers[key] for key in in_order}, {key: problems[key] for key in failed})
