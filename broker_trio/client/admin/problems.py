"""What an administrator may ask for that is not there: typed, with what is there instead."""

from collections.abc import Iterable
from typing import Final

from broker_trio.client.errors import ClientError

NAMED_MAX: Final = 12


def listed(names: Iterable[str]) -> str:
    """`a, b, c and 4 more`, `none`."""
    known = sorted(names)
    if not known:
        return "none"
    shown = ", ".join(known[:NAMED_MAX])
    more = len(known) - NAMED_MAX
    return f"{shown} and {more} more" if more > 0 else shown


class NoSuchBroker(ClientError):
    """No registered broker has that name, or none of those that fit has a master."""

    def __init__(self, wanted: str, known: Iterable[str]) -> None:
        self.known = sorted(known)
        super().__init__(f"{wanted}; brokers known: {listed(self.known)}")


class NoSuchGroup(ClientError):
    """None of the brokers asked has that consumer group."""

    def __init__(self, group: str, asked: int) -> None:
        where = "the broker" if asked == 1 else f"any of {asked} brokers"
        super().__init__(f"no consumer group {group} on {where}")
        self.group = group


class NoSuchMessage(ClientError):
    """There is no message of that id, key or place."""


class ForeignMessageId(ClientError):
    """That is not the offset message id of a record of this cluster; it may be a unique key."""

    def __init__(self, message_id: str, cause: str) -> None:
        super().__init__(f"{message_id} is not an offset id of this cluster: {cause}")


class BadPlace(ClientError):
    """An offset, a queue or a time that the topic does not have."""
