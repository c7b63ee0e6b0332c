"""The report of a drill as one HTML page that needs nothing beside it: to read, mail and keep.

First what a person wants at 3 a.m.: did it hold, how long, what was lost; then when what happened,
drawn and as a table; then what was checked; last under which settings, to run it again.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from broker_trio.ops.drill.catalogue import BY_NAME
from broker_trio.ops.drill.compare import Change
from broker_trio.ops.drill.plot import Plot
from broker_trio.ops.drill.records import Run
from broker_trio.ops.drill.report import alert_rows
from broker_trio.ops.drill.series import Series
from broker_trio.ops.drill.verdict import Check, Outcome

STYLE: Final = """
:root{--bg:#fff;--fg:#1b1f24;--dim:#667080;--line:#dfe3e8;--card:#f6f7f9;--ok:#2f9e5b;
--bad:#d1372f;--warn:#c27c0e;--blue:#2f6fd0;--shade:#9aa4b2}
@media(prefers-color-scheme:dark){:root{--bg:#14171b;--fg:#e4e8ee;--dim:#96a0ae;--line:#2b3138;
--card:#1c2127;--ok:#3fb56f;--bad:#f0635b;--warn:#e0a03a;--blue:#6aa3f5;--shade:#5a6472}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);
font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1180px;margin:0 auto;padding:24px 28px 60px}h1{font-size:23px;margin:0}
.sum{font-size:16px;margin:16px 0 0}
h2{font-size:15px;margin:30px 0 8px}p{margin:4px 0}.dim{color:var(--dim)}
header{display:flex;gap:18px;align-items:center;border-bottom:1px solid var(--line);
padding-bottom:16px}
.badge{font-weight:700;font-size:19px;letter-spacing:.04em;color:#fff;border-radius:6px;
padding:9px 16px}.pass{background:var(--ok)}.fail{background:var(--bad)}
.inconclusive{background:var(--warn)}
.why{margin:14px 0 0;padding:10px 14px;border-radius:6px;border:1px solid var(--line);
border-left:5px solid var(--bad);background:var(--card)}
.why.inconclusive{color:var(--fg);background:var(--card);border-left-color:var(--warn)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(240px,1fr));gap:10px;
margin:18px 0 6px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 14px}
.tile b{display:block;font-size:23px;font-variant-numeric:tabular-nums;font-weight:650}
.tile.good b{color:var(--ok)}.tile.ill b{color:var(--bad)}
.tile span{color:var(--dim);font-size:12px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{text-align:left;padding:5px 12px 5px 0;border-bottom:1px solid var(--line);
vertical-align:top}th{color:var(--dim);font-weight:500;font-size:12px}td.r,th.r{text-align:right}
.two{display:grid;grid-template-columns:1fr 1fr;gap:0 44px}
@media(max-width:900px){.two{grid-template-columns:1fr}}.y{color:var(--ok)}
.x{color:var(--bad);font-weight:650}.q{color:var(--warn);font-weight:650}
code{font:12.5px ui-monospace,"DejaVu Sans Mono",monospace}
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--fg)}
svg .s{fill:var(--dim);font-size:10.5px}svg .n{fill:var(--dim)}svg .w{fill:#fff;font-size:10.5px}
svg .g{stroke:var(--line);stroke-width:.7}svg .b{stroke:var(--shade)}svg .ok{fill:var(--blue)}
svg .e0{fill:#d1372f}svg .e1{fill:#e58b25}svg .e2{fill:#a33fb0}svg .e3{fill:#7a6a58}
svg .e4{fill:#9aa4b2}svg .l{stroke:var(--warn);fill:none;stroke-width:1.6}
svg path.m{stroke:var(--dim);stroke-dasharray:2 3}svg path.m0{stroke:var(--bad);stroke-width:1.4}
svg path.m5{stroke:var(--ok);stroke-width:1.4}svg text.m0{fill:var(--bad);font-weight:700}
svg text[class^=m]{paint-order:stroke;stroke:var(--bg);stroke-width:4px}
svg text.m5{fill:var(--ok);font-weight:700}svg .r-owner{fill:#2f6fd0}svg .r-slave{fill:#4c8f74}
svg .r-silent{fill:#c9483f}svg .r-bad{fill:#c9483f}svg .r-shows{fill:#7d8797}
svg .r-learn{fill:#c27c0e}svg .r-other{fill:#c27c0e}
.key i{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 5px 0 14px}
details{margin-top:8px}summary{cursor:pointer;color:var(--dim)}
"""


def page(run: Run, outcome: Outcome, series: Series | None, changes: Sequence[Change]) -> str:
    """The whole page. `series` None: no fault came, so there is nothing to draw."""
    drill = BY_NAME[run.drill]
    parts = [
        _header(run, outcome),
        f'<p class="sum">{escape(in_a_sentence(outcome))}</p>',
        _why(outcome),
        _tiles(outcome),
        _picture(series, outcome),
        '<div class="two"><div>', _moments(outcome), "</div><div>", _compare(changes),
        "</div></div>",
        _checks(outcome.checks),
        '<div class="two"><div>', _alerts(run, outcome), _gaps(outcome), "</div><div>",
        _settings(run), "</div></div>",
        _guards(run),
        f'<h2>What this drill is</h2><p>It proves that {escape(drill.proves)}. '
        f"Expected harm: {escape(drill.harm)}. Revert: {escape(drill.revert)}.</p>",
    ]  # fmt: skip
    title = f"{outcome.verdict}: {drill.title}, {run.pair}, {_when(run.begun_ms)}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"{''.join(parts)}</main></body></html>\n"
    )


def _when(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _clock(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms / 1_000, UTC):%H:%M:%S.%f}"[:-3]


def _header(run: Run, outcome: Outcome) -> str:
    drill, who = BY_NAME[run.drill], ", done by a person" if run.human else ""
    return (
        f'<header><span class="badge {outcome.verdict}">{outcome.verdict.upper()}</span><div>'
        f"<h1>{escape(drill.title)}</h1>"
        f'<p class="dim">cluster {escape(run.cluster)}, pair {escape(run.pair)} '
        f"({escape(run.mode)} replication, {escape(run.flush)}), {_when(run.begun_ms)}, "
        f"{escape(run.where)}{who}</p></div></header>"
    )


def _why(outcome: Outcome) -> str:
    if not outcome.reasons:
        return ""
    lines = "".join(f"<p>{escape(reason)}</p>" for reason in outcome.reasons)
    return f'<div class="why {outcome.verdict}">{lines}</div>'


def in_a_sentence(outcome: Outcome) -> str:
    """What a person wants to hear first."""
    ledger, zero, whole = outcome.ledger, outcome.moments[0].at_ms, outcome.moments[8].at_ms
    if zero is None:
        return "Nothing was broken, so nothing was proved."
    lost = ledger.lost.count
    parts = [
        f"{lost:,} acknowledged messages were lost" if lost
        else f"None of {ledger.acknowledged:,} acknowledged messages was lost",
    ]  # fmt: skip
    if outcome.moments[1].at_ms is None:
        parts.append("no send failed")
    elif outcome.rto_s is None:
        parts.append("sends never went well again")
    else:
        parts.append(f"sends went well again {outcome.rto_s:.1f} s after the fault")
    if whole is not None:
        parts.append(f"the pair was whole after {(whole - zero) / 1_000:.0f} s")
    else:
        parts.append("the pair was not seen whole again")
    return "; ".join(parts) + "."


def seconds(value: float | None) -> str:
    """As people read it; a dash for none."""
    return "–" if value is None else f"{value:.2f} s"


def _tiles(outcome: Outcome) -> str:
    ledger = outcome.ledger
    tiles: list[tuple[str, str, bool | None]] = [
        ("lost of the acknowledged (RPO)", f"{ledger.lost.count:,}", not ledger.lost.count),
        ("fault to lasting success (RTO)", seconds(outcome.rto_s), None),
        ("longest without an acknowledgement", seconds(outcome.gap_s), None),
        (
            "stored twice / out of order",
            f"{ledger.duplicated.count:,} / {ledger.out_of_order.count:,}",
            not ledger.duplicated.count + ledger.out_of_order.count,
        ),
        ("acknowledged sends", f"{ledger.acknowledged:,}", None),
        ("refused, or never left", f"{ledger.failed:,}", None),
        ("unknown, some stored", f"{ledger.unknown:,} / {ledger.unknown_stored:,}", None),
    ]
    if any(check.name == "recovery after the healing" for check in outcome.checks):
        tiles.insert(2, ("healing to lasting success", seconds(outcome.after_heal_s), None))
    if outcome.person_s is not None:
        tiles.insert(2, ("until the person acted", seconds(outcome.person_s), None))
    kinds = {True: " good", False: " ill", None: ""}
    made = [
        f'<div class="tile{kinds[ok]}"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value, ok in tiles
    ]
    return f'<div class="tiles">{"".join(made)}</div>'


def _picture(series: Series | None, outcome: Outcome) -> str:
    if series is None:
        return "<p>No fault came, so there is nothing to draw.</p>"
    names = list(series.failed)
    keys = "".join(
        f'<i style="background:{colour}"></i>{escape(name)}'
        for name, colour in zip(
            names, ("#d1372f", "#e58b25", "#a33fb0", "#7a6a58", "#9aa4b2"), strict=False
        )
    )
    legend = f'<p class="dim key">sends that were not acknowledged:{keys}</p>' if keys else ""
    return (
        "<h2>What happened, in seconds since the fault</h2>"
        f"{Plot(series, outcome.moments).svg()}{legend}"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int]) -> str:
    """Cells are HTML already."""
    marks = ['class="r"' if n in right else "" for n in range(len(head))]
    first = "".join(f"<th {m}>{h}</th>" for h, m in zip(head, marks, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td {m}>{c}</td>" for c, m in zip(row, marks, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{first}</tr>{body}</table>"


def _moments(outcome: Outcome) -> str:
    zero = outcome.moments[0].at_ms
    rows = []
    for moment in outcome.moments:
        at = moment.at_ms
        since = "–" if at is None or zero is None else f"{(at - zero) / 1_000:+.3f}"
        rows.append((moment.label, moment.name, since, "–" if at is None else _clock(at)))
    head = ("", "moment", "seconds", "at (UTC)")
    return f"<h2>When</h2>{table(head, rows, frozenset({2, 3}))}"


def _compare(changes: Sequence[Change]) -> str:
    if not changes:
        return '<h2>Beside the last run</h2><p class="dim">This is the first one that is kept.</p>'
    rows = [(escape(c.name), escape(c.before), escape(c.now), _trend(c)) for c in changes]
    head = ("", "last run", "this run", "")
    return f"<h2>Beside the last run</h2>{table(head, rows, frozenset({1, 2}))}"


def _trend(change: Change) -> str:
    kinds = {"better": "y", "worse": "x", "other": "q", "": ""}
    return f'<span class="{kinds[change.trend]}">{change.trend}</span>'


def _checks(checks: Sequence[Check]) -> str:
    signs = {True: ("y", "holds"), False: ("x", "broken"), None: ("q", "not proved")}
    rows = [
        (f'<span class="{signs[c.ok][0]}">{signs[c.ok][1]}</span>', escape(c.name),
         escape(c.wanted), escape(c.found))
        for c in sorted(checks, key=lambda c: (c.ok is True, c.ok is None))
    ]  # fmt: skip
    return f"<h2>What was checked</h2>{table(('', 'demand', 'wanted', 'found'), rows, frozenset())}"


def _alerts(run: Run, outcome: Outcome) -> str:
    if outcome.moments[0].at_ms is None:
        return ""
    if not outcome.alerts:
        asked = any(guard.name == "no alert fires" for guard in run.guards)
        return '<h2>Alerts</h2><p class="dim">None fired.</p>' if asked else ""
    rows = [tuple(map(escape, row)) for row in alert_rows(outcome)]
    head = ("seconds", "alert", "severity", "")
    return f"<h2>Alerts</h2>{table(head, rows, frozenset({0}))}"


def _gaps(outcome: Outcome) -> str:
    ledger = outcome.ledger
    rows = [
        (_clock(gap.from_wall_ms), f"{gap.seconds:.3f}", f"{gap.failed:,}",
         escape(", ".join(f"{n} {c}" for c, n in sorted(gap.causes.items()))))
        for gap in ledger.gaps[:8]
    ]  # fmt: skip
    head = ("from (UTC)", "seconds", "not acked", "causes")
    made = table(head, rows, frozenset({1, 2})) if rows else '<p class="dim">none over a second</p>'
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in sorted(ledger.durability.items()))
    return f'<h2>Gaps of a second and more</h2>{made}<p class="dim">receipts: {escape(kinds)}</p>'


def _settings(run: Run) -> str:
    facts: list[tuple[str, Any]] = [
        ("run", run.run), ("master, slave before", f"{run.master}, {run.slave}"),
        ("durability", f"{run.mode} replication, {run.flush}"),
        ("load", f"{run.rate:g}/s to topic {run.topic}, {run.attempts} attempt(s) of "
                 f"{run.timeout_s:g} s"),
        ("steady before", f"{run.steady_s:g} s"),
        ("nameservers", ", ".join(run.nameservers)),
        *((f"version of {who}", version) for who, version in sorted(run.versions.items())),
        *((f"settings of {who}", digest) for who, digest in sorted(run.config.items())),
    ]  # fmt: skip
    rows = [(escape(name), f"<code>{escape(str(value))}</code>") for name, value in facts]
    return f"<h2>Under which settings</h2>{table(('', ''), rows, frozenset())}"


def _guards(run: Run) -> str:
    rows = [
        (f'<span class="{"y" if g.ok else "x"}">{"holds" if g.ok else "does not hold"}</span>',
         escape(g.name), escape(g.fact))
        for g in run.guards
    ]  # fmt: skip
    if not rows:
        return ""
    return f"<h2>Guards before it began</h2>{table(('', '', ''), rows, frozenset())}"
