"""Failover by hand: look at a pair, and change who owns it."""
