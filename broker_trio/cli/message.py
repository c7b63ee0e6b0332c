"""`broker-trio message`: get one by its id, query by key, peek at the newest."""

from typing import TYPE_CHECKING, Any

import click

from broker_trio.cli.access import Cluster, Target, cluster_options, run
from broker_trio.cli.failures import Failure
from broker_trio.cli.output import json_option, print_json, print_table, text_or_base64

if TYPE_CHECKING:
    from broker_trio.model.message import MessageExt

LATEST_MS = (1 << 63) - 1
PREVIEW_CHARS = 60
PEEK_GROUP = "TOOLS_CONSUMER"  # exists on every broker, and commits nothing here


@click.group()
def message() -> None:
    """Get, query and peek at stored messages."""


def message_tree(found: "MessageExt") -> dict[str, Any]:
    """A message as JSON: times in ms, the body as text or base64."""
    return {
        "message_id": found.message_id,
        "unique_key": found.uniq_key,
        "topic": found.topic,
        "queue_id": found.queue_id,
        "queue_offset": found.queue_offset,
        "physical_offset": found.physical_offset,
        "born_ms": found.born_timestamp_ms,
        "born_host": found.born_host,
        "stored_ms": found.store_timestamp_ms,
        "store_host": found.store_host,
        "reconsume_times": found.reconsume_times,
        "flag": found.flag,
        "sys_flag": found.sys_flag,
        "size": found.size,
        "properties": found.properties,
        **text_or_base64("body", found.body),
    }


def show(messages: "list[MessageExt]", *, as_json: bool) -> None:
    """All of them: a line of JSON each, or a table."""
    if as_json:
        for each in messages:
            print_json(message_tree(each))
        return
    rows = [
        (
            each.queue_id,
            each.queue_offset,
            each.message_id,
            each.tags or "",
            " ".join(each.keys),
            preview(each.body),
        )
        for each in messages
    ]
    print_table("", ("queue", "offset", "message id", "tags", "keys", "body"), rows)


def preview(body: bytes) -> str:
    """The beginning of a body, on one line."""
    text = body[: PREVIEW_CHARS * 4].decode(errors="replace")
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= PREVIEW_CHARS else line[: PREVIEW_CHARS - 1] + "…"


@message.command()
@click.argument("message_id")
@click.option("--topic", "topic_name", help="MESSAGE_ID is a unique key of this topic.")
@json_option
@cluster_options
def get(
    *,
    message_id: str,
    topic_name: str | None,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Print one message, by its offset message id, or by unique key with --topic."""
    target = Target(nameservers, timeout_s)
    if topic_name is not None:
        found = run(target, lambda cluster: by_key(cluster, topic_name, message_id, unique=True))
        if not found:
            raise Failure(f"no message with unique key {message_id} in topic {topic_name}")
    else:
        found = [run(target, lambda cluster: by_id(cluster, message_id))]
    if as_json:
        show(found, as_json=True)
        return
    for each in found:
        for name, value in message_tree(each).items():
            click.echo(f"{name} = {value}")


async def by_id(cluster: Cluster, message_id: str) -> "MessageExt":
    """The message that an offset message id points to, from the broker that the id names."""
    from broker_trio.model.codes import RequestCode  # noqa: PLC0415
    from broker_trio.model.errors import RemoteProtocolError  # noqa: PLC0415
    from broker_trio.model.hosts import decode_message_id  # noqa: PLC0415
    from broker_trio.wire.headers.query import ViewMessageRequestHeader  # noqa: PLC0415
    from broker_trio.wire.record import decode_record  # noqa: PLC0415

    try:
        address, offset = decode_message_id(message_id)
    except (ValueError, RemoteProtocolError) as error:
        advice = f"broker-trio message get --topic TOPIC {message_id}"
        raise Failure(f"{message_id} is no offset message id: {error}", advice) from error
    header = ViewMessageRequestHeader(offset=offset)
    answer = await cluster.calls.ask(address, RequestCode.VIEW_MESSAGE_BY_ID, header)
    return decode_record(answer.body)


@message.command()
@click.argument("topic_name", metavar="TOPIC")
@click.argument("key")
@click.option("--begin-ms", type=int, default=0, help="Stored at or after, ms since 1970.")
@click.option("--end-ms", type=int, default=LATEST_MS, help="Stored at or before.")
@click.option("--max", "count_max", type=click.IntRange(1, 1_000), default=64, show_default=True)
@json_option
@cluster_options
def query(
    *,
    topic_name: str,
    key: str,
    begin_ms: int,
    end_ms: int,
    count_max: int,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Print the messages of TOPIC that carry KEY."""

    async def work(cluster: Cluster) -> "list[MessageExt]":
        return await by_key(
            cluster, topic_name, key, begin_ms=begin_ms, end_ms=end_ms, count_max=count_max
        )

    show(run(Target(nameservers, timeout_s), work), as_json=as_json)


async def by_key(
    cluster: Cluster,
    topic_name: str,
    key: str,
    *,
    unique: bool = False,
    begin_ms: int = 0,
    end_ms: int = LATEST_MS,
    count_max: int = 64,
) -> "list[MessageExt]":
    """Messages with that key from every broker of the topic, oldest first."""
    from broker_trio.client.routes import readable_address  # noqa: PLC0415
    from broker_trio.model.codes import RequestCode, ResponseCode  # noqa: PLC0415
    from broker_trio.wire.headers.query import QueryMessageRequestHeader  # noqa: PLC0415
    from broker_trio.wire.record import decode_records  # noqa: PLC0415

    header = QueryMessageRequestHeader(
        topic=topic_name,
        key=key,
        max_num=count_max,
        begin_timestamp=begin_ms,
        end_timestamp=end_ms,
        unique_key_query=unique,
    )
    found: list[MessageExt] = []
    for data in (await cluster.nameservers.route(topic_name)).broker_datas:
        address = readable_address(data)
        if address is None:
            continue
        answer = await cluster.calls.ask(
            address,
            RequestCode.QUERY_MESSAGE,
            header,
            accept=(ResponseCode.SUCCESS, ResponseCode.QUERY_NOT_FOUND),
        )
        if answer.code == ResponseCode.SUCCESS:
            found += decode_records(answer.body)
    return sorted(found, key=lambda each: each.store_timestamp_ms)[:count_max]


@message.command()
@click.argument("topic_name", metavar="TOPIC")
@click.option("--queue", "queue_id", type=click.IntRange(0), help="Only this queue id.")
@click.option("--offset", type=click.IntRange(0), help="From this queue offset on.")
@click.option(
    "--count", type=click.IntRange(1, 32), default=5, show_default=True, help="Per queue."
)
@json_option
@cluster_options
def peek(
    *,
    topic_name: str,
    queue_id: int | None,
    offset: int | None,
    count: int,
    as_json: bool,
    nameservers: tuple[str, ...],
    timeout_s: float,
) -> None:
    """Print the newest messages of each queue of TOPIC; no consumer's place changes."""

    async def work(cluster: Cluster) -> "list[MessageExt]":
        from broker_trio.client.puller import Puller  # noqa: PLC0415

        puller = Puller(cluster.calls, cluster.nameservers, PEEK_GROUP)
        found: list[MessageExt] = []
        for queue, address in (await puller.queues(topic_name)).items():
            if queue_id is not None and queue.queue_id != queue_id:
                continue
            low, high = await puller.bounds(queue, address)
            begin = max(low, high - count) if offset is None else offset
            if low <= begin < high:
                pulled = await puller.pull(queue, address, begin, count=count)
                found += pulled.messages
        return found

    show(run(Target(nameservers, timeout_s), work), as_json=as_json)
