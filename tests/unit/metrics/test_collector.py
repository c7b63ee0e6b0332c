"""The collector and its page: what is exposed, in which order, and what is left out."""

import pathlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from os import environ

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from broker_trio.metrics.catalogue import CATALOGUE, exposed
from broker_trio.metrics.collector import (
    Distribution,
    Identity,
    MetricsCollector,
    Sample,
    sample,
)
from broker_trio.metrics.exposition import Exposition
from broker_trio.metrics.families import Kind
from broker_trio.model.histogram import PUT_SECONDS, Histogram

BROKER = Identity("c", "broker", "a")
IN = "rocketmq_messages_in_total"


def messages_in(topics: Iterable[str]) -> Callable[[], Iterator[Sample]]:
    return lambda: (sample(IN, 7, topic, "NORMAL", "false") for topic in topics)


def everything() -> Iterator[Sample]:
    """One label set of each family that a broker exposes."""
    for family in exposed("broker"):
        if not family.identity or family.name.startswith("brokertrio_metrics_"):
            continue
        labels = family.known[0] if family.known else ("x",) * len(family.labels)
        if family.kind is Kind.HISTOGRAM:
            yield sample(family.name, Histogram(family.buckets), *labels)
        else:
            yield sample(family.name, 1, *labels)


async def page_of(collector: MetricsCollector) -> str:
    return (await Exposition(collector).page()).decode()


def series_of(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {
        tuple(sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
        if s.name == name
    }


async def test_the_page_parses_and_holds_only_catalogued_families() -> None:
    """Each family of the page is in the catalogue, with its type, its help and its labels."""
    text = await page_of(MetricsCollector(BROKER, [everything]))
    for parsed in text_string_to_metric_families(text):
        name = parsed.name + ("_total" if parsed.type == "counter" else "")
        family = CATALOGUE[name]
        assert parsed.type == family.kind.value
        for line in parsed.samples:
            assert set(line.labels) - {"le"} == set(family.label_names)


async def test_families_are_contiguous_with_one_head_each() -> None:
    """One `# TYPE` a name, and all its lines before the next one, whatever the pieces were."""
    topics = [f"t{number}" for number in range(1_200)]
    text = await page_of(MetricsCollector(BROKER, [messages_in(topics), everything]))
    heads = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))
    lines = [line.split("{")[0] for line in text.splitlines() if line.startswith(f"{IN}{{")]
    assert len(lines) == 1_201
    begin = text.index(f"# TYPE {IN}")
    end = text.index("# HELP", begin)
    assert text[begin:end].count(f"\n{IN}{{") == 1_201


async def test_no_created_series_and_no_timestamps() -> None:
    """`_created` doubles every counter, and a timestamp hides that a program is dead."""
    text = await page_of(MetricsCollector(BROKER, [everything]))
    assert "_created" not in text
    assert all(len(s.rsplit("} ")[-1].split()) == 1 for s in text.splitlines() if "{" in s)


async def test_a_series_vanishes_with_its_object() -> None:
    """What a source no longer yields is not on the next page."""
    topics = ["orders", "bills"]
    collector = MetricsCollector(BROKER, [messages_in(topics)])
    assert len(series_of(await page_of(collector), IN)) == 2
    topics.remove("orders")
    (labels,) = series_of(await page_of(collector), IN)
    assert ("topic", "bills") in labels


async def test_known_label_sets_are_there_before_their_first_event() -> None:
    """`rate()` sees the first refusal because its 0 was there before."""
    text = await page_of(MetricsCollector(BROKER, []))
    refused = series_of(text, "brokertrio_store_refused_total")
    assert len(refused) == 6
    assert set(refused.values()) == {0.0}
    assert "brokertrio_store_put_duration_seconds_count" in text


async def test_a_histogram_becomes_cumulative_buckets() -> None:
    """Buckets add up, `+Inf` equals the count, and the sum is the sum."""
    histogram = Histogram(PUT_SECONDS)
    for value in (0.0004, 0.002, 60.0):
        histogram.observe(value)
    name = "brokertrio_store_put_duration_seconds"
    text = await page_of(MetricsCollector(BROKER, [lambda: [sample(name, histogram)]]))
    buckets = series_of(text, f"{name}_bucket")
    by_le = {dict(labels)["le"]: value for labels, value in buckets.items()}
    assert (by_le["0.0005"], by_le["0.0025"], by_le["10.0"], by_le["+Inf"]) == (1, 2, 2, 3)
    assert list(series_of(text, f"{name}_count").values()) == [3]
    assert list(series_of(text, f"{name}_sum").values()) == [pytest.approx(60.0024)]


async def test_past_the_limit_newcomers_are_left_out_and_counted_once() -> None:
    """Series that were there stay; a newcomer is dropped at each scrape and counted once."""
    empty = MetricsCollector(BROKER, [])
    await page_of(empty)
    topics = ["a"]
    collector = MetricsCollector(BROKER, [messages_in(topics)], series_max=empty.series + 1)
    await page_of(collector)
    topics.insert(0, "new")
    for _ in range(2):
        kept = series_of(await page_of(collector), IN)
        assert [dict(labels)["topic"] for labels in kept] == ["a"]
        assert collector.dropped_series == 1
    topics.remove("a")
    (labels,) = series_of(await page_of(collector), IN)
    assert dict(labels)["topic"] == "new"


async def test_a_flood_of_label_sets_leaves_known_ones_their_place() -> None:
    """Whatever topics come first, the page has its zeros, and no line beyond the limit."""
    empty = MetricsCollector(BROKER, [])
    await page_of(empty)
    flood = messages_in(f"t{number}" for number in range(1_000))
    collector = MetricsCollector(BROKER, [flood], series_max=empty.series + 10)
    text = await page_of(collector)
    assert len(series_of(text, IN)) == 10
    assert len(series_of(text, "brokertrio_store_refused_total")) == 6
    assert (collector.series, collector.dropped_series) == (empty.series + 10, 990)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Sample("brokertrio_made_up_total", 1), "not in the catalogue"),
        (Sample("brokertrio_ns_topics", 1), "not in the catalogue of this program"),
        (Sample(IN, 1, ("only one",)), "labels"),
        (Sample("rocketmq_half_messages", 1, ("t",)), "not in the catalogue"),
    ],
)
async def test_a_sample_outside_the_catalogue_is_an_assertion(wrong: Sample, message: str) -> None:
    """Undocumented families, foreign ones, later ones and wrong labels never reach a page."""
    collector = MetricsCollector(BROKER, [lambda: [wrong]])
    with pytest.raises(AssertionError, match=message):
        await page_of(collector)


async def test_one_label_set_twice_is_an_assertion() -> None:
    """Two values for one series would make the page invalid."""
    collector = MetricsCollector(BROKER, [messages_in(["a", "a"])])
    with pytest.raises(AssertionError, match="twice"):
        await page_of(collector)


def test_collect_gives_each_family_once() -> None:
    """prometheus-client's own face of the collector joins the pieces again."""
    topics = [f"t{number}" for number in range(1_200)]
    metrics = list(MetricsCollector(BROKER, [messages_in(topics)]).collect())
    names = [metric.name for metric in metrics]
    assert len(names) == len(set(names))
    (family,) = (metric for metric in metrics if metric.name == IN.removesuffix("_total"))
    assert len(family.samples) == 1_200


async def test_a_cancelled_scrape_leaves_the_next_one_whole() -> None:
    """Cancelled at any checkpoint, the next page is the same as without it."""
    topics = [f"t{number}" for number in range(50)]
    collector = MetricsCollector(BROKER, [messages_in(topics), everything])
    exposition = Exposition(collector)
    expected = set(series_of((await exposition.page()).decode(), IN))
    for steps in range(1, 40, 3):
        with trio.CancelScope() as scope:

            async def cancel(count: int = steps, scope: trio.CancelScope = scope) -> None:
                for _ in range(count):
                    await trio.lowlevel.checkpoint()
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel)
                await exposition.page()
        assert set(series_of((await exposition.page()).decode(), IN)) == expected


async def test_labels_are_escaped() -> None:
    """Quotes, backslashes and line ends in a label's value come back as they were."""
    odd = 'a"b\\c\nd'
    text = await page_of(MetricsCollector(BROKER, [messages_in([odd])]))
    (labels,) = series_of(text, IN)
    assert dict(labels)["topic"] == odd


def test_a_distribution_has_one_count_more_than_bounds() -> None:
    """A source whose bounds differ from the catalogue's is an assertion, not a wrong graph."""
    wrong = Sample("brokertrio_store_put_duration_seconds", Distribution((1, 2), 3.0))
    with pytest.raises(AssertionError):
        list(MetricsCollector(BROKER, [lambda: [wrong]]).collect())


# promtool objects to RocketMQ's units and to counters named after throughput; nothing of ours.
ALLOWED = ("rocketmq_",)


@pytest.mark.slow
async def test_promtool_accepts_the_page(tmp_path: pathlib.Path) -> None:
    """`promtool check metrics` objects to RocketMQ's own names only."""
    promtool = shutil.which("promtool")
    if promtool is None:
        if environ.get("BROKER_TRIO_REQUIRE_INTEROP") == "1":
            pytest.fail("promtool is not on PATH (Debian package prometheus)")
        pytest.skip("promtool is not on PATH (Debian package prometheus)")
    text = await page_of(MetricsCollector(BROKER, [everything]))
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
    )
    objections = [line for line in done.stderr.splitlines() if line.strip()]
    assert [line for line in objections if not line.startswith(ALLOWED)] == []
