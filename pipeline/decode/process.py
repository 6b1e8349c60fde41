"""One decoding process, seen from the pool: starts it, exchanges messages, detects its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from typing import IO, Any, BinaryIO, cast

from ..child_python import child_command
from ..errors import PipelineError
from ..scratch import scratch_file
from .protocol import Kind, receive

_START = f"from {__package__}.worker import main; main()"
START_SECONDS = 120.0  # for its imports, which may come over a network


class ProcessDiedError(Exception):
    """A decoding process ended, or was killed, during its work.

    Args:
        reason: decoder_crashed, decoder_stalled, or too_large if its memory ran out.
        detail: how the process ended.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class DecodeProcess:
    """A running decoding process; starting it does not wait for its imports.

    Attributes:
        jobs: number of jobs sent to it.

    Raises:
        PipelineError: the system cannot start another process, or has no temporary folder.
    """

    def __init__(self) -> None:
        # A file, not a pipe: nothing reads it while the process runs, and it never blocks.
        self._stderr: IO[bytes] = scratch_file()
        try:
            self._process = subprocess.Popen(
                child_command(_START),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        except OSError as error:
            self._stderr.close()
            raise PipelineError(
                f"cannot start a decoding process: {error}; use fewer (--workers)"
            ) from error
        self._lock = threading.Lock()
        self._waiting_since: float | None = None
        self._waited = 0.0  # seconds of the wait in which both processes could run
        self._stalled = 0.0
        self._ready = False
        self.jobs = 0

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until the process can take jobs.

        Raises:
            ChildDiedError: the process ended; with the last line of its error output.
        """
        kind, _, _ = self.receive()
        assert kind is Kind.READY
        self._ready = True

    def send_job(self, job: dict[str, Any]) -> None:
        """Send a job; if the process has ended, the next `receive` raises."""
        self.jobs += 1
        stdin = cast(BinaryIO, self._process.stdin)
        with contextlib.suppress(OSError):
            stdin.write(json.dumps(job).encode() + b"\n")
            stdin.flush()

    def receive(self) -> tuple[Kind, dict[str, Any], bytearray]:
        """Wait for the next message.

        Raises:
            ChildDiedError: there will be none.
        """
        with self._lock:
            self._waiting_since, self._waited = time.monotonic(), 0.0
        try:
            message = receive(cast(BinaryIO, self._process.stdout))
        except (EOFError, OSError, ValueError):
            message = None
        with self._lock:
            self._waiting_since = None
        if message is None or self._stalled:
            raise self._death_error()
        return message

    def kill_if_stalled(self, seconds: float, beat: float) -> None:
        """Kill the process if a `receive` waits for too long; another thread calls this regularly.

        Args:
            seconds: longest time that a `receive` may wait.
            beat: seconds between two calls while this process is not suspended.
        """
        with self._lock:
            seconds = seconds if self._ready else max(seconds, START_SECONDS)
            if self._waiting_since is None or _is_suspended(self.pid):
                return
            self._waited += min(beat, time.monotonic() - self._waiting_since)
            if self._waited > seconds:
                self._stalled = seconds
                self._process.kill()

    def running(self) -> bool:
        """Tell whether the process still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill the process; the thread in `receive` gets an error."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process and release all its resources; may be called again."""
        # The process has nothing to save, so there is nothing to wait for.
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            with contextlib.suppress(OSError):  # unsent bytes for a dead process
                cast(IO[bytes], stream).close()

    def _death_error(self) -> ProcessDiedError:
        if self._stalled:
            return ProcessDiedError("decoder_stalled", f"no progress for {self._stalled:g} s")
        self._process.kill()  # in case it only closed its output
        code = self._process.wait()
        how = f"by {_signal_name(-code)}" if code < 0 else f"with exit code {code}"
        return ProcessDiedError(
            "decoder_crashed", f"decoding process ended {how}{self._last_words()}"
        )

    def _last_words(self) -> str:
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 4096))
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1].strip()}" if lines else ""


def _is_suspended(pid: int) -> bool:
    """Tell whether a process is suspended (SIGSTOP); False where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
