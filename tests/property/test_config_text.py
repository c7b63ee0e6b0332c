"""Properties text: any configuration survives writing and reading."""

from hypothesis import given
from hypothesis import strategies as st

from broker_trio.wire.bodies.config_text import format_config, parse_config

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)


@given(st.dictionaries(WORDS, WORDS, max_size=4))
def test_what_is_written_is_read_back(config: dict[str, str]) -> None:
    """Every key and value survives, whatever characters it has."""
    assert parse_config(format_config(config)) == config
