"""What every test shares: the same surroundings on a laptop, in Lab's terminal and in continuous integration."""

import ctypes
import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Read before matplotlib is imported: no window opens, wherever the tests run.
os.environ["MPLBACKEND"] = "Agg"
# A terminal inside Lab hands this down, and with it the idea that a person looks on.
os.environ.pop("JPY_SESSION_NAME", None)

# The machine's speed must not decide whether a law holds; in CI the examples are the same every time.
settings.register_profile("mixlab", deadline=None, print_blob=True, derandomize="CI" in os.environ,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mixlab")


@pytest.fixture
def modes_count():
    """Root, too, can write in a test only where the mode of a file or folder says so."""
    if sys.platform != "linux" or os.geteuid():
        yield
        return
    capset, header, three = ctypes.CDLL(None).capset, (ctypes.c_uint32 * 2)(0x20080522, 0), 0b1110
    before = (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capget(header, before)  # effective, permitted and inheritable, then those above 32
    assert not capset(header, (ctypes.c_uint32 * 6)(before[0] & ~three, *before[1:]))
    yield
    assert not capset(header, before)


@pytest.fixture(autouse=True)
def no_figure_stays():
    """Figures of a test end with it; whoever drew none need not import matplotlib."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
