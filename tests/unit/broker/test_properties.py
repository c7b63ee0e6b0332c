"""The one pass over a message's properties: what is stored, what is noticed, what is refused."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_trio.broker.properties import Scanner
from broker_trio.model.codes import ResponseCode

ADDED = {"MSG_REGION": "r", "TRACE_ON": "true", "CLUSTER": "c"}
SCANNER = Scanner(random.Random(1), "r", "true", "c")


def scanned(**properties):
    text = "".join(f"{name}\x01{value}\x02" for name, value in properties.items())
    return SCANNER.scan(text.encode())


def stored(found):
    pairs = [piece.partition("\x01") for piece in found.stored.decode().split("\x02") if piece]
    return {name: value for name, _, value in pairs}


def test_a_plain_message_is_stored_as_it_came_without_wait():
    """WAIT is acted on and not stored; the broker's own properties follow."""
    found = scanned(UNIQ_KEY="U1", WAIT="true", TAGS="TagA", KEYS="k1 k2")
    assert stored(found) == {"UNIQ_KEY": "U1", "TAGS": "TagA", "KEYS": "k1 k2", **ADDED}
    assert (found.tags_code, found.uniq_key, found.has_keys) == (2598919, b"U1", True)
    assert (found.wait, found.special, found.refusal) == (True, False, None)


def test_wait_false_is_noticed():
    """A sender that does not want to wait for the disk says WAIT=false."""
    assert scanned(UNIQ_KEY="U1", WAIT="false").wait is False


def test_a_missing_unique_key_is_made():
    """Every stored message has a UNIQ_KEY of 32 characters or the sender's own."""
    found = scanned()
    assert len(found.uniq_key) == 32
    assert stored(found)["UNIQ_KEY"] == found.uniq_key.decode()


def test_a_sender_cannot_choose_what_the_broker_adds_nor_what_is_not_stored():
    """Cluster, region and trace are the broker's; POP_CK and transient properties vanish."""
    found = scanned(
        UNIQ_KEY="U1", CLUSTER="x", MSG_REGION="y", POP_CK="z", **{"__RMQ.TRANSIENT.A": "t"}, A="b"
    )
    assert stored(found) == {"UNIQ_KEY": "U1", "A": "b", **ADDED}


def test_the_last_of_equal_names_wins_and_empty_ones_are_dropped():
    """As RocketMQ's parser has it."""
    found = SCANNER.scan(b"A\x011\x02UNIQ_KEY\x01U\x02A\x012\x02B\x01\x02\x01c\x02junk\x02")
    assert stored(found) == {"UNIQ_KEY": "U", "A": "2", **ADDED}


@pytest.mark.parametrize(("value", "level"), [("3", 3), ("99", 18), ("0", 0), ("-1", 0), ("x", 0)])
def test_a_delay_level_is_capped_and_garbage_means_none(value, level):
    """Levels are 1 to 18; whatever else is no delay."""
    found = scanned(UNIQ_KEY="U1", DELAY=value)
    assert (found.delay_level, found.special) == (level, level > 0)


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"TRAN_MSG": "true"}, ResponseCode.NO_PERMISSION),
        ({"TIMER_DELAY_SEC": "5"}, ResponseCode.SYSTEM_ERROR),
        ({"TIMER_DELAY_MS": "5"}, ResponseCode.SYSTEM_ERROR),
        ({"TIMER_DELIVER_MS": "5"}, ResponseCode.SYSTEM_ERROR),
        ({"INNER_NUM": "2"}, ResponseCode.MESSAGE_ILLEGAL),
    ],
)
def test_what_does_not_exist_yet_is_refused_and_never_stored_as_something_else(properties, code):
    """Transactions, timers and inner batches answer as the switched-off features of the spec."""
    refusal = scanned(UNIQ_KEY="U1", **properties).refusal
    assert refusal is not None
    assert refusal.code == code


def test_a_delay_level_beats_timer_properties():
    """As RocketMQ does: the level wins and the timer's properties are dropped."""
    found = scanned(UNIQ_KEY="U1", DELAY="2", TIMER_DELAY_SEC="5")
    assert (found.delay_level, found.refusal) == (2, None)
    assert "TIMER_DELAY_SEC" not in stored(found)


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["UNIQ_KEY", "TAGS", "WAIT", "KEYS"]))
)
def test_order_and_a_missing_separator_change_nothing(order):
    """The last 0x02 may be missing, and properties come in any order."""
    values = {"UNIQ_KEY": "U1", "TAGS": "TagA", "WAIT": "true", "KEYS": "k"}
    raw = "\x02".join(f"{name}\x01{values[name]}" for name in order).encode()
    for found in (SCANNER.scan(raw), SCANNER.scan(raw + b"\x02")):
        assert stored(found) == {"UNIQ_KEY": "U1", "TAGS": "TagA", "KEYS": "k", **ADDED}
        assert (found.tags_code, found.uniq_key, found.has_keys) == (2598919, b"U1", True)


@pytest.mark.parametrize("name", ["XDELAY", "DELAYS", "MYWAIT", "XTAGS", "NOT_UNIQ_KEY"])
def test_names_that_only_look_like_ours_are_ordinary(name):
    """A user's property is stored and never acted on, whatever it contains."""
    found = scanned(UNIQ_KEY="U1", **{name: "DELAY WAIT"})
    assert stored(found) == {"UNIQ_KEY": "U1", name: "DELAY WAIT", **ADDED}
    assert (found.special, found.tags_code, found.wait, found.uniq_key) == (False, 0, True, b"U1")


@given(
    st.dictionaries(
        st.text("AB_\x7fé", min_size=1, max_size=4), st.text("xy=é", min_size=1, max_size=5)
    )
)
def test_the_quick_way_and_the_slow_way_agree(pairs):
    """Whatever a message holds, both ways store the same pairs and find the same things."""
    pairs = {"UNIQ_KEY": "U1", **pairs}
    raw = "".join(f"{name}\x01{value}\x02" for name, value in pairs.items()).encode()
    assert SCANNER.scan(raw) == SCANNER._slow(raw)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["UNIQ_KEY", "XUNIQ_KEY", "TAGS", "KEYS", "A", "WAIT", "DELAY"]),
            st.sampled_from(["7F" * 16, "A0" * 16, "k", "7F" * 16 + "1", "UNIQ_KEY", "false", "3"]),
        ),
        max_size=5,
    )
)
def test_a_remembered_shape_finds_what_parsing_finds(pairs):
    """The same properties with another UNIQ_KEY are stored as a parser would have them stored."""
    raw = "".join(f"{name}\x01{value}\x02" for name, value in pairs).encode()
    remembering = Scanner(random.Random(1), "r", "true", "c")
    for key in (b"0" * 32, b"F" * 32, b"-" * 32):
        one = raw.replace(b"UNIQ_KEY\x01" + b"7F" * 16, b"UNIQ_KEY\x01" + key, 1)
        fresh = Scanner(random.Random(1), "r", "true", "c")
        quick, slow = remembering.scan(one), fresh._slow(one)
        plain = remembering.plain(one)
        assert plain is None or plain == (quick.stored, quick.tags_code)
        if b"UNIQ_KEY\x01" in one.removeprefix(b"XUNIQ_KEY\x01") and slow.uniq_key in one:
            assert stored(quick) == stored(slow)
            assert quick.uniq_key == slow.uniq_key
        assert (quick.tags_code, quick.wait, quick.delay_level, quick.has_keys) == (
            slow.tags_code, slow.wait, slow.delay_level, slow.has_keys,
        )  # fmt: skip
