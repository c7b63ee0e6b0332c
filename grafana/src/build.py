"""A small builder of Grafana dashboards: panels in rows on a grid of 24 columns, as plain dicts.

    board = Dashboard("bt-x", "X", "What it answers.", variables=(…))
    board.row("Is it well")
    board.stat("Title", "What it says, and when it is bad.", q('sum(up{[c]})', "{{instance}}"), …)

In queries `[c]` stands for the cluster's matcher and `[n]` for cluster and node, so that none can
forget them. Panels flow from left to right and wrap; every panel has a title, a description and a
unit. Output is schema 39: Grafana 10 takes it as it is, newer ones migrate it when they load it.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

Json = dict[str, Any]
SCHEMA: Final = 39
WIDTH: Final = 24
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
CLUSTER: Final = 'cluster="$cluster"'
NODE: Final = 'cluster="$cluster",node_id=~"$node"'
GREEN, AMBER, RED, BLUE = "green", "orange", "red", "blue"
COLOURED_TEXT: Final[Json] = {"type": "color-text"}


class Query(NamedTuple):
    """One target: its expression, and how its series are called."""

    expr: str
    legend: str = ""


def expanded(expr: str) -> str:
    """`[c]` and `[n]` written out."""
    return expr.replace("[c]", CLUSTER).replace("[n]", NODE)


def q(expr: str, legend: str = "") -> Query:
    return Query(expanded(expr), legend)


class Variable(NamedTuple):
    """A template variable: the values of `label` on `selector`; `many` adds All and several."""

    name: str
    label: str
    selector: str
    many: bool = True
    title: str = ""

    def to_json(self) -> Json:
        query = f"label_values({expanded(self.selector)}, {self.label})"
        found: Json = {
            "name": self.name,
            "label": self.title or self.name.capitalize(),
            "type": "query",
            "datasource": DATASOURCE,
            "definition": query,
            "query": {"query": query, "refId": f"variable-{self.name}"},
            "refresh": 2,
            "sort": 1,
            "multi": self.many,
            "includeAll": self.many,
        }
        if self.many:
            found |= {"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}}
        return found


CLUSTER_VARIABLE: Final = Variable("cluster", "cluster", "brokertrio_build_info", many=False)
NODE_VARIABLE: Final = Variable("node", "node_id", "brokertrio_broker_info{[c]}", title="Broker")
DATASOURCE_VARIABLE: Final[Json] = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
}


def steps(good: str, *limits: tuple[float, str]) -> list[Json]:
    """Thresholds: the colour below the first limit, then each limit's own."""
    return [{"color": good, "value": None}, *[{"color": c, "value": v} for v, c in limits]]


@dataclass
class Dashboard:
    """One dashboard under construction; `to_json` is what is committed."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...] = (CLUSTER_VARIABLE, NODE_VARIABLE)
    annotations: tuple[tuple[str, str, str], ...] = ()
    panels: list[Json] = field(default_factory=list)
    _x: int = 0
    _y: int = 0
    _height: int = 0
    _inner: int = 0
    _short_x: int = WIDTH

    def row(self, title: str) -> None:
        self._wrap()
        self._add({"type": "row", "title": title, "collapsed": False, "panels": []}, WIDTH, 1)
        self._wrap()

    def stat(
        self, title: str, text: str, *queries: Query, unit: str = "short", width: int = 4,
        thresholds: list[Json] | None = None, mappings: list[Json] | None = None, height: int = 4,
        decimals: int | None = None,
    ) -> None:  # fmt: skip
        """One or a few figures of now, coloured by their thresholds."""
        options = {
            "colorMode": "background" if thresholds else "value",
            "graphMode": "none" if len(queries) > 1 else "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "value_and_name" if len(queries) > 1 else "auto",
        }
        self._panel(
            "stat", title, text, queries, unit, width, height, options, thresholds, mappings,
            decimals=decimals,
        )  # fmt: skip

    def graph(
        self, title: str, text: str, *queries: Query, unit: str = "short", width: int = 8,
        thresholds: list[Json] | None = None, stack: bool = False, height: int = 8,
    ) -> None:  # fmt: skip
        """Lines over time; with thresholds, their areas are shown."""
        options = {
            "legend": {
                "displayMode": "table",
                "placement": "bottom",
                "calcs": ["lastNotNull", "max"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
        custom = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if stack else 8,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "area" if thresholds else "off"},
        }
        self._panel(
            "timeseries", title, text, queries, unit, width, height, options, thresholds,
            custom=custom,
        )  # fmt: skip

    def timeline(
        self, title: str, text: str, *queries: Query, mappings: list[Json], width: int = 12,
        height: int = 6,
    ) -> None:  # fmt: skip
        """States over time, a line an instance."""
        options = {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8}
        self._panel(
            "state-timeline", title, text, queries, "short", width, height, options, None, mappings,
            custom={"fillOpacity": 70, "lineWidth": 0},
        )  # fmt: skip

    def heatmap(
        self, title: str, text: str, query: Query, *, unit: str = "s", width: int = 8
    ) -> None:
        """A histogram's buckets over time."""
        options = {
            "calculate": False,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
            "yAxis": {"unit": unit},
        }
        self._panel("heatmap", title, text, (query,), unit, width, 8, options, None)
        self.panels[-1]["targets"][0]["format"] = "heatmap"

    def table(
        self, title: str, text: str, *queries: Query, unit: str = "short", width: int = 12,
        height: int = 8, names: dict[str, str] | None = None, hide: tuple[str, ...] = (),
        units: dict[str, str] | None = None, sort: tuple[str, ...] = (), join: str = "",
        thresholds: list[Json] | None = None, words: dict[str, list[Json]] | None = None,
    ) -> None:  # fmt: skip
        """Values of now, in columns in the order of `names`, which renames them.

        `hide` leaves some out, `join` joins queries, `words` maps a column's values to words and
        colours; `sort` are columns, the biggest first where one begins with a minus.
        """
        options: Json = {"showHeader": True, "cellHeight": "sm"}
        options["sortBy"] = [
            {"displayName": one.removeprefix("-"), "desc": one.startswith("-")} for one in sort
        ]
        custom: Json = {"cellOptions": COLOURED_TEXT} if thresholds else {}
        self._panel(
            "table", title, text, queries, unit, width, height, options, thresholds, custom=custom,
        )  # fmt: skip
        panel = self.panels[-1]
        for target in panel["targets"]:
            target |= {"format": "table", "instant": True, "range": False}
        how = {"id": "joinByField", "options": {"byField": join, "mode": "outer"}}
        order = {name: index for index, name in enumerate(names or {})}
        excluded = dict.fromkeys(("Time", *[f"Time {n}" for n in range(1, 9)], *hide), True)
        panel["transformations"] = [
            how if join else {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": excluded,
                    "renameByName": names or {},
                    "indexByName": order,
                },
            },
        ]
        panel["fieldConfig"]["overrides"] = [
            *[_override(name, unit=one) for name, one in (units or {}).items()],
            *[
                _override(name, mappings=one, **{"custom.cellOptions": COLOURED_TEXT})
                for name, one in (words or {}).items()
            ],
        ]

    def _panel(
        self, kind: str, title: str, text: str, queries: tuple[Query, ...], unit: str, width: int,
        height: int, options: Json, thresholds: list[Json] | None,
        mappings: list[Json] | None = None, custom: Json | None = None, decimals: int | None = None,
    ) -> None:  # fmt: skip
        defaults: Json = {"unit": unit, "mappings": mappings or [], "custom": custom or {}}
        if decimals is not None:
            defaults["decimals"] = decimals
        defaults["thresholds"] = {"mode": "absolute", "steps": thresholds or steps(GREEN)}
        defaults["color"] = {
            "mode": "thresholds" if thresholds and kind == "stat" else "palette-classic"
        }
        targets = [
            {
                "refId": chr(ord("A") + number),
                "datasource": DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                "range": True,
            }
            for number, query in enumerate(queries)
        ]
        panel = {
            "type": kind,
            "title": title,
            "description": text,
            "datasource": DATASOURCE,
            "targets": targets,
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
        }
        self._add(panel, width, height)

    def _add(self, panel: Json, width: int, height: int) -> None:
        """Beside the last panel, else below the shorter ones of this line, else on a new line."""
        if self._x + width > WIDTH:
            if self._short_x + width <= WIDTH and self._inner + 2 * height <= self._height:
                self._x, self._inner = self._short_x, self._inner + height
            else:
                self._wrap()
        place = {"x": self._x, "y": self._y + self._inner, "w": width, "h": height}
        self.panels.append({"id": len(self.panels) + 1, "gridPos": place, **panel})
        if height < self._height and self._short_x == WIDTH:
            self._short_x = self._x
        self._x += width
        self._height = max(self._height, height)

    def _wrap(self) -> None:
        self._x, self._y, self._height = 0, self._y + self._height, 0
        self._inner, self._short_x = 0, WIDTH

    def to_json(self) -> Json:
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["broker-trio"],
            "schemaVersion": SCHEMA,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "refresh": "15s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "templating": {
                "list": [DATASOURCE_VARIABLE, *[one.to_json() for one in self.variables]]
            },
            "annotations": {"list": [_annotation(*one) for one in self.annotations]},
            "links": [
                {
                    "type": "dashboards",
                    "title": "Broker Trio",
                    "tags": ["broker-trio"],
                    "asDropdown": True,
                    "includeVars": True,
                    "keepTime": True,
                }
            ],
            "panels": self.panels,
        }

    def text(self) -> str:
        """The committed file."""
        return json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n"


def _override(column: str, **properties: Any) -> Json:
    """Of one column of a table."""
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def _annotation(name: str, expr: str, title: str) -> Json:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "expr": expanded(expr),
        "iconColor": "purple",
        "titleFormat": title,
        "step": "15s",
    }


def states(**names: tuple[float, str]) -> list[Json]:
    """Value mappings: text = (value, colour); `_` in a text is a blank."""
    return [
        {
            "type": "value",
            "options": {
                f"{value:g}": {"text": text.replace("_", " "), "color": color, "index": index}
                for index, (text, (value, color)) in enumerate(names.items())
            },
        }
    ]


def words(**colours: str) -> list[Json]:
    """Colours of a column's words: word = colour."""
    return [
        {
            "type": "value",
            "options": {
                text: {"text": text, "color": color, "index": index}
                for index, (text, color) in enumerate(colours.items())
            },
        }
    ]
