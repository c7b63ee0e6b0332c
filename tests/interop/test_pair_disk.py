"""A slave whose disk is full: nothing is acknowledged without its copy, and room ends it."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from broker_trio.model.codes import RequestCode
from broker_trio.wire.command import Command
from tests.interop import raw
from tests.interop.pairs import Pair, tell, wait_for

BODY: Final = bytes(500_000)
SMALL: Final = {
    "COMMIT_LOG_SEGMENT_BYTES": str(8 << 20),
    "MESSAGE_SIZE_MAX": str(1 << 20),
    "RESERVE_BYTES": str(1 << 20),
    "CONSUME_QUEUE_SEGMENT_UNITS": "2000",
    "INDEX_SLOTS": "1000",
    "INDEX_ITEMS": "10000",
    "DISK_USED_RATIO_DELETE": "0.985",  # the slave makes no room by deleting
    "DISK_USED_RATIO_FORCE": "0.99",
    "DISK_USED_RATIO_REFUSE": "0.995",
}
SENDS_MAX: Final = 200


def on_a_small_disk(command: list[str], store: Path) -> list[str]:
    """The same process, its store on a memory file system of its own."""
    script = 'mount -t tmpfs -o size=40m tmpfs "$0" && exec "$@"'
    return ["unshare", "-rm", "sh", "-c", script, str(store), *command]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("unshare -rm is not allowed here: a small disk cannot be made")
    settings = {f"BROKER_TRIO__STORE__{key}": value for key, value in SMALL.items()}
    started = Pair(tmp_path / "pair", settings=settings, wrap=on_a_small_disk).start()
    yield started
    started.stop()


def send(pair: Pair) -> Command:
    """One large message to the master; its answer."""
    fields: dict[str, str | int | bool] = {
        "producerGroup": "p", "topic": "Large", "defaultTopic": "TBW102", "queueId": 0,
        "defaultTopicQueueNums": 1, "sysFlag": 0, "bornTimestamp": 1, "flag": 0,
    }  # fmt: skip
    return raw.ask(pair.a.address, RequestCode.SEND_MESSAGE, fields, BODY)


def test_a_slave_with_a_full_disk_stops_the_pair_and_comes_back(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    """Indeterminate answers, then refusals before the append; both live; room brings SEND_OK."""
    codes: list[int] = []
    answer = send(pair)
    while answer.code in {0, 11, 12}:
        codes.append(answer.code)
        assert len(codes) < SENDS_MAX, codes
        answer = send(pair)
    assert codes.count(0) > 40
    assert set(codes) <= {0, 11, 12}
    assert "SLAVE_NOT_AVAILABLE" in (answer.remark or ""), answer.remark
    status = pair.status(pair.a)
    assert status is not None
    assert send(pair).code == answer.code
    again = pair.status(pair.a)
    assert again is not None
    assert again.log_end == status.log_end, "refused before the append"
    assert pair.b.running
    assert pair.status(pair.b) is not None

    store = pair.folder / "broker-a-2" / "store"
    enter = ["nsenter", "-t", str(pair.b.pid), "-U", "-m", "--preserve-credentials"]
    room = [*enter, "mount", "-o", "remount,size=200m", "tmpfs", str(store)]
    subprocess.run(room, check=True)
    began = time.monotonic()
    wait_for(lambda: send(pair).code == 0, "SEND_OK after there was room")
    back_s = time.monotonic() - began
    tell(capsys, f"slave disk full: first SEND_OK {back_s:.1f} s after there was room again")
    end = pair.status(pair.a)
    assert end is not None
    with (pair.a.folder / "store" / "commitlog" / f"{0:020}").open("rb") as log:
        mine = log.read()
    there = Path(f"/proc/{pair.b.pid}/root{store}") / "commitlog" / f"{0:020}"
    assert there.read_bytes() == mine
