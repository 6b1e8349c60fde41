"""Stage two over mutated features: equal scores, or the damaged video named, or a refusal.

FUZZ_MUTATIONS=10000 FUZZ_SEED=1 python -m pytest tests/fuzz/test_search_fuzz.py
"""

import os
import shutil

import numpy as np
import pytest

from pipeline.config import CompareConfig
from pipeline.errors import PipelineError
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from tests import features

MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "12"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
LENGTHS = {"a": 5, "b": 2, "c": 290, "d": 17}
CONFIG = CompareConfig(precision="float32")


def mutate(data, rng, low, high):
    """Flip a bit, overwrite, zero or cut, between two places of the file."""
    changed, at = bytearray(data), int(rng.integers(low, high))
    end = min(high, at + int(rng.integers(1, 5000)))
    kind = rng.integers(5)
    if kind == 0:
        changed[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        changed[at:end] = bytes(end - at)
    elif kind == 2:
        changed[at:end] = rng.bytes(end - at)
    elif kind == 3:
        changed[at:end] = np.full(end - at, 0x7C, np.uint8).tobytes()  # infinite, NaN
    else:
        del changed[at:]
    return bytes(changed)


def compared(queries, path, model):
    """Scores by database id, of the sound ones; None where the store was refused."""
    try:
        with open_store(path) as d:
            database = VideoSet([d])
            table, _ = score_table(SearchRequest(queries, database, model, CONFIG))
            sound = database.sound
            return dict(zip(database.sound_ids, table[:, sound].T.tolist(), strict=True))
    except PipelineError:
        return None


def files_of(path):
    if path.is_file():
        with open_store(path) as store:
            at = [store._index.videos[i].at[0] for i in store.ids]
            return {path: (min(at), max(at) + LENGTHS["d"] * store.frame_bytes)}
    return {
        file: (0, file.stat().st_size)
        for file in sorted((path / "features").rglob("*"))
        if file.is_file() and file.parent.name in LENGTHS
    }


@pytest.mark.parametrize("name", ["d.h5", "d.zarr"])
@pytest.mark.parametrize("dtype", ["float16", "binary"])
def test_no_mutation_changes_a_score(tmp_path, name, dtype):
    model = features.model(comparator=False, attention=False)
    spec = features.spec(model.features_digest)
    vectors = {v: features.region_vectors(n, [3, i]) for i, (v, n) in enumerate(LENGTHS.items())}
    asked = features.fill(tmp_path / "q.h5", spec, {"q": vectors["d"], "r": vectors["a"]})
    path = features.fill(tmp_path / name, spec, vectors, dtype)
    rng, named, refused = np.random.default_rng([SEED, len(name), len(dtype)]), 0, 0
    with open_store(asked) as q:
        queries = VideoSet([q])
        want = compared(queries, path, model)
        assert list(want) == list(LENGTHS)
        targets = files_of(path)
        for number in range(-(-MUTATIONS // 4)):
            file = list(targets)[int(rng.integers(len(targets)))]
            data = file.read_bytes()
            file.write_bytes(mutate(data, rng, *targets[file]))
            found = compared(queries, path, model)
            file.write_bytes(data)
            if found is None:
                refused += 1
                continue
            wrong = [v for v, scores in found.items() if scores != want[v]]
            assert not wrong, f"mutation {number}, seed {SEED}, {file}: {wrong}"
            assert len(found) >= len(want) - (1 if path.is_dir() else len(want))
            named += len(found) < len(want)
    assert named + refused > 0
    shutil.rmtree(tmp_path, ignore_errors=True)
