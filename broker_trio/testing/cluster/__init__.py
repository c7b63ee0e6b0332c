"""Whole programs in one simulated world, the clients that use them, and a record of all they saw."""
