"""Errors by cause: the same word for the same cause, so that they can be counted."""

from broker_trio.client.errors import BrokerRefused, ClientError, NoAnswer, NoRoute, Unreachable
from broker_trio.model.codes import ResponseCode


def cause_of(error: ClientError) -> str:
    """A word or two: a refusal by the name of its code, everything else in plain words."""
    match error:
        case BrokerRefused():
            known = error.code in set(ResponseCode)
            return ResponseCode(error.code).name if known else f"code {error.code}"
        case NoAnswer():
            return "no answer"
        case NoRoute():
            return "no route"
        case Unreachable():
            return "connection broke" if error.sent else "unreachable"
        case _:
            return type(error).__name__
