"""Key-value settings by namespace, in one JSON file of Apache's shape.

    kvConfig.json      {"configTable": {namespace: {key: value}}}

A change is written first and seen afterwards: the file is replaced by one that has the change, and
only then do readers get it. So an answer 0 means durable, a full disk refuses and changes nothing,
and nothing ever has to be undone. Changes wait for each other; each is a whole file, which the
limits keep small.
"""

import errno
from collections.abc import Mapping
from typing import Final, final

import msgspec
import structlog
import trio

from broker_trio.model.codes import ResponseCode
from broker_trio.model.errors import Refused, StoreCorrupt, StoreFailed
from broker_trio.runtime.seams import Disk

log = structlog.get_logger("namesrv")

FILE: Final = "kvConfig.json"
NAMESPACES_MAX: Final = 1_024
KEYS_MAX: Final = 65_536  # of all namespaces together
NAME_CHARS_MAX: Final = 1_024  # of a namespace or a key
VALUE_CHARS_MAX: Final = 64 << 10
FILE_BYTES_MAX: Final = 8 << 20
WAITING_MAX: Final = 64  # changes that wait for the file

Tables = Mapping[str, Mapping[str, str]]


class KVFile(msgspec.Struct, rename="camel"):
    """The file's members; others are ignored."""

    config_table: dict[str, dict[str, str]] | None = None


@final
class KeyValues:
    """All namespaces. Reads are plain; `put` and `delete` return once the change is durable."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._lock = trio.Lock()
        self._tables: Tables = {}

    def load(self) -> None:
        """Read the file, if there is one. Raises `StoreCorrupt` where it cannot be understood."""
        if not self._disk.exists(FILE):
            return
        data = self._disk.read(FILE)
        try:
            self._tables = (msgspec.json.decode(data, type=KVFile).config_table) or {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoreCorrupt(f"{self._disk.root}/{FILE}", 0, str(error)) from error

    def namespaces(self) -> list[str]:
        return sorted(self._tables)

    def namespace(self, namespace: str) -> Mapping[str, str] | None:
        """All keys of a namespace; None where there is none of that name."""
        return self._tables.get(namespace)

    def get(self, namespace: str, key: str) -> str | None:
        return self._tables.get(namespace, {}).get(key)

    async def put(self, namespace: str, key: str, value: str) -> None:
        """Set one value. `Refused` for a limit or a full disk, `StoreFailed` for a broken one.

        Cancelled: the change is durable and seen, or neither; which one, a later `get` tells.
        """
        for what, text, most in (
            ("namespace", namespace, NAME_CHARS_MAX),
            ("key", key, NAME_CHARS_MAX),
            ("value", value, VALUE_CHARS_MAX),
        ):
            if len(text) > most:
                raise refuse(f"{what} has {len(text)} characters, limit {most}")
        self._check_waiting()
        async with self._lock:
            table = {**self._tables.get(namespace, {}), key: value}
            await self._replace({**self._tables, namespace: table})

    async def delete(self, namespace: str, key: str) -> None:
        """Take one value away; a namespace stays, as its absence is another answer than its
        emptiness. Nothing happens where the key is not there."""
        self._check_waiting()
        async with self._lock:
            if self.get(namespace, key) is None:
                return
            left = {name: value for name, value in self._tables[namespace].items() if name != key}
            await self._replace({**self._tables, namespace: left})

    def _check_waiting(self) -> None:
        waiting = self._lock.statistics().tasks_waiting
        if waiting >= WAITING_MAX:
            text = (
                f"{waiting} key-value changes wait for the disk, limit {WAITING_MAX} (WAITING_MAX)"
            )
            raise Refused(ResponseCode.SYSTEM_BUSY, text)

    async def _replace(self, tables: Tables) -> None:
        """Make `tables` durable, then visible."""
        check_size(tables)
        data = msgspec.json.encode({"configTable": tables}, order="deterministic")
        if len(data) > FILE_BYTES_MAX:
            raise refuse(f"{FILE} would have {len(data)} bytes, limit {FILE_BYTES_MAX}")
        path = f"{self._disk.root}/{FILE}"
        with trio.CancelScope(shield=True):  # a file is short; half a change would be no answer
            try:
                await self._disk.replace(FILE, data)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                    log.warning("kv.disk_full", path=path)
                    raise refuse(f"no space for {path}") from error
                raise StoreFailed(f"{path}: {error}") from error
        self._tables = tables


def check_size(tables: Tables) -> None:
    """Raises `Refused` naming the limit that this many namespaces or keys would break."""
    if len(tables) > NAMESPACES_MAX:
        raise refuse(f"{len(tables)} namespaces, limit {NAMESPACES_MAX}")
    keys = sum(map(len, tables.values()))
    if keys > KEYS_MAX:
        raise refuse(f"{keys} keys, limit {KEYS_MAX}")


def refuse(text: str) -> Refused:
    """The refusal of a change."""
    return Refused(ResponseCode.SYSTEM_ERROR, f"key-value settings: {text}")
