"""Dashboards, rules and the metrics page as code; `python -m grafana.src` writes them all."""
