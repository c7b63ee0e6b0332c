"""The numbers in model/ and wire/ are the specification's numbers."""

import json
from pathlib import Path

import pytest

from broker_trio.model import message, names
from broker_trio.model.codes import LanguageCode, RequestCode, ResponseCode
from broker_trio.model.route import Perm
from broker_trio.wire import command, record

SPEC = Path(__file__).parents[4] / "shared" / "spec" / "codes.json"
OURS = range(26_000, 27_000)


@pytest.fixture(scope="module")
def spec():
    if not SPEC.exists():
        pytest.skip("shared/spec/codes.json is not beside this checkout")
    return json.loads(SPEC.read_text())


def constants(owner, prefix=""):
    return {
        name: value
        for name, value in vars(owner).items()
        if name.startswith(prefix) and name.isupper()
    }


@pytest.mark.parametrize(
    ("ours", "theirs"), [(RequestCode, "request_codes"), (ResponseCode, "response_codes")]
)
def test_codes_have_the_specification_s_names_and_numbers(spec, ours, theirs):
    """Every code of the specification is ours under the same name, and no other but 26000-26999."""
    expected = {entry["name"]: entry["code"] for entry in spec[theirs]}
    actual = {code.name: code.value for code in ours if code.value not in OURS}
    assert expected == actual


@pytest.mark.parametrize("theirs", ["request_codes", "response_codes"])
def test_our_own_range_is_free(spec, theirs):
    """Apache uses no code from 26000 to 26999, which are ours."""
    assert [entry for entry in spec[theirs] if entry["code"] in OURS] == []


def test_languages(spec):
    """Languages have the specification's numbers."""
    assert spec["languages"] == {code.name: code.value for code in LanguageCode}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (message.SysFlag, "message_sys_flag"),
        (message.PullSysFlag, "pull_sys_flag"),
        (Perm, "perm_bits"),
    ],
)
def test_flag_bits(spec, ours, theirs):
    """Flag bits are the specification's, all of them."""
    assert spec[theirs] == constants(ours)


def test_command_flags_and_serialisations(spec):
    """Response and one-way bits and the two header serialisations of Apache agree; 2 is ours."""
    assert spec["rpc_flag_bits"] == {"RESPONSE": command.RESPONSE, "ONEWAY": command.ONEWAY}
    ours = {kind.name: kind.value for kind in command.Serialize}
    assert ours == spec["serialize_types"] | {"CBOR": 2}


def test_our_version_is_a_known_one_that_clients_trust(spec):
    """The version in our commands is 5.3.4's and not below 479, on which clients gate features."""
    assert spec["version_ordinals_all"]["V5_3_4"] == command.OUR_VERSION
    assert command.OUR_VERSION >= 479


def test_property_names(spec):
    """Each property name of ours is one of the specification's."""
    unknown = set(constants(message, "PROPERTY_").values()) - set(spec["property_keys"].values())
    assert set() == unknown


def test_magic_numbers(spec):
    """Record and filler magics are the specification's."""
    ours = {
        "MESSAGE_V1": record.MAGIC_V1,
        "MESSAGE_V2": record.MAGIC_V2,
        "BLANK": record.BLANK_MAGIC,
    }
    assert spec["magic"] == ours


def test_delay_levels(spec):
    """The delay levels in seconds are the specification's texts."""
    unit = {"s": 1, "m": 60, "h": 3600}
    expected = tuple(int(text[:-1]) * unit[text[-1]] for text in spec["delay_levels_default"])
    assert expected == message.DELAY_LEVELS_S


def test_topic_names(spec):
    """Reserved topics and prefixes are spelled as in the specification."""
    ours = {
        "auto_create": names.TBW102,
        "schedule": names.SCHEDULE_TOPIC,
        "trans_half": names.TRANS_HALF_TOPIC,
        "trans_op_half": names.TRANS_OP_HALF_TOPIC,
        "trans_check_max": names.TRANS_CHECK_MAX_TIME_TOPIC,
        "trace": names.TRACE_TOPIC,
        "self_test": names.SELF_TEST_TOPIC,
        "benchmark": names.BENCHMARK_TOPIC,
        "offset_moved": names.OFFSET_MOVED_EVENT,
        "rocksdb_checkpoint": names.CHECKPOINT_TOPIC,
        "system_prefix": names.SYSTEM_TOPIC_PREFIX,
        "timer": names.TIMER_TOPIC,
        "revive_prefix": names.REVIVE_PREFIX,
        "sync_member_prefix": names.SYNC_MEMBER_PREFIX,
        "trace_data_prefix": names.TRACE_DATA_PREFIX,
        "retry_prefix": names.RETRY_PREFIX,
        "dlq_prefix": names.DLQ_PREFIX,
        "lmq_prefix": names.LMQ_PREFIX,
        "reply_suffix": names.REPLY_SUFFIX,
    }
    assert spec["topics"] == ours
