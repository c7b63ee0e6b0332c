"""Where a slave of an Apache master begins: by table."""

import pytest

from broker_trio.broker.replication.classic_start import (
    Beginning,
    Facts,
    beginning,
    facts_of,
    why_not,
)
from broker_trio.model.errors import RemoteProtocolError

KIB = 1 << 10
CONFIG = {
    "brokerName": "broker-a", "brokerClusterName": "C", "brokerId": "0",
    "mappedFileSizeCommitLog": "1073741824", "haListenPort": "10912",
    "enableControllerMode": "false",
}  # fmt: skip
RUNTIME = {"commitLogMinOffset": "0", "commitLogMaxOffset": "4096"}


def facts(begin: int, end: int) -> Facts:
    return Facts("broker-a", "C", 0, 1 << 30, 10_912, begin, end)


@pytest.mark.parametrize(
    ("own", "master", "expected", "report"),
    [
        ((0, 0), (0, 0), Beginning(0), 1),
        ((0, 0), (0, 900 * KIB), Beginning(0), 1),
        ((0, 0), (512 * KIB, 900 * KIB), Beginning(512 * KIB, anew=True), 512 * KIB),
        ((512 * KIB, 512 * KIB), (512 * KIB, 900 * KIB), Beginning(512 * KIB), 512 * KIB),
        ((0, 300 * KIB), (0, 900 * KIB), Beginning(236 * KIB), 236 * KIB),
        ((0, 30 * KIB), (0, 900 * KIB), Beginning(0), 1),
        ((0, 600 * KIB), (590 * KIB, 900 * KIB), Beginning(590 * KIB), 590 * KIB),
        ((0, 900 * KIB), (0, 400 * KIB), Beginning(336 * KIB), 336 * KIB),  # it lost its tail
    ],
)
def test_where_it_begins(
    own: tuple[int, int], master: tuple[int, int], expected: Beginning, report: int
) -> None:
    found = beginning(*own, facts(*master))
    assert found == expected
    assert isinstance(found, Beginning)
    assert found.first_report == report


def test_a_gap_is_refused_with_what_to_do() -> None:
    found = beginning(0, 500 * KIB, facts(512 * KIB, 900 * KIB))
    assert isinstance(found, str)
    assert "empty data folder" in found


def test_facts_come_from_the_answers_of_requests_26_and_28() -> None:
    assert facts_of(CONFIG, RUNTIME, 1) == facts(0, 4_096)
    assert facts_of(CONFIG, RUNTIME | {"commitLogMinOffset": "-1"}, 1).begin == 0
    without = {name: value for name, value in CONFIG.items() if name != "haListenPort"}
    assert facts_of(without, RUNTIME, 20_912).door == 20_912


@pytest.mark.parametrize(
    ("config", "runtime"),
    [
        ({}, {}),
        ({"brokerId": "x"}, {}),
        ({"mappedFileSizeCommitLog": ""}, {}),
        ({}, {"commitLogMaxOffset": "-5"}),
        ({}, {"commitLogMinOffset": "9999"}),
        ({}, {"commitLogMinOffset": "none"}),
    ],
)
def test_answers_that_make_no_sense_are_refused(
    config: dict[str, str], runtime: dict[str, str]
) -> None:
    if not config and not runtime:
        config = dict.fromkeys(CONFIG, "")
    with pytest.raises(RemoteProtocolError):
        facts_of(CONFIG | config, RUNTIME | runtime, 1)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"brokerName": "other"}, "other"),
        ({"brokerClusterName": "D"}, "cluster_name"),
        ({"enableControllerMode": "true"}, "enableControllerMode"),
        ({"enableDLegerCommitLog": "true"}, "enableDLegerCommitLog"),
        ({"brokerId": "1"}, "slave"),
        ({"mappedFileSizeCommitLog": "1048576"}, "commit_log_segment_bytes"),
        ({}, ""),
    ],
)
def test_whom_it_may_follow(change: dict[str, str], text: str) -> None:
    why = why_not(
        facts_of(CONFIG | change, RUNTIME, 1),
        broker_name="broker-a", cluster="C", segment_bytes=1 << 30,
    )  # fmt: skip
    assert text in why
    assert bool(why) == bool(text)
