"""Freed memory is kept: large blocks that come again cost no new pages."""

import subprocess
import sys

import pytest

from mixlab import allocator

FAULTS = """
import resource
from mixlab.allocator import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        b"x" * (48 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults()
assert keep_freed_memory()
b"x" * (48 << 20)
print(plain, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are counted on Linux")
def test_large_blocks_are_reused():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    if "AssertionError" in done.stderr:
        pytest.skip("this C library has no mallopt")
    plain, kept = map(int, done.stdout.split())
    assert plain > 5 * 48 << 20 >> 13 and kept < plain / 20  # pages of 4 KiB, at most half of them merged into larger


@pytest.mark.parametrize("library", [object(), None])
def test_another_c_library_is_left_alone(library, monkeypatch):
    def load(name):
        if library is None:
            raise OSError("no such library")
        return library

    monkeypatch.setattr(allocator.ctypes, "CDLL", load)
    assert allocator.keep_freed_memory() is False
