"""The only module that knows which Keras backend runs: import, compiling, devices, precision.

Every other module takes Keras from here (`from pipeline.nets.backend import keras, ops`), so
that the default backend is set before Keras reads it. KERAS_BACKEND wins where it is set.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from ..config import PRECISIONS
from ..errors import InputError
from ..inputs import no_garbage_collection
from ..scratch import scratch_file
from ..user_cache import cache_folder

_NOISE = re.compile(
    rb"WARNING: All log messages before absl|[IWE]\d{4} [\d:.]+ |To enable the foll"
)
_stderr_lock = threading.RLock()


def _captured() -> IO[bytes]:
    """A file for a few lines; in memory where that can be, as there may be no temporary folder."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("stderr"), "w+b")
    return scratch_file()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Drop TensorFlow's start-up log lines; anything else written meanwhile is passed on.

    They are written by C++ before its log level is read, so no variable silences them.
    """
    if sys.stderr is None:  # the program was started without one; 2 may be any file by now
        yield
        return
    # One thread at a time: of two, the second would keep the first one's file for stderr.
    with _stderr_lock, _captured() as captured:
        sys.stderr.flush()
        stderr_copy = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
            captured.seek(0)
            for line in captured:
                if not _NOISE.match(line):
                    os.write(2, line)


os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with quiet_stderr():
    import keras
    from keras import ops

    BACKEND: str = keras.backend.backend()
    if BACKEND == "tensorflow":
        import tensorflow

        tensorflow.config.list_physical_devices()  # complains here, once, where no GPU is
        # A GPU would else round the inputs of float32 products to 10 bits.
        tensorflow.config.experimental.enable_tensor_float_32_execution(False)
        # Training makes stage two anew for each epoch's comparator: that this costs is no news.
        tensorflow.get_logger().addFilter(lambda record: "retracing" not in record.getMessage())
    elif BACKEND == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "float32")
        if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
            jax.config.update("jax_compilation_cache_dir", str(cache_folder("jax")))

# JAX compiles each function anew for every shape, TensorFlow once for all.
COMPILES_BY_SHAPE = BACKEND != "tensorflow"

__all__ = [
    "BACKEND",
    "COMPILES_BY_SHAPE",
    "compiled",
    "compiled_for_shapes",
    "deterministic",
    "device_scope",
    "dtype_scope",
    "frozen_graph",
    "gpu_count",
    "keras",
    "network_threads",
    "on_gpu",
    "ops",
    "quick_precision",
    "quiet_stderr",
    "resolve_precision",
    "resolve_similarity_precision",
    "traced_once",
]


def compiled(function: Callable[..., Any], variables: Sequence[Any] = ()) -> Callable[..., Any]:
    """The function as one compiled graph per input shape.

    Args:
        function: tensors in, tensors out, no side effects.
        variables: Keras variables it reads. JAX would otherwise bake their values into the
            program as constants, which takes minutes to compile for a backbone.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    if BACKEND == "jax":
        import jax

        def stateless(values: list[Any], *arguments: Any) -> Any:
            with keras.StatelessScope(state_mapping=zip(variables, values, strict=True)):
                return function(*arguments)

        run = jax.jit(stateless)
        return lambda *arguments: run([v.value for v in variables], *arguments)
    return function


def traced_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """A part that a compiled function uses several times, as tracing a backbone takes a second.

    Args:
        function: tensors in, tensors out, no side effects. Only TensorFlow traces it apart.
    """
    if BACKEND != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, autograph=False)


def compiled_for_shapes(
    function: Callable[..., Any], signature: Sequence[tuple[tuple[int | None, ...], str]]
) -> Callable[..., Any]:
    """The function compiled for inputs whose sizes vary.

    See `COMPILES_BY_SHAPE`: where it is true, callers keep the shapes few.

    Args:
        function: tensors in, tensors out, no side effects, sizes taken from `ops.shape`.
        signature: shape (None where it varies) and dtype of each input.
    """
    if COMPILES_BY_SHAPE:
        return compiled(function)
    import tensorflow as tf

    specs = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]

    def traced(*inputs: Any) -> Any:
        with no_garbage_collection():  # a graph is made, of very many objects
            return function(*inputs)

    return tf.function(traced, input_signature=specs, autograph=False)


def frozen_graph(function: Any) -> Any:
    """The graph of a function of `compiled_for_shapes`, its variables as constants.

    Only for TensorFlow; other engines read it.

    Returns:
        A `GraphDef`.
    """
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    return convert_variables_to_constants_v2(function.get_concrete_function()).graph.as_graph_def()


def deterministic() -> None:
    """From now on equal runs give equal numbers on the same machine, at some cost of speed.

    With JAX this has to come before anything is computed; it reads the flag once.
    """
    if BACKEND == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif BACKEND == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        if "xla_gpu_deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()


def network_threads() -> int:
    """Threads for the network on a CPU: as TensorFlow is told, else the cores of this process."""
    told = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache  # asked for each block of stage two, while other threads may write to stderr
def gpu_count() -> int:
    """GPUs the backend can use."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with quiet_stderr():
            return len(tf.config.list_physical_devices("GPU"))
    if BACKEND == "jax":
        import jax

        return sum(device.platform == "gpu" for device in jax.devices())
    return 0


def device_scope(gpu_id: int | str | None) -> AbstractContextManager[Any]:
    """Where variables are put and functions run while the scope is open.

    Args:
        gpu_id: number of a GPU; negative takes the CPU; None leaves the choice to the
            backend. On a machine without GPUs every number means the CPU.

    Raises:
        InputError: not a number, or the machine has GPUs but not that one.
    """
    number = _number(gpu_id)
    if number is None:
        return nullcontext()
    count = gpu_count()
    if number >= count > 0:
        raise InputError(f"gpu_id is {number}, this machine has GPUs 0 to {count - 1}; -1 for CPU")
    on_cpu = number < 0 or count == 0
    return keras.device("cpu:0" if on_cpu else f"gpu:{number}")


def on_gpu(gpu_id: int | str | None) -> bool:
    """Whether what runs in `device_scope(gpu_id)` runs on a GPU.

    Raises:
        InputError: not a number.
    """
    number = _number(gpu_id)
    return (number is None or number >= 0) and gpu_count() > 0


def _number(gpu_id: int | str | None) -> int | None:
    try:
        return None if gpu_id is None else int(gpu_id)
    except ValueError:
        raise InputError(f"gpu_id is {gpu_id!r}, expected one number; -1 for the CPU") from None


def resolve_precision(
    precision: str, close_in_bfloat16: bool = True, gpu_id: int | str | None = None
) -> str:
    """What "auto" means here: the fastest arithmetic whose features stay close to float32's.

    float16 on a GPU; bfloat16 on a processor that multiplies it natively, if the network bears
    it; else float32.

    Args:
        precision: one of `config.PRECISIONS`; all but "auto" are returned as they are.
        close_in_bfloat16: see `backbones.CLOSE_IN_BFLOAT16`.
        gpu_id: see `device_scope`.

    Raises:
        InputError: not one of `config.PRECISIONS`, or `gpu_id` is not a number.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision is {precision!r}, expected one of {PRECISIONS}")
    if precision != "auto":
        return precision
    if on_gpu(gpu_id):
        return "float16"
    return "bfloat16" if close_in_bfloat16 and _cpu_has_bfloat16() else "float32"


def resolve_similarity_precision(precision: str, gpu_id: int | str | None = None) -> str:
    """As `resolve_precision`, but "auto" is float32 on a CPU: there scores are to be exact."""
    if precision == "auto":
        return "float16" if on_gpu(gpu_id) else "float32"
    return resolve_precision(precision)


def quick_precision(gpu_id: int | str | None = None) -> str | None:
    """Arithmetic of similarities that takes half of float32's time on a CPU; None without any."""
    if BACKEND != "tensorflow" or on_gpu(gpu_id) or not _cpu_has_bfloat16():
        return None
    return "bfloat16"


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: float32 is right everywhere
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@contextmanager
def dtype_scope(precision: str) -> Iterator[None]:
    """Layers made inside keep weights and activations in this dtype."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
