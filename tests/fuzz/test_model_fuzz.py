"""Mutated models: the same model, or a message that names the file.

`FUZZ_MUTATIONS` and `FUZZ_SEED` choose how many mutations of which seed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import InputError, ModelError
from pipeline.nets.formats import native
from pipeline.nets.formats.description import as_bytes
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.model import Model
from tests.unit.test_model_dir import FULL, OLD

MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "300"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
EXTREMES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**40, 1e308, -0.0, float("nan"), float("inf"),
    "", "x", "\x00", "\ud800", [], {}, [[]], {"a": 1}, [None], "a" * 10_000,
]  # fmt: skip
TEXTS = {"licence", "provenance", "description"}

State = dict[str, Any]


def state_of(model: Model) -> State:
    """All that counts, with arrays as bytes."""

    def flat(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value.dtype.str, value.shape, value.tobytes()
        if isinstance(value, dict):
            return {key: flat(each) for key, each in value.items()}
        if isinstance(value, (tuple, list)):
            return [flat(each) for each in value]
        if is_dataclass(value):
            return {each.name: flat(getattr(value, each.name)) for each in fields(value)}
        return value

    return {key: value for key, value in flat(model).items() if key not in TEXTS}


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values of a description."""
    inner = values.items() if isinstance(values, dict) else enumerate(values)
    found = []
    for key, value in inner:
        found.append((*path, key))
        if isinstance(value, (dict, list)):
            found += places(value, (*path, key))
    return found


def changed(value: Any, draws: random.Random) -> Any:
    """A little other, or something else altogether."""
    if draws.random() < 0.5:
        return deepcopy(draws.choice(EXTREMES))  # a later change must not reach the next ones
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + draws.choice((-1, 1, 7))
    if isinstance(value, float):
        return value + draws.choice((-1e-9, 1e-3, 0.1, -value))
    if isinstance(value, str):
        return value[:-1] + "x"
    if isinstance(value, list):
        return value + value[:1] if draws.random() < 0.5 else value[1:]
    return {**value, "unknown": 1} if isinstance(value, dict) else deepcopy(draws.choice(EXTREMES))


def mutated_json(text: str, draws: random.Random) -> str:
    values = json.loads(text)
    for _ in range(draws.choice((1, 1, 1, 3))):
        *folder, key = draws.choice(places(values))
        holder = values
        for step in folder:
            holder = holder[step]
        if draws.random() < 0.2:
            del holder[key]
        else:
            holder[key] = changed(holder[key], draws)
    return json.dumps(values)


def mutated_bytes(content: bytes, draws: random.Random) -> bytes:
    damaged, at = bytearray(content), draws.randrange(len(content))
    size = draws.choice((1, 2, 4, 64, 512))
    kind = draws.randrange(5)
    if kind == 0:
        damaged[at] ^= 1 << draws.randrange(8)
    elif kind == 1:
        damaged[at : at + size] = draws.randbytes(len(damaged[at : at + size]))
    elif kind == 2:
        damaged[at : at + size] = bytes(len(damaged[at : at + size]))
    elif kind == 3:
        del damaged[at : at + size]
    else:
        damaged[at:at] = damaged[at : at + size]
    return bytes(damaged)


def outcome(directory: Path, want: State | None) -> str:
    """Raises whatever is no expected error; `want` None takes any model that is one."""
    try:
        found = load_model(directory)
    except (ModelError, InputError) as error:
        message = str(error)
        assert str(directory) in message and "\n" not in message and len(message) < 2000
        return "refused"
    assert want is None or state_of(found) == want
    return "loaded"


@pytest.mark.parametrize("part", ["description", "description bytes", "weights", "sealed"])
def test_no_mutation_gives_another_model(tmp_path: Path, part: str) -> None:
    native.write(FULL, tmp_path)
    draws, want = random.Random(f"{SEED} {part}"), state_of(load_model(tmp_path))
    description, weights = tmp_path / "model.json", tmp_path / "weights.npz"
    text, content = description.read_text(), weights.read_bytes()
    counts = {"refused": 0, "loaded": 0}
    for _ in range(MUTATIONS // 3):
        if part == "description":
            description.write_text(mutated_json(text, draws))
        elif part == "description bytes":
            description.write_bytes(mutated_bytes(text.encode(), draws))
        elif part == "weights":
            weights.write_bytes(mutated_bytes(content, draws))
        else:
            craft(description, weights, text, content, draws)
        counts[outcome(tmp_path, None if part == "sealed" else want)] += 1
    print(part, counts)
    assert counts["refused"] > MUTATIONS // 9


def craft(
    description: Path, weights: Path, text: str, content: bytes, draws: random.Random
) -> None:
    """By someone who knows the format: digests fit, so the values themselves are met."""
    values = json.loads(mutated_json(text, draws) if draws.random() < 0.6 else text)
    damaged = mutated_bytes(content, draws) if draws.random() < 0.6 else content
    weights.write_bytes(damaged)
    if "weights_sha256" in values:
        values["weights_sha256"] = hashlib.sha256(damaged).hexdigest()
    if draws.random() < 0.5:
        description.write_bytes(as_bytes(values))
        return
    values.pop("values_sha256", None)  # as the first version wrote it
    for key in ("descriptors", "similarity_terms", "residual_weight"):
        values.pop(key, None)
    old = json.loads(
        mutated_json(json.dumps(OLD), draws) if draws.random() < 0.8 else json.dumps(OLD)
    )
    description.write_text(json.dumps(values | old | {"format_version": 1}))
