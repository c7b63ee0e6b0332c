"""Loading configuration: what is taken, what is refused, and that all mistakes come at once."""

import msgspec
import pytest

from broker_trio.model.errors import ConfigError
from broker_trio.model.settings import load


class Store(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    root: str = "/var/lib/broker-trio"
    retention_hours: int = 72
    delete_when_hours: tuple[int, ...] = (4,)
    sync: bool = False


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    broker_name: str
    store: Store = msgspec.field(default_factory=Store)


NAMED = 'broker_name = "a"\n'


def test_defaults_file_and_environment_override_each_other_in_that_order() -> None:
    """What the environment says wins over the file, and the file over the defaults."""
    text = NAMED + '[store]\nretention_hours = 48\nroot = "/data"\n'
    config = load(Config, text, {"BROKER_TRIO__STORE__RETENTION_HOURS": "24"})
    assert config == Config(broker_name="a", store=Store(root="/data", retention_hours=24))


def test_variable_text_becomes_the_type_of_its_field() -> None:
    """Booleans, top-level names and lists are converted from text."""
    environ = {
        "BROKER_TRIO__BROKER_NAME": "b",
        "BROKER_TRIO__STORE__SYNC": "true",
        "BROKER_TRIO__STORE__DELETE_WHEN_HOURS": "3, 4",
        "PATH": "/bin",
        "BROKER_TRIO_REQUIRE_INTEROP": "1",
    }
    config = load(Config, "", environ)
    assert config == Config(broker_name="b", store=Store(sync=True, delete_when_hours=(3, 4)))


def test_a_list_may_be_written_as_toml_in_a_variable() -> None:
    """Brackets in a variable are read as TOML."""
    config = load(Config, NAMED, {"BROKER_TRIO__STORE__DELETE_WHEN_HOURS": "[1, 2]"})
    assert config.store.delete_when_hours == (1, 2)


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        (
            "[store]\nretention_hour = 1\n",
            {},
            "[store] no key named retention_hour; did you mean retention_hours?",
        ),
        ("[stor]\nx = 1\n", {}, "no section named stor; did you mean store?"),
        (
            "",
            {"BROKER_TRIO__STORE__RETENTION_HOUR": "1"},
            "BROKER_TRIO__STORE__RETENTION_HOUR: no key named retention_hour; "
            "did you mean retention_hours?",
        ),
        (
            "",
            {"BROKER_TRIO__STORES__ROOT": "1"},
            "BROKER_TRIO__STORES__ROOT: no section named stores; did you mean store?",
        ),
        ("zebra = 1\n", {}, "no key named zebra; there are: broker_name, store"),
        ("store = 1\n", {}, "store: Expected `object`, got `int`"),
        ("", {"BROKER_TRIO__STORE": "x"}, "BROKER_TRIO__STORE: no key named store"),
        ("[store]\nretention_hours = 'x'\n", {}, "[store] retention_hours: Expected `int`"),
        (
            "[store]\ndelete_when_hours = 4\n",
            {},
            "[store] delete_when_hours: Expected `array`, got `int`",
        ),
        (
            "",
            {"BROKER_TRIO__STORE__DELETE_WHEN_HOURS": "[1, "},
            "[store] delete_when_hours: Expected `array`, got `str`",
        ),
    ],
)
def test_each_mistake_is_named_with_its_place(
    text: str, environ: dict[str, str], expected: str
) -> None:
    """A mistake says section, name and, where one is near, the name that was meant."""
    with pytest.raises(ConfigError) as caught:
        load(Config, NAMED + text, environ)
    assert expected in str(caught.value)
    assert str(caught.value).startswith("1 mistake in")


def test_all_mistakes_are_told_at_once() -> None:
    """Unknown names, wrong types and missing values of one file come in one error."""
    with pytest.raises(ConfigError) as caught:
        load(Config, "[store]\nrot = '/x'\nsync = 'perhaps'\n", {})
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 mistakes in the configuration:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "[store] no key named rot; did you mean root?",
        "[store] sync",
        "broker_name",
    ]


def test_a_value_is_never_repeated_in_the_message() -> None:
    """A refused value may be a secret."""
    with pytest.raises(ConfigError) as caught:
        load(Config, NAMED, {"BROKER_TRIO__STORE__RETENTION_HOURS": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_rules_across_fields_are_asked_last() -> None:
    """`check` sees a whole config and its sentences refuse it."""

    def check(config: Config) -> list[str]:
        return ["store.root: too short"] if len(config.store.root) < 3 else []

    assert load(Config, NAMED, {}, check).broker_name == "a"
    with pytest.raises(ConfigError, match=r"store\.root: too short"):
        load(Config, NAMED + "[store]\nroot = '/'\n", {}, check)


def test_text_that_is_no_toml_is_refused_with_its_line() -> None:
    """The parser's line and column reach the person."""
    with pytest.raises(ConfigError, match=r"not TOML.*line 2"):
        load(Config, "a = 1\nb = = 2\n", {})
