"""Headers of the administration requests that a broker answers: topics, groups, statistics.

Lists that may pass the frame limit are paged: the caller names the first entry (`…_seq`), how many
it wants at most, and the DataVersion (JSON text) that it saw on page one. With none of the three
it asks for everything, so `…_seq` is optional here although Apache marks it as required.
"""

from broker_trio.wire.headers.base import I32, Header


class CreateTopicRequestHeader(Header, frozen=True, kw_only=True):
    """17. `attributes` is `+key=value,-key`; `topic_filter_type` SINGLE_TAG or MULTI_TAG."""

    topic: str
    default_topic: str
    read_queue_nums: I32
    write_queue_nums: I32
    perm: I32
    topic_filter_type: str
    topic_sys_flag: I32 | None = None
    order: bool
    attributes: str | None = None
    force: bool = False


class GetAllTopicConfigRequestHeader(Header, frozen=True, kw_only=True):
    """21."""

    topic_seq: I32 | None = None
    data_version: str | None = None
    max_topic_num: I32 | None = None


class GetAllTopicConfigResponseHeader(Header, frozen=True, kw_only=True):
    """To 21: entries in the whole table, not on this page."""

    total_topic_num: I32


class GetBrokerConfigResponseHeader(Header, frozen=True, kw_only=True):
    """To 26: a DataVersion as JSON text."""

    version: str


class GetAllSubscriptionGroupRequestHeader(Header, frozen=True, kw_only=True):
    """201."""

    group_seq: I32 | None = None
    data_version: str | None = None
    max_group_num: I32 | None = None


class GetAllSubscriptionGroupResponseHeader(Header, frozen=True, kw_only=True):
    """To 201: entries in the whole table, not on this page."""

    total_group_num: I32


class GetTopicStatsInfoRequestHeader(Header, frozen=True, kw_only=True):
    """202."""

    topic: str


class DeleteSubscriptionGroupRequestHeader(Header, frozen=True, kw_only=True):
    """207."""

    group_name: str
    clean_offset: bool = False


class GetConsumeStatsRequestHeader(Header, frozen=True, kw_only=True):
    """208. `topic_list` is joined by `;`."""

    consumer_group: str
    topic: str | None = None
    topic_list: str | None = None


class DeleteTopicRequestHeader(Header, frozen=True, kw_only=True):
    """215."""

    topic: str


class QueryTopicConsumeByWhoRequestHeader(Header, frozen=True, kw_only=True):
    """300."""

    topic: str


class QueryConsumeTimeSpanRequestHeader(Header, frozen=True, kw_only=True):
    """303."""

    topic: str
    group: str


class ViewBrokerStatsDataRequestHeader(Header, frozen=True, kw_only=True):
    """315."""

    stats_name: str
    stats_key: str


class GetConsumeStatsInBrokerRequestHeader(Header, frozen=True, kw_only=True):
    """317."""

    is_order: bool


class QueryTopicsByConsumerRequestHeader(Header, frozen=True, kw_only=True):
    """343."""

    group: str


class QuerySubscriptionByConsumerRequestHeader(Header, frozen=True, kw_only=True):
    """345."""

    group: str
    topic: str | None = None


class GetTopicConfigRequestHeader(Header, frozen=True, kw_only=True):
    """351. `lo` false asks for the physical queues of a static topic."""

    topic: str
    lo: bool | None = None


class GetSubscriptionGroupConfigRequestHeader(Header, frozen=True, kw_only=True):
    """352."""

    group: str


class UpdateGroupForbiddenRequestHeader(Header, frozen=True, kw_only=True):
    """353: only asks where `readable` is None."""

    group: str
    topic: str
    readable: bool | None = None
