"""The YAML that Prometheus and promtool read, and the runbooks, written from the alerts."""

import json
from collections.abc import Iterable, Iterator
from typing import Final

from grafana.src import proofs
from grafana.src.alert import RUNBOOKS, Alert, Case
from grafana.src.alerts_brokers import BROKERS
from grafana.src.alerts_groups import GROUPS
from grafana.src.alerts_nameservers import MONITORING, NAMESERVERS
from grafana.src.alerts_pairs import PAIRS
from grafana.src.recording import COMPAT, RECORDING, Recorded

ALERTS: Final[tuple[Alert, ...]] = (*BROKERS, *PAIRS, *GROUPS, *NAMESERVERS, *MONITORING)
NOTE: Final = "# Written by `python -m grafana.src`: change grafana/src instead.\n"
INTERVAL: Final = "15s"


def text(value: str) -> str:
    """A string as YAML reads it: JSON's strings are YAML's."""
    return json.dumps(value, ensure_ascii=False)


def alert_rules(group: str) -> str:
    """rules/<group>.yml"""
    lines = [NOTE, f"groups:\n  - name: {group}\n    interval: {INTERVAL}\n    rules:\n"]
    for alert in ALERTS:
        if alert.group != group:
            continue
        lines.append(
            f"      - alert: {alert.name}\n"
            f"        expr: {text(alert.expr)}\n"
            f"        for: {alert.wait}\n"
            f"        labels: {{severity: {alert.severity}}}\n"
            "        annotations:\n"
            f"          summary: {text(alert.summary)}\n"
            f"          description: {text(alert.description)}\n"
            f"          dashboard: {alert.board}\n"
            f"          runbook_url: {RUNBOOKS}{alert.name}\n"
        )
    return "".join(lines)


def recording_rules(name: str, rules: Iterable[Recorded]) -> str:
    """rules/<name>.yml of recording rules."""
    lines = [NOTE, f"groups:\n  - name: {name}\n    interval: {INTERVAL}\n    rules:\n"]
    lines += [f'      - record: "{rule.name}"\n        expr: {text(rule.expr)}\n' for rule in rules]
    return "".join(lines)


def rule_tests(group: str) -> str:
    """rules_test/<group>.yml: each alert fires at the promised moment, and a close call is silent."""
    lines = [
        NOTE,
        f"rule_files: [../rules/recording.yml, ../rules/{group}.yml]\n",
        f"evaluation_interval: {INTERVAL}\ntests:\n",
    ]
    for alert in ALERTS:
        if alert.group != group:
            continue
        lines += _case(alert, alert.fires, fires=True)
        if alert.name != "Watchdog":  # it always fires: that is its meaning
            lines += _case(alert, alert.silent, fires=False)
    return "".join(lines)


def _case(alert: Alert, case: Case, *, fires: bool) -> Iterator[str]:
    where = f'alertname="{alert.name}",alertstate="firing"'
    yield f"  - name: {alert.name} {'fires' if fires else 'is silent'}\n"
    yield f"    interval: {INTERVAL}\n    input_series:\n"
    for series, values in case.series:
        yield f"      - {{series: {text(series)}, values: {text(values)}}}\n"
    yield "    promql_expr_test:\n"
    yield f"      - expr: {text(f'count by (severity) (ALERTS{{{where}}})')}\n"
    yield f"        eval_time: {case.at}\n"
    if not fires:
        yield "        exp_samples: []\n"
        return
    expected = f'{{severity="{alert.severity}"}}'
    yield f"        exp_samples: [{{labels: {text(expected)}, value: 1}}]\n"


def runbook(alert: Alert) -> str:
    """docs/operating/runbooks/<Name>.md, under the same five headings for each."""
    steps = "".join(f"{number}. {step}\n" for number, step in enumerate(alert.do, 1))
    return (
        f"# {alert.name}\n\n"
        f"Severity `{alert.severity}`, after {alert.wait}: {alert.description}\n\n"
        f"## What it means\n\n{alert.means}\n\n"
        f"## Who is hurt now\n\n{alert.hurt}\n\n"
        f"## Look first\n\nDashboard `{alert.board}`; in Prometheus:\n\n```promql\n{alert.expr}\n```\n\n"
        f"## Do\n\n{steps}\n"
        f"## If that fails\n\n{alert.fail or 'Keep the stores as they are, and ask for help with what `broker-trio doctor --json` prints.'}\n"
    )


def alerts_page() -> str:
    """docs/operating/alerts.md"""
    rows = "".join(
        f"| [{a.name}](runbooks/{a.name}.md) | {a.severity} | {a.wait} | {a.description.replace('|', '/')} |\n"
        for a in ALERTS
    )
    return (
        "# Alerts\n\n"
        "Written by `python -m grafana.src`. `page` wakes a human, `ticket` is for this week, `info` calls nobody.\n"
        "Each has a runbook, and two promtool cases in `grafana/rules_test`: one in which it fires, one close call.\n\n"
        "| alert | severity | after | says |\n|---|---|---|---|\n" + rows + "\n"
        "## Seen firing, and resolving\n\n"
        "`tests/interop/test_pages.py` does each fault to a pair and two nameservers that run as processes, with a real Prometheus and these rules: the alert fires, its panels show it, the commands of its runbook run while the fault is there, and it is resolved when the fault is mended (counted from when the pair is whole again).\n"
        "Its copy of the rules waits two seconds (`for`), looks back over shorter windows and compares with smaller amounts (`SHORTER` and `SMALLER` in `tests/interop/breakable.py`: 2 MiB for 64 MiB, 1,000 messages for a million, 20 s for 300), so that minutes show what hours would; the figures are those of that copy, on a loaded machine.\n"
        "Commands of other programs than `broker-trio` run as well where a host's systemd, clock or kernel log is not needed (`tests/interop/runbooks.py` says which are not, and why).\n"
        "*On hosts*: `tests/fleet/test_monitoring.py` saw it as well, with the rules and waits of production, from the fault to the receiver of pages and back.\n\n"
        "### Pages\n\n"
        + proofs.table([a.name for a in ALERTS if a.severity == "page"])
        + "\n### Others\n\n"
        + proofs.table([a.name for a in ALERTS if a.severity != "page"])
    )


def compat_tests() -> str:
    """rules_test/compat_exporter.yml: every name that the exporter's dashboards ask is there."""
    base = 'cluster="c",node_type="broker",node_id="a",instance="a1"'
    topic = f'{base},topic="t"'
    group = f'{topic},consumer_group="g"'
    series = [
        (f'rocketmq_messages_in_total{{{topic}}}', "0+30x20"),
        (f'rocketmq_throughput_in_total{{{topic}}}', "0+300x20"),
        (f'rocketmq_messages_out_total{{{group}}}', "0+15x20"),
        (f'rocketmq_throughput_out_total{{{group}}}', "0+150x20"),
        (f'brokertrio_topic_offset{{{topic}}}', "70x20"),
        (f'brokertrio_consumer_offset{{{group}}}', "60x20"),
        (f'rocketmq_consumer_lag_messages{{{group}}}', "10x20"),
        (f'rocketmq_consumer_lag_latency_milliseconds{{{group}}}', "900x20"),
        (f'rocketmq_consumer_connections{{{base},consumer_group="g"}}', "2x20"),
        (f'rocketmq_producer_connections{{{base}}}', "3x20"),
        (f'brokertrio_replication_lag_bytes{{{base},replica="2"}}', "5x20"),
        (f'brokertrio_store_filesystem_avail_bytes{{{base},area="commitlog"}}', "25x20"),
        (f'brokertrio_store_filesystem_size_bytes{{{base},area="commitlog"}}', "100x20"),
        (f'brokertrio_commitlog_offset_bytes{{{base},end="min"}}', "1x20"),
        (f'brokertrio_commitlog_offset_bytes{{{base},end="max"}}', "9x20"),
        (f'rocketmq_storage_dispatch_behind_bytes{{{base}}}', "4x20"),
        (f'rocketmq_storage_flush_behind_bytes{{{base}}}', "6x20"),
        (f'brokertrio_request_wait_seconds{{{base},processor="send"}}', "0.5x20"),
        (f'brokertrio_request_wait_seconds{{{base},processor="async_put"}}', "0x20"),
        *[(f'rocketmq_processor_watermark{{{base},processor="{p}"}}', "8x20") for p in ("send", "pull", "query_message")],
        *[(f'brokertrio_store_put_duration_seconds_bucket{{{base},le="{le}"}}', f"0+{count}x20") for count, le in enumerate(("0.0005", "0.01", "0.05", "0.1", "0.25", "1", "2.5", "5", "10"), 1)],
    ]  # fmt: skip
    values = {
        "rocketmq_broker_tps": 2, "rocketmq_broker_qps": 1, "rocketmq_producer_tps": 2,
        "rocketmq_producer_message_size": 20, "rocketmq_producer_offset": 70,
        "rocketmq_consumer_tps": 1, "rocketmq_consumer_message_size": 10,
        "rocketmq_consumer_offset": 60, "rocketmq_group_diff": 10,
        "rocketmq_message_accumulation": 10, "rocketmq_group_get_latency_by_storetime": 900,
        "rocketmq_group_count": 2, "rocketmq_producer_count": 3,
        "rocketmq_broker_commitlog_diff": 5, "rocketmq_brokeruntime_commitlog_disk_ratio": 0.75,
        "rocketmq_brokeruntime_commitlogdir_capacity_total": 100,
        "rocketmq_brokeruntime_commitlogdir_capacity_free": 25,
        "rocketmq_brokeruntime_commitlog_minoffset": 1,
        "rocketmq_brokeruntime_commitlog_maxoffset": 9,
        "rocketmq_brokeruntime_dispatch_behind_bytes": 4,
        "rocketmq_brokeruntime_remain_howmanydata_toflush": 6,
        "rocketmq_brokeruntime_send_threadpoolqueue_headwait_timemills": 500,
    }  # fmt: skip
    lines = [NOTE, "rule_files: [../rules/recording.yml, ../rules/compat_exporter.yml]\n"]
    lines += [
        f"evaluation_interval: {INTERVAL}\ntests:\n  - interval: {INTERVAL}\n    input_series:\n"
    ]
    lines += [f"      - {{series: {text(one)}, values: {text(v)}}}\n" for one, v in series]
    lines.append("    promql_expr_test:\n")
    for rule in COMPAT:
        value = values.get(rule.name, 8 if "threadpool" in rule.name else 4)
        lines.append(
            f"      - expr: {text(f'sum({rule.name})')}\n        eval_time: 4m\n"
            f"        exp_samples: [{{labels: '{{}}', value: {value}}}]\n"
        )
    return "".join(lines)


def outputs() -> Iterator[tuple[str, str]]:
    """Every generated file below the repository's root, with its text."""
    yield "grafana/rules/recording.yml", recording_rules("recording", RECORDING)
    yield "grafana/rules/compat_exporter.yml", recording_rules("compat-rocketmq-exporter", COMPAT)
    yield "grafana/rules_test/compat_exporter.yml", compat_tests()
    for group in dict.fromkeys(alert.group for alert in ALERTS):
        yield f"grafana/rules/{group}.yml", alert_rules(group)
        yield f"grafana/rules_test/{group}.yml", rule_tests(group)
    for alert in ALERTS:
        yield f"docs/operating/runbooks/{alert.name}.md", runbook(alert)
    yield "docs/operating/alerts.md", alerts_page()
