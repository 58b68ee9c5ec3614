"""Settings of all tests."""

import signal

import pytest
from hypothesis import settings

# Machines that run tests are shared: how long an example takes says nothing.
settings.register_profile("anabatch", deadline=None)
settings.load_profile("anabatch")


@pytest.fixture
def interruptible():
    """Let what a test starts be interrupted, also where the tests themselves run in the background.

    A shell starts these with interrupts ignored, which every process below them inherits.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
