"""Mutated annotation and results: figures, or an error that names the file; nothing else happens.

FUZZ_MUTATIONS says how many, FUZZ_SEED which; a failure prints both.
"""

from __future__ import annotations

import json
import os
import pickle
import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError
from pipeline.evaluation import evaluate
from pipeline.evaluation.lists import benchmark_lists

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # of numbers near the largest float
]
MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "200"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
FILES = Path(__file__).parents[1] / "golden" / "evaluation"
CASES = [
    ("FIVR-200K", ["fivr/annotation.json", "fivr/youtube_ids.txt"], "fivr/results_missing.json"),
    ("FIVR-5K", ["fivr/fivr.pickle"], "fivr/results_full.json"),
    ("CC_WEB_VIDEO", ["cc_web/cc_web_video.pickle"], "cc_web/results_full.json"),
    ("EVVE", ["evve/evve.pickle"], "evve/results_full.json"),
    ("EVVE", ["evve/annots/dsk+arrested.dat"], "evve/results_full.json"),
    ("SVD", ["svd/test_groundtruth", "svd/unlabeled-data-id"], "svd/results_full.json"),
    ("VCDB", ["vcdb/vcdb.pickle", "vcdb/label_file.json"], "vcdb/results_full.json"),
    ("VCDB", ["vcdb/label_file.json"], "vcdb/label_file.json"),
    ("VSC2022", ["vsc/ground_truth.csv"], "vsc/matches.csv"),
    ("VCSL", ["vcsl/label_file.json", "vcsl/split_meta_pairs.json"], "vcsl/pred.json"),
    ("own", ["vsc/ground_truth.csv"], "vsc/matches.csv"),
    ("own", ["vsc/ground_truth.csv"], "vcsl/pred.json"),
]
VALUES: list[Any] = [None, 1, "x", "", [], {}, [1], {"a": 1}, float("nan"), True, 10**400]
BYTES = [b"", b"\n", b",", b'"', b"\0", b"9", b"nan", b"\xff", b" "]


def mutated(value: Any, dice: random.Random) -> Any:
    """The value with one part of it replaced."""
    if dice.random() < 0.3 or not isinstance(value, (dict, list, tuple)) or not value:
        return dice.choice(VALUES)
    if isinstance(value, dict):
        key = dice.choice(list(value))
        return {k: mutated(v, dice) if k == key else v for k, v in value.items()}
    place = dice.randrange(len(value))
    return type(value)(mutated(v, dice) if i == place else v for i, v in enumerate(value))


def changed(path: Path, dice: random.Random) -> bytes:
    """Bytes of a file, of half of them with a change."""
    data = path.read_bytes()
    if dice.random() < 0.5:
        return data
    if path.suffix == ".json" and dice.random() < 0.7:
        return json.dumps(mutated(json.loads(data), dice)).encode()
    if path.suffix == ".pickle" and dice.random() < 0.7:
        return pickle.dumps(mutated(pickle.loads(data), dice), 4)
    at = dice.randrange(len(data))
    return data[:at] + dice.choice(BYTES) + data[at + dice.choice([0, 1, 5]) :]


def test_mutated_files(tmp_path: Path) -> None:
    dice, seen = random.Random(SEED), set()
    for number in range(MUTATIONS):
        name, annotation, results = dice.choice(CASES)
        folder = tmp_path / str(number)
        for relative in [*annotation, results]:
            target = folder / ("results" if relative == results else "annotation")
            target.mkdir(parents=True, exist_ok=True)
            (target / Path(relative).name).write_bytes(changed(FILES / relative, dice))
        files = [folder / "annotation" / Path(relative).name for relative in annotation]
        if not files[0].exists():  # annotation and results are the same file
            files = [folder / "results" / Path(results).name]
        try:
            report = evaluate(name, files, [folder / "results" / Path(results).name])
            json.dumps(report.as_dict(), allow_nan=False)
            assert list(report.lines())
            benchmark_lists(name, files, folder)
            seen.add("figures")
        except PipelineError as error:
            assert "\n" not in str(error)
            seen.add("error")
        except Exception as error:
            raise AssertionError(f"FUZZ_SEED={SEED}, mutation {number}, {name}") from error
    assert seen == {"figures", "error"}
