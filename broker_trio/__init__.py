"""broker_trio: a message broker and nameserver that RocketMQ clients use unmodified.

The names below are the Python client's; each is imported when it is first used, so that brokers and
tools which need none of them do not pay for it.
"""

TYPE_CHECKING = False  # type checkers know the name; importing it would be most of the cost
if TYPE_CHECKING:
    from broker_trio.client.codecs import BodyUnreadable as BodyUnreadable
    from broker_trio.client.codecs import Json as Json
    from broker_trio.client.codecs import Msgpack as Msgpack
    from broker_trio.client.codecs import Pydantic as Pydantic
    from broker_trio.client.connect import Client as Client
    from broker_trio.client.connect import connect as connect
    from broker_trio.client.delivered import Delivered as Delivered
    from broker_trio.client.errors import BatchFailed as BatchFailed
    from broker_trio.client.errors import BrokerRefused as BrokerRefused
    from broker_trio.client.errors import ClientClosed as ClientClosed
    from broker_trio.client.errors import ClientError as ClientError
    from broker_trio.client.errors import InvalidArgument as InvalidArgument
    from broker_trio.client.errors import InvalidName as InvalidName
    from broker_trio.client.errors import MessageIllegal as MessageIllegal
    from broker_trio.client.errors import NoAnswer as NoAnswer
    from broker_trio.client.errors import NoPermission as NoPermission
    from broker_trio.client.errors import NoRoute as NoRoute
    from broker_trio.client.errors import RemoteProtocolError as RemoteProtocolError
    from broker_trio.client.errors import Unreachable as Unreachable
    from broker_trio.client.errors import UnsupportedDelay as UnsupportedDelay
    from broker_trio.client.events import Event as Event
    from broker_trio.client.message import DelayLevel as DelayLevel
    from broker_trio.client.message import Message as Message
    from broker_trio.client.options import Options as Options
    from broker_trio.client.process_queue import Limits as Limits
    from broker_trio.client.receipt import Durability as Durability
    from broker_trio.client.receipt import Receipt as Receipt
    from broker_trio.client.subscribe import Subscription as Subscription
    from broker_trio.model.group import SubscriptionGroupConfig as SubscriptionGroupConfig
    from broker_trio.model.route import MessageQueue as MessageQueue
    from broker_trio.model.topic import TopicConfig as TopicConfig

__version__ = "0.3.0"

_HOMES = {
    "client.codecs": ("BodyUnreadable", "Json", "Msgpack", "Pydantic"),
    "client.connect": ("Client", "connect"),
    "client.delivered": ("Delivered",),
    "client.errors": (
        "BatchFailed",
        "BrokerRefused",
        "ClientClosed",
        "ClientError",
        "InvalidArgument",
        "InvalidName",
        "MessageIllegal",
        "NoAnswer",
        "NoPermission",
        "NoRoute",
        "RemoteProtocolError",
        "Unreachable",
        "UnsupportedDelay",
    ),
    "client.events": ("Event",),
    "client.message": ("DelayLevel", "Message"),
    "client.options": ("Options",),
    "client.process_queue": ("Limits",),
    "client.receipt": ("Durability", "Receipt"),
    "client.subscribe": ("Subscription",),
    "model.group": ("SubscriptionGroupConfig",),
    "model.route": ("MessageQueue",),
    "model.topic": ("TopicConfig",),
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
