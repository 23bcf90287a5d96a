"""How a person, a scheduler or a parent process asks a training to stop."""

import os
import signal
import threading
from contextlib import contextmanager


@contextmanager
def stop_on_signal():
    """Yields a list that fills at the first SIGINT or SIGTERM; the second one interrupts at once."""
    asked = []

    def ask(number, frame):
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_at_end_of_input():
    """Sends this process SIGINT when its standard input ends: when the process that started it wants so, or dies."""
    def watch():
        while os.read(0, 4096):
            pass
        signal.raise_signal(signal.SIGINT)  # os.kill would end a process of Windows on the spot

    threading.Thread(target=watch, daemon=True).start()
