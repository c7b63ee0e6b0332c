"""Pictures of the dashboards, by hand: see draw.py."""
