"""A decoded message's own words."""

from broker_trio.model.message import MessageExt


def message(**properties):
    return MessageExt(
        topic="T",
        queue_id=0,
        queue_offset=0,
        physical_offset=1000,
        store_host="127.0.0.1:10911",
        properties=properties,
    )


def test_properties_have_names():
    """Tags, keys and the unique key come from the properties."""
    full = message(TAGS="TagA", KEYS="k1  k2", UNIQ_KEY="U1")
    assert (full.tags, full.keys, full.uniq_key) == ("TagA", ["k1", "k2"], "U1")
    bare = message()
    assert (bare.tags, bare.keys, bare.uniq_key) == (None, [], None)


def test_message_id():
    """The message id says where it is stored."""
    assert message().message_id == "7F00000100002A9F00000000000003E8"
