"""The feature network run by OpenVINO on a CPU: the graph of TensorFlow, converted once.

A conversion takes some seconds, so it is kept in the user's cache. Features of both engines are
interchangeable. This is not taken on trust: a conversion keeps what TensorFlow gives for a few
pictures, and each start compares.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...atomic import atomic_write
from ...scratch import scratch_folder
from ...user_cache import cache_folder

# Frames of one job: the maps of more leave the processor's cache, fewer cost more a frame. Query
# views are 25 pictures more of each frame.
JOB_FRAMES, QUERY_JOB_FRAMES = 4, 1
# Precisions that it computes in: what OpenVINO calls them, and the least cosine to TensorFlow's
# descriptors in float32, of drawn pictures. Measured: 0.9999997 and 0.954.
PRECISIONS = {"float32": ("f32", 0.9999), "bfloat16": ("bf16", 0.9)}
_KEPT_FILES = 8  # conversions in the cache

Graph = Callable[[], Any]  # makes the frozen graph of TensorFlow
Reference = Callable[[np.ndarray], np.ndarray]  # frames to descriptors, by TensorFlow


class EngineError(Exception):
    """OpenVINO cannot run this network here; the text says why."""


def installed() -> bool:
    """Return whether OpenVINO can be imported, without importing it."""
    return find_spec("openvino") is not None


class OpenVinoNet:
    """Frames to descriptors, by one job of a few frames on each core."""

    def __init__(
        self,
        key: tuple[object, ...],
        shape: tuple[int, int],
        graph: Graph,
        reference: Reference,
        threads: int,
        *,
        precision: str = "float32",
    ) -> None:
        """Compile the network, converted before or now.

        Args:
            key: all that the network depends on, beside the program's code.
            shape: frames of one job, side of a frame in pixels.
            graph, reference: of the network in float32; called if the cache lacks the network.
            threads: cores to use.
            precision: one of `PRECISIONS`.

        Raises:
            EngineError: OpenVINO is missing, cannot compile the network, or gives other values;
                the processor lacks that precision.
        """
        hint, least_cosine = PRECISIONS[precision]
        self._lock = threading.Lock()
        self._shape = shape
        frames = _pictures(shape[1])
        path = cache_folder("openvino") / f"{_digest(key)}.net"
        try:
            openvino = import_module("openvino")
            kept = _read(path)
            converted = kept or _converted(openvino, graph, reference, frames)
            self._start(openvino, converted, threads, hint)
            expected = converted["expected"]
            self._size = expected.shape[1:]
            cosine = float((self(frames) * expected).sum(-1).min())
        except (KeyboardInterrupt, MemoryError):
            raise
        # Whatever is wrong with a library that is not needed must not stop the run.
        except Exception as error:
            raise EngineError(_first_line(error)) from error
        if not cosine >= least_cosine:
            raise EngineError(f"its descriptors differ from TensorFlow's, cosine {cosine:.4f}")
        if kept is None:
            _write(path, converted)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Return the descriptors of any number of frames.

        Args:
            frames: uint8 [B, S, S, 3] RGB.

        Returns:
            float32 [B, R, C], of length 1 along C.
        """
        out = np.empty((len(frames), *self._size), np.float32)
        with self._lock:
            size = self._shape[0]
            for start in range(0, len(frames), size):
                job = frames[start : start + size]
                missing = size - len(job)
                if missing:  # the last job is filled up with black, which is cut off again
                    job = np.concatenate([job, np.zeros((missing, *job.shape[1:]), np.uint8)])
                self._jobs.start_async({0: job}, out[start : start + size])
            self._jobs.wait_all()
        return out

    def _start(
        self, openvino: Any, converted: dict[str, np.ndarray], threads: int, hint: str
    ) -> None:
        size, side = self._shape
        core = openvino.Core()
        # Without it OpenVINO would imitate it, which is slower than float32.
        if hint == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError("the processor does not compute in bfloat16")
        weights = openvino.Tensor(converted["weights"])
        graph = core.read_model(converted["graph"].tobytes(), weights)
        graph.reshape([size, side, side, 3])
        # A core is a stream of its own: no thread waits for another one within a layer. Pinned
        # threads would fight with the decoding processes for the same cores.
        options = {
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        self._jobs = openvino.AsyncInferQueue(core.compile_model(graph, "CPU", options), threads)
        self._jobs.set_callback(_keep_result)


def _keep_result(job: Any, place: np.ndarray) -> None:
    place[:] = job.get_output_tensor(0).data[: len(place)]


def _converted(
    openvino: Any, graph: Graph, reference: Reference, frames: np.ndarray
) -> dict[str, np.ndarray]:
    """Convert the network: its graph and weights for OpenVINO, and what to compare with."""
    model = openvino.convert_model(graph())
    with scratch_folder() as folder:
        openvino.serialize(model, f"{folder}/net.xml", f"{folder}/net.bin")
        xml, weights = (np.fromfile(f"{folder}/net.{kind}", np.uint8) for kind in ("xml", "bin"))
    return {"graph": xml, "weights": weights, "expected": reference(frames)}


@cache
def _code_digest() -> str:
    """SHA-256 of the modules that the graph is made by, and the versions of the libraries."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    for library in ("tensorflow", "keras", "openvino", "numpy"):
        digest.update(f"{library} {version(library)};".encode())
    return digest.hexdigest()


def _digest(key: tuple[object, ...]) -> str:
    return hashlib.sha256(repr((_code_digest(), *key)).encode()).hexdigest()[:40]


def _pictures(side: int) -> np.ndarray:
    """Pictures to compare both engines by: squares of random colours, of several sizes."""
    rng = np.random.default_rng(0)
    pictures = []
    for squares in (2, 7, 14, 28):
        small = rng.integers(0, 256, (squares, squares, 3), np.uint8)
        size = -(-side // squares)
        pictures.append(small.repeat(size, 0).repeat(size, 1)[:side, :side])
    return np.stack(pictures)


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """Read a conversion; None if there is none or it is damaged: it is made again."""
    with suppress(OSError, ValueError, KeyError):
        content = path.read_bytes()
        if hashlib.sha256(content[32:]).digest() == content[:32]:
            with np.load(io.BytesIO(content[32:]), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in ("graph", "weights", "expected")}
    return None


def _write(path: Path, converted: dict[str, np.ndarray]) -> None:
    """Keep a conversion, and remove the oldest ones; without a cache it is made at each start."""
    content = io.BytesIO()
    np.savez(content, **converted)  # type: ignore[arg-type]
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(hashlib.sha256(content.getvalue()).digest())
            file.write(content.getvalue())
        files = sorted(path.parent.glob("*.net"), key=os.path.getmtime)
        for old in files[:-_KEPT_FILES]:
            old.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip()[:200] if lines else type(error).__name__
