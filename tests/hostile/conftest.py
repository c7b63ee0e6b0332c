"""Attacks are logged by the thousand: nobody reads that here."""

import logging

import pytest
import structlog


@pytest.fixture(autouse=True)
def silence():
    """Drop every log line; what a program logs is the concern of its own tests."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()
