"""Work on many files at once, with a line of text every few seconds."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

EVERY = 5.0  # seconds between two lines
AT_ONCE = 1024  # files that are handed to the threads together, so that a million of them need no memory


def each(function, files, *others, doing="Decoding", log=print):
    """``[function(file, other, ...), ...]`` over equally long sequences, in threads and in order.

    Args:
        doing: what is done, as a word. log: called with a line of text every ``EVERY`` seconds.
    """
    found, started = [], time.monotonic()
    said = started
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and resizes outside of Python's lock
        for start in range(0, len(files), AT_ONCE):
            for one in pool.map(function, *(column[start:start + AT_ONCE] for column in (files, *others))):
                found.append(one)
                now = time.monotonic()
                if now - said >= EVERY:
                    left = (now - started) * (len(files) / len(found) - 1)
                    log(f"{doing} images: {len(found):,} of {len(files):,}, about {left:,.0f} s more.")
                    said = now
    return found
