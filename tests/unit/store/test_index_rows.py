"""Rows of neighbours that share all but a key's end are those of each record alone."""

from hypothesis import given
from hypothesis import strategies as st

from broker_trio.store.entry import Entry
from broker_trio.store.index_rows import Rows, rows_of

HEAD = "7F0000010A5C18B4AAC2332F"
tails = st.sampled_from(
    ["1E9C0004", "1E9C0005", "FFFFFFFF", "1E9C\x0104", "1E9C\x0204", "é9C0004", ""]
)
forms = st.sampled_from(
    [
        "UNIQ_KEY\x01{key}\x02WAIT\x01true\x02",
        "A\x01b\x02UNIQ_KEY\x01{key}\x02WAIT\x01true\x02",
        "UNIQ_KEY\x01{key}\x02KEYS\x01one two\x02",
        "UNIQ_KEY\x01{key}\x02UNIQ_KEY\x01second\x02",
        "XUNIQ_KEY\x01{key}\x02Y\x01z\x02",
        "UNIQ_KEY\x01{key}",
        "A\x01UNIQ_KEY\x01{key}\x02B\x01c\x02",
        "KEYS\x01{key}\x02",
    ]
)
records = st.tuples(
    forms, st.sampled_from([HEAD, HEAD[1:] + "A", "", "FD00" * 8 + "A" * 16]), tails,
    st.sampled_from(["T", "U", "%RETRY%g"]), st.sampled_from([0, 4, 8, 12]),
)  # fmt: skip


@given(st.lists(records, max_size=12))
def test_alone_or_together(drawn: list[tuple[str, str, str, str, int]]) -> None:
    """Nothing that is remembered of one record changes what is found in the next."""
    entries = [
        Entry(topic, 0, n, n * 100, 100, 0, n, flag, form.format(key=head + tail).encode())
        for n, (form, head, tail, topic, flag) in enumerate(drawn)
    ]
    together, alone = rows_of(entries), Rows([], [], [])
    for entry in entries:
        for column, more in zip(alone, rows_of([entry]), strict=True):
            column.extend(more)
    assert together == alone
