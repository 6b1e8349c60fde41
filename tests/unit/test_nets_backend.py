from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.nets import backend
from pipeline.nets.backend import compiled, device_scope, dtype_scope, keras, ops
from tests.messages import raises


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, pipeline; assert 'ViSiL' in dir(pipeline);"
        "heavy = {'tensorflow', 'keras', 'av', 'h5py', 'zarr'} & sys.modules.keys();"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_model_description_needs_no_keras() -> None:
    code = (
        "import sys, pipeline.nets.formats.loader;"
        "heavy = {'tensorflow', 'keras'} & sys.modules.keys();"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_export() -> None:
    import pipeline

    with raises(AttributeError, "pipeline", "'Visil'"):
        _ = pipeline.Visil


@pytest.mark.slow
def test_importing_keras_is_silent_and_honours_the_environment() -> None:
    code = "from pipeline.nets import backend; import keras; print(keras.backend.backend())"
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "tensorflow\n"
    assert done.stderr == ""


def test_quiet_stderr_keeps_other_lines(capfd: pytest.CaptureFixture[str]) -> None:
    with backend.quiet_stderr():
        os.write(2, b"I0000 00:00:1795.379 4650 port.cc:153] custom operations are on\n")
        os.write(2, b"something else went wrong\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "something else went wrong\nafter\n"


def test_quiet_stderr_of_many_threads_gives_it_back() -> None:
    def work() -> None:
        for _ in range(50):
            with backend.quiet_stderr():
                pass

    before = os.fstat(2)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.path.samestat(os.fstat(2), before)


def test_quiet_stderr_without_a_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    before = os.fstat(2)
    with backend.quiet_stderr():
        assert os.path.samestat(os.fstat(2), before)


def test_precision() -> None:
    assert backend.resolve_precision("float16") == "float16"
    assert backend.resolve_precision("auto") in ("float32", "bfloat16", "float16")
    with raises(InputError, "precision is 'int4'", remedy="'float32'"):
        backend.resolve_precision("int4")


def test_auto_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "gpu_count", lambda: 0)
    monkeypatch.setattr(backend, "_cpu_has_bfloat16", lambda: True)
    assert backend.resolve_precision("auto") == "bfloat16"
    assert backend.resolve_precision("auto", close_in_bfloat16=False) == "float32"
    assert backend.resolve_similarity_precision("auto") == "float32"
    monkeypatch.setattr(backend, "_cpu_has_bfloat16", lambda: False)
    assert backend.resolve_precision("auto") == "float32"
    monkeypatch.setattr(backend, "gpu_count", lambda: 1)
    assert backend.resolve_precision("auto") == "float16"
    assert backend.resolve_similarity_precision("auto") == "float16"
    # The machine has a GPU, but the processor is asked for.
    assert backend.resolve_precision("auto", gpu_id=-1) == "float32"
    assert backend.resolve_similarity_precision("auto", gpu_id=-1) == "float32"
    assert backend.resolve_similarity_precision("auto", gpu_id=0) == "float16"


def test_device_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    with device_scope("-1"):
        assert ops.convert_to_numpy(ops.add(1.0, 2.0)) == 3.0
    with raises(InputError, "gpu_id is '0,1'", remedy="-1 for the CPU"):
        device_scope("0,1")
    monkeypatch.setattr(backend, "gpu_count", lambda: 2)
    with raises(InputError, "gpu_id is 2", "0 to 1", remedy="-1 for CPU"):
        device_scope(2)
    monkeypatch.setattr(backend, "gpu_count", lambda: 0)
    with device_scope("0"):  # the original's default works on a machine without a GPU
        assert ops.convert_to_numpy(ops.add(1.0, 2.0)) == 3.0


def test_dtype_scope_ends_with_its_block() -> None:
    before = keras.config.dtype_policy().name
    with dtype_scope("bfloat16"):
        assert keras.layers.Dense(1).dtype_policy.name == "bfloat16"
    assert keras.config.dtype_policy().name == before


def test_compiled_functions_follow_their_variables() -> None:
    variable = keras.Variable(np.float32(2), trainable=False)
    double = compiled(lambda x: x * variable, [variable])
    assert ops.convert_to_numpy(double(np.float32([1, 2]))).tolist() == [2, 4]
    variable.assign(np.float32(3))
    assert ops.convert_to_numpy(double(np.float32([1, 2]))).tolist() == [3, 6]


def test_jax_is_asked_once_for_deterministic_operations(monkeypatch):
    monkeypatch.setattr(backend, "BACKEND", "jax")
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    for _ in range(2):
        backend.deterministic()
    want = "--xla_cpu_enable_fast_math=false --xla_gpu_deterministic_ops=true"
    assert os.environ["XLA_FLAGS"] == want
