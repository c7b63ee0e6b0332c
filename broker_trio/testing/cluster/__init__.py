"""Whole programs in one simulated world, the clients that use them, and what these saw."""
