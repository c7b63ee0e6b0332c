"""Comparisons with Apache RocketMQ in one run, alternating: ratios, never bare seconds."""
