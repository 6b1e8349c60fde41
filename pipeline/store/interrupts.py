"""Ctrl-C and SIGTERM are delayed while a library calls back into Python.

Python raises KeyboardInterrupt wherever its code runs, also in a function that HDF5 called. There
the exception is lost or becomes an error of the library's, and what the library has in memory is
half changed. Held back for the length of one call, it is raised behind it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Delay the signals that Python handles until the block ends, however it ends.

    Only in the main thread, where Python handles them; elsewhere it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[tuple[int, FrameType | None]] = []
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    # `default_int_handler` is a plain function; SIG_DFL and SIG_IGN act without Python.
    for number in handlers:
        signal.signal(number, lambda *call: received.append(call))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for call in received[:1]:
            handlers[call[0]](*call)
