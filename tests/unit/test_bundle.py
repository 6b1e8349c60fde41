"""Checkpoints of TensorFlow, as TensorFlow writes them and damaged."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from pipeline.nets.formats.tf_bundle import read_index, read_tensor
from tests.golden.release import write_checkpoint
from tests.messages import raises

VALUES = {
    f"scope_{n // 10}/layer_{n}/kernel": np.arange(n + 6, dtype=np.float32).reshape(1, 2, -1) / 7
    for n in range(0, 200, 2)
} | {"scalar": np.float32(3), "global_step": np.int64(7)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    write_checkpoint(folder, VALUES)  # type: ignore[arg-type]
    return folder / "model.ckpt"


def content_of(prefix: Path) -> dict[str, np.ndarray]:
    entries, shards = read_index(prefix)
    return {
        name: read_tensor(prefix, entry, shards)
        for name, entry in entries.items()
        if name != "global_step"
    }


def copied(prefix: Path, folder: Path) -> Path:
    for path in prefix.parent.glob("model.ckpt.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder / "model.ckpt"


def test_every_value_is_read(written: Path) -> None:
    entries, shards = read_index(written)
    assert (entries.keys(), shards) == (VALUES.keys(), 1)
    for name, array in content_of(written).items():
        assert array.shape == np.shape(VALUES[name]) and np.array_equal(array, VALUES[name])
    with raises(ValueError, "tensor", "float32"):
        read_tensor(written, entries["global_step"], shards)


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_no_damage_gives_another_value(written: Path, tmp_path: Path, suffix: str) -> None:
    """Bits flipped, bytes cut and blocks zeroed: the same values, or an error."""
    prefix, draws = copied(written, tmp_path), random.Random(0)
    path = Path(f"{prefix}.{suffix}")
    sound, refused = path.read_bytes(), 0
    for number in range(150):
        damaged, at = bytearray(sound), draws.randrange(len(sound))
        if number % 3 == 0:
            damaged[at] ^= 1 << draws.randrange(8)
        elif number % 3 == 1:
            del damaged[at : at + draws.randrange(1, 2000)]
        else:
            damaged[at : at + 512] = bytes(len(damaged[at : at + 512]))
        path.write_bytes(damaged)
        try:
            found = content_of(prefix)
        except (OSError, ValueError):
            refused += 1
        else:
            assert found.keys() == VALUES.keys() - {"global_step"}
            assert all(np.array_equal(found[name], VALUES[name]) for name in found)
    assert refused > 75


@pytest.mark.parametrize("footer", [b"\xff" * 40, b"\xff\xff\xff\xff\x7f" * 8, bytes(40)])
def test_huge_sizes_take_no_memory(written: Path, tmp_path: Path, footer: bytes) -> None:
    prefix = copied(written, tmp_path)
    path = Path(f"{prefix}.index")
    path.write_bytes(path.read_bytes()[:-48] + footer + path.read_bytes()[-8:])
    with raises(ValueError, "the index"):
        read_index(prefix)
