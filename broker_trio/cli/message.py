"""`broker-trio message`: get one by its id, find some by key or time, peek, send, follow."""

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from broker_trio.cli.access import Cluster, Target, asks, client_of, next_command, run
from broker_trio.cli.failures import Failure
from broker_trio.cli.names import TopicName
from broker_trio.cli.output import (
    Column,
    Styled,
    console,
    print_facts,
    print_json,
    print_table,
    text_or_base64,
    width,
)
from broker_trio.cli.times import When, time_text

if TYPE_CHECKING:
    from broker_trio.model.message import MessageExt

LATEST_MS: Final = (1 << 63) - 1
PREVIEW_CHARS: Final = 120
WIDE: Final = 110  # columns of a terminal that has room for two ids and a body
count_type = click.IntRange(1, 1_000)


@click.group()
def message() -> None:
    """Get, find, peek at, send and follow messages."""


def message_tree(found: "MessageExt") -> dict[str, Any]:
    """A message as JSON: times in ms, the body as text or base64."""
    return {
        "message_id": found.uniq_key or found.message_id,
        "offset_message_id": found.message_id,
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


def show_messages(messages: "list[MessageExt]", *, as_json: bool) -> None:
    """All of them: a line of JSON each, or a table."""
    if as_json:
        for each in messages:
            print_json(message_tree(each))
        return
    with_offset_ids = (width() or console().width) >= WIDE  # else: --json, or `message get`
    rows = [
        (
            each.queue_id,
            each.queue_offset,
            each.uniq_key or "",
            *([each.message_id] if with_offset_ids else []),
            each.tags or "",
            " ".join(each.keys),
            preview(each.body),
        )
        for each in messages
    ]
    columns: list[str | Column] = [
        "queue",
        "offset",
        Column("message_id", "whole"),
        *([Column("offset_message_id", "whole")] if with_offset_ids else []),
        "tags",
        "keys",
        Column("body", "cut"),
    ]
    print_table("", columns, rows, empty="no message")


def preview(body: bytes) -> str:
    """The beginning of a body, on one line."""
    text = body[: PREVIEW_CHARS * 4].decode(errors="replace")
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= PREVIEW_CHARS else line[: PREVIEW_CHARS - 1] + "…"


def print_message(found: "MessageExt") -> None:
    """Everything about one message, a line each; its properties and its body last."""
    tree = message_tree(found)
    properties = tree.pop("properties")
    body = {name: tree.pop(name) for name in ("body", "body_base64") if name in tree}
    for name in ("born_ms", "stored_ms"):
        tree[name] = f"{tree[name]}  {time_text(tree[name])}"
    rows: list[tuple[str, object]] = [
        (name, "" if value is None else value) for name, value in tree.items()
    ]
    rows += [(f"property {name}", value) for name, value in sorted(properties.items())]
    print_facts(rows)
    for name, value in body.items():
        click.echo(f"{name} = {value}")


# -- finding -------------------------------------------------------------------------------------


@message.command()
@click.argument("message_id")
@click.option("--topic", type=TopicName(), help="MESSAGE_ID is a unique key of it.")
@asks
def get(*, message_id: str, topic: str | None, target: Target, as_json: bool) -> None:
    """Print one message, by its id.

    By its offset_message_id, or by its message_id with --topic.
    """
    found = run(target, lambda cluster: by_any_id(cluster, target, message_id, topic))
    for each in found:
        if as_json:
            print_json(message_tree(each))
        else:
            print_message(each)


async def by_any_id(
    cluster: Cluster, target: Target, message_id: str, topic: str | None
) -> "list[MessageExt]":
    """The messages with that id: one, or several copies of one unique key. Raises `Failure`."""
    from broker_trio.client.admin.problems import (  # noqa: PLC0415
        ForeignMessageId,
        NoSuchMessage,
    )

    if topic is not None:
        found = await cluster.admin.messages.by_key(topic, message_id, unique=True)
        if not found:
            raise Failure(
                f"no message with unique key {message_id} in topic {topic}",
                next_command(f"broker-trio message query {topic} {message_id}", target),
            )
        return found
    try:
        return [await cluster.admin.messages.by_id(message_id)]
    except ForeignMessageId as error:
        advice = f"broker-trio message get --topic TOPIC {message_id}"
        text = f"{error}; if it is a unique key (message_id): --topic TOPIC"
        raise Failure(text, next_command(advice, target)) from error
    except NoSuchMessage as error:
        raise Failure(str(error)) from error


@message.command()
@click.argument("topic", type=TopicName())
@click.argument("key", required=False)
@click.option("--since", "begin_ms", type=When(), help="Stored at or after: 10m (ago), ISO time.")
@click.option("--until", "end_ms", type=When(), help="Stored at or before.")
@click.option("--begin-ms", "begin_ms", type=When(), hidden=True)
@click.option("--end-ms", "end_ms", type=When(), hidden=True)
@click.option("--max", "count_max", type=count_type, default=64, show_default=True)
@asks
def query(
    *,
    topic: str,
    key: str | None,
    begin_ms: int | None,
    end_ms: int | None,
    count_max: int,
    target: Target,
    as_json: bool,
) -> None:
    """Find messages by key or by time.

    \b
    broker-trio message query orders order-4711
    broker-trio message query orders --since 10m --max 20
    """
    if key is None and begin_ms is None:
        raise click.UsageError("what to look for: a KEY, or --since TIME")
    begin, end = begin_ms or 0, LATEST_MS if end_ms is None else end_ms

    async def work(cluster: Cluster) -> "list[MessageExt]":
        messages = cluster.admin.messages
        if key is None:
            return await messages.by_time(topic, begin, end, count_max)
        found = await messages.by_key(topic, key, begin_ms=begin, end_ms=end, count_max=count_max)
        if not found:
            await hint_at_offset_id(cluster, key, target)
        return found

    show_messages(run(target, work), as_json=as_json)


async def hint_at_offset_id(cluster: Cluster, key: str, target: Target) -> None:
    """Say so on stderr where what was looked for as a key is the offset id of a record."""
    from broker_trio.client.admin.problems import ForeignMessageId  # noqa: PLC0415

    try:
        await cluster.admin.messages.place_of(key)
    except ForeignMessageId:
        return
    advice = next_command(f"broker-trio message get {key}", target)
    click.echo(f"{key} is an offset id, no key\n next: {advice}", err=True)


@message.command()
@click.argument("topic", type=TopicName())
@click.option("--queue", "queue_id", type=click.IntRange(0), help="Only this queue id.")
@click.option("--offset", type=click.IntRange(0), help="From this queue offset on.")
@click.option(
    "--count", type=click.IntRange(1, 32), default=5, show_default=True, help="Per queue."
)
@asks
def peek(
    *,
    topic: str,
    queue_id: int | None,
    offset: int | None,
    count: int,
    target: Target,
    as_json: bool,
) -> None:
    """Print the newest messages of each queue.

    No consumer's place changes.
    """

    async def work(cluster: Cluster) -> "list[MessageExt]":
        return await cluster.admin.messages.newest(topic, count, queue_id=queue_id, offset=offset)

    show_messages(run(target, work), as_json=as_json)


# -- following -----------------------------------------------------------------------------------

VERDICTS: Final = {
    "consumed": "ok",
    "waiting": "warn",
    "not started": "warn",
    "other tags": "dim",
    "not subscribed": "dim",
}


@message.command()
@click.argument("message_id")
@click.option("--topic", type=TopicName(), help="MESSAGE_ID is a unique key of it.")
@asks
def track(*, message_id: str, topic: str | None, target: Target, as_json: bool) -> None:
    """Tell which groups have consumed a message."""

    async def work(cluster: Cluster) -> list[dict[str, Any]]:
        (found, *_) = await by_any_id(cluster, target, message_id, topic)
        groups = await cluster.admin.topics.groups_of(found.topic)
        tracks = await cluster.admin.connections.tracks(found, groups)
        return [
            {
                "group": each.group,
                "verdict": each.verdict,
                "place": each.place,
                "queue_id": found.queue_id,
                "queue_offset": found.queue_offset,
            }
            for each in tracks
        ]

    rows = run(target, work)
    if as_json:
        print_json({"message_id": message_id, "groups": rows})
        return
    shown = [
        (
            row["group"],
            Styled(row["verdict"], VERDICTS[row["verdict"]]),
            row["place"] if row["place"] >= 0 else None,
            row["queue_offset"],
        )
        for row in rows
    ]
    columns = ("group", Column("verdict", "whole"), "group is at", "message is at")
    print_table("", columns, shown, empty="no group consumes its topic")


# -- sending -------------------------------------------------------------------------------------


@message.command()
@click.argument("topic", type=TopicName())
@click.argument("body")
@click.option("--tag", default="", help="Tag of the message.")
@click.option("--key", "keys", multiple=True, help="May be repeated.")
@click.option("--property", "properties", multiple=True, metavar="NAME=VALUE", help="Repeatable.")
@asks
def send(
    *,
    topic: str,
    body: str,
    tag: str,
    keys: tuple[str, ...],
    properties: tuple[str, ...],
    target: Target,
    as_json: bool,
) -> None:
    """Send one message and print its receipt.

    `-` as BODY reads it from stdin.

    For many lines see `broker-trio produce`.
    """
    from broker_trio.cli.produce import print_receipt  # noqa: PLC0415

    data = sys.stdin.buffer.read() if body == "-" else body.encode()
    named = dict(parted(each) for each in properties)

    async def work(_cluster: Cluster) -> Any:
        async with client_of(target, "broker-trio-message") as mq:
            return await mq.send(topic, data, tag=tag, keys=keys, properties=named)

    print_receipt(run(target, work, changes=True), as_json=as_json)


def parted(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--property")
    return name, value
