"""Simulated clusters under faults, each an async function of a World; see catalogue.py."""
