"""A subscription group's configuration, with the defaults that every unknown group gets."""

import msgspec


class ExponentialRetryPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """Delay before the n-th retry: initial * multiplier^n, at most max. Milliseconds."""

    initial: int = 5_000
    max: int = 7_200_000
    multiplier: int = 2


class CustomizedRetryPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """Delays before the first, second, … retry in milliseconds; the last one repeats."""

    next: list[int] = []


class GroupRetryPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """How long a popped message that failed stays away."""

    type: str = "CUSTOMIZED"  # or EXPONENTIAL
    exponential_retry_policy: ExponentialRetryPolicy | None = None
    customized_retry_policy: CustomizedRetryPolicy | None = None


class SimpleSubscription(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription fixed by an operator."""

    topic: str
    expression_type: str | None = "TAG"
    expression: str | None = "*"
    version: int = 0


class SubscriptionGroupConfig(msgspec.Struct, frozen=True, rename="camel"):
    """One group as kept in subscriptionGroup.json. Members that are None are left out."""

    group_name: str
    consume_enable: bool = True
    consume_from_min_enable: bool = True
    consume_broadcast_enable: bool = True
    consume_message_orderly: bool = False
    retry_queue_nums: int = 1
    retry_max_times: int = 16
    group_retry_policy: GroupRetryPolicy = GroupRetryPolicy()
    broker_id: int = 0
    which_broker_when_consume_slowly: int = 1
    notify_consumer_ids_changed_enable: bool = True
    group_sys_flag: int = 0
    consume_timeout_minute: int = 15
    subscription_data_set: list[SimpleSubscription] | None = None
    attributes: dict[str, str] = {}
