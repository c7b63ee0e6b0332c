"""The tables of an Apache master, asked for again and again by the metadata codes.

    21 topics   201 groups   43 consumer offsets   45 delay positions, then 28: where its log ends

A master's topics and groups replace ours as a whole, in one step. Its offsets count too, also
backwards (somebody reset a group), except for places that a consumer committed *here* while the
master was away: there the further one counts until the master has caught up.

Delay positions go with the log's end as it was asked for *after* them: they count once this disk
holds the log up to there (see schedule.py), or a delivered message could be skipped.
"""

from collections.abc import Mapping
from typing import Final, final

import structlog
import trio

from broker_trio.broker.replication.classic_start import Facts, ends_of, facts_of
from broker_trio.broker.replication.metadata_sync import TABLE_ENTRIES_MAX, Tables, check_name
from broker_trio.model.codes import RequestCode, ResponseCode
from broker_trio.model.errors import RemoteProtocolError
from broker_trio.remoting.client import RemotingClient, Unreachable
from broker_trio.wire.bodies.config_files import (
    decode_consumer_offsets_file,
    decode_delay_offsets_file,
    decode_groups_file,
    decode_topics_file,
)
from broker_trio.wire.bodies.config_text import parse_config
from broker_trio.wire.bodies.route import decode_kv_table
from broker_trio.wire.command import Command

CALL_S: Final = 5.0
DOOR_OFFSET: Final = 1  # Apache's default: haListenPort = listenPort + 1
UNSUPPORTED: Final = {"queue.type": "BatchCQ", "cleanup.policy": "COMPACTION"}
"""Attributes of topics that this broker keeps as ordinary ones."""

log = structlog.get_logger("classic")


@final
class MasterTables:
    """What one master is asked, and what of it was applied here."""

    def __init__(self, client: RemotingClient, address: str, tables: Tables) -> None:
        self._client, self.address, self._tables = client, address, tables
        self._bodies: dict[int, bytes] = {}  # of each code, as last applied
        self._versions: dict[int, object] = {}  # ours after that: what changes here is set right
        self._changed: set[str] = set()  # offset keys that changed since the last round
        self._own: set[str] = set()  # those that a consumer changed, not the master
        self.rounds = 0
        tables.offsets.watched.append(self._changed)

    async def facts(self) -> Facts:
        """Who it is and where its log begins and ends. Raises like `ask`."""
        config = parse_config((await self.ask(RequestCode.GET_BROKER_CONFIG)).body)
        door = int(self.address.rpartition(":")[2]) + DOOR_OFFSET
        return facts_of(config, await self._runtime(), door)

    async def _runtime(self) -> dict[str, str]:
        answer = await self.ask(RequestCode.GET_BROKER_RUNTIME_INFO)
        return decode_kv_table(answer.body, answer.serialize)

    async def ask(self, code: int) -> Command:
        """Raises `Unreachable`, `trio.TooSlowError`, `RemoteProtocolError` for any other answer."""
        answer = await self._call(code)
        if answer.code != ResponseCode.SUCCESS:
            text = f"request {code} was answered {answer.code}: {answer.remark}"
            raise RemoteProtocolError(text[:300])
        return answer

    async def _call(self, code: int) -> Command:
        try:
            with trio.fail_after(CALL_S):
                return await self._client.call(self.address, Command(code))
        except trio.TooSlowError:
            await self._client.drop(self.address)
            raise

    async def round(self) -> int:
        """Take over everything once; where the master's log ended just now. Raises like `ask`."""
        topics, groups = self._tables.topics, self._tables.groups
        code = RequestCode.GET_ALL_TOPIC_CONFIG
        body = (await self.ask(code)).body
        if body != self._bodies.get(code) or self._versions.get(code) != topics.data_version:
            self._topics(body)
            self._bodies[code], self._versions[code] = body, topics.data_version
        code = RequestCode.GET_ALL_SUBSCRIPTIONGROUP_CONFIG
        body = (await self.ask(code)).body
        if body != self._bodies.get(code) or self._versions.get(code) != groups.data_version:
            self._groups(body)
            self._bodies[code], self._versions[code] = body, groups.data_version
        body = await self._maybe(RequestCode.GET_ALL_CONSUMER_OFFSET)
        if body:
            self._offsets(body)
        delays = await self._maybe(RequestCode.GET_ALL_DELAY_OFFSET)
        _, end = ends_of(await self._runtime())
        if delays and delays != self._bodies.get(RequestCode.GET_ALL_DELAY_OFFSET):
            positions = decode_delay_offsets_file(delays).offset_table
            if any(at < 0 for at in positions.values()):
                raise RemoteProtocolError(f"delay positions below 0: {positions}"[:200])
            self._tables.delays.adopt(positions, end)
            self._bodies[RequestCode.GET_ALL_DELAY_OFFSET] = delays
        self.rounds += 1
        return end

    async def _maybe(self, code: int) -> bytes:
        """The body of a table that a master may not have yet: it answers 1 then."""
        answer = await self._call(code)
        if answer.code == ResponseCode.SYSTEM_ERROR:
            return b""
        if answer.code != ResponseCode.SUCCESS:
            raise RemoteProtocolError(f"request {code} was answered {answer.code}: {answer.remark}")
        return answer.body

    # -- applying ---------------------------------------------------------------------------------

    def _topics(self, body: bytes) -> None:
        table, topics = decode_topics_file(body), self._tables.topics
        put = table.topic_config_table
        _check_names(put)
        for name, config in put.items():
            if name != config.topic_name:
                raise RemoteProtocolError(f"{config.topic_name[:80]!r} is filed as {name[:80]!r}")
            for attribute, value in UNSUPPORTED.items():
                if config.attributes.get(attribute) == value and topics.get(name) != config:
                    log.warning("classic.topic_is_ordinary_here", topic=name, attribute=attribute,
                                value=value)  # fmt: skip
        changed = [config for name, config in put.items() if topics.get(name) != config]
        delete = topics.table.keys() - put.keys() - topics.system
        if changed or delete or topics.data_version != table.data_version:
            topics.adopt(table.data_version, changed, sorted(delete))

    def _groups(self, body: bytes) -> None:
        table, groups = decode_groups_file(body), self._tables.groups
        put = table.subscription_group_table
        _check_names(put)
        for name, config in put.items():
            if name != config.group_name:
                raise RemoteProtocolError(f"{config.group_name[:80]!r} is filed as {name[:80]!r}")
        delete = sorted(groups.table.keys() - put.keys())
        groups.adopt(table.data_version, list(put.values()), delete, dict(table.forbidden_table))

    def _offsets(self, body: bytes) -> None:
        offsets = self._tables.offsets
        told = decode_consumer_offsets_file(body).offset_table
        _check_names(told)
        self._own |= self._changed
        for key in offsets.table.keys() - told.keys() - self._own:
            offsets.adopt(key, {}, 0)
        for key, master in told.items():
            queues = master
            if any(not 0 <= at < 2**63 for at in master.values()):
                raise RemoteProtocolError(f"offsets of {key[:80]!r} below 0")
            mine = offsets.table.get(key, {})
            if key in self._own:
                further = {q: max(at, mine.get(q, 0)) for q, at in master.items()}
                merged = {**mine, **further}
                if merged == master:
                    self._own.discard(key)
                queues = merged
            if queues != mine:
                offsets.adopt(key, dict(queues), offsets.reset_counts.get(key, 0))
        self._changed.clear()

    def close(self) -> None:
        """Nobody asks this master any more."""
        watched = self._tables.offsets.watched
        watched[:] = [one for one in watched if one is not self._changed]


def _check_names(table: Mapping[str, object]) -> None:
    if len(table) > TABLE_ENTRIES_MAX:
        raise RemoteProtocolError(f"a table of {len(table)} entries, limit {TABLE_ENTRIES_MAX}")
    for name in table:
        check_name(name)


LOST: Final = (Unreachable, trio.TooSlowError, RemoteProtocolError)
"""What a round ends with where the master is away, or is no master."""
