"""The commands as a user types them, on real video with the shipped model."""

import contextlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import common, main
from pipeline.store import open_store
from tests import features
from tests.messages import assert_output

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    ROOT / "examples" / name for name in ("city.mp4", "coin.mp4", "hello.mp4", "launch.webm")
]


pytestmark = pytest.mark.usefixtures("kept_networks")
SCRIPTS = {ROOT / "extract_features.py": "extract", ROOT / "compute_similarity.py": "compare"}


def start(*command, code=0, cwd=ROOT):
    """A process of its own, as a user's shell starts it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def run(script, *command, code=0, cwd=ROOT):
    """The same in this process, where TensorFlow is there already: a script or `-m pipeline`."""
    first = command[1:] if script == "-m" else (SCRIPTS[script], *command)
    common.load_weights.cache_clear()
    with contextlib.chdir(cwd):
        result = CliRunner().invoke(main, [str(word) for word in first])
    assert result.exit_code == code, result.stderr
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Lists of the examples, and one store of them made by the command."""
    path = tmp_path_factory.mktemp("cli")
    lines = [f"{p.stem}\t{p}" for p in EXAMPLES]
    (path / "database.txt").write_text("\n".join([*lines, f"gone\t{path / 'gone.mp4'}"]))
    (path / "queries.txt").write_text("\n".join(lines[:2]))
    extract = ROOT / "extract_features.py"
    done = start(extract, "--video_file", path / "database.txt", "--store", path / "d.zarr", code=3)
    assert "gone: missing" in done.stderr
    assert "4 videos stored, 0 were there, 1 failed" in done.stderr
    return path


@pytest.fixture(scope="module")
def result(folder):
    """Queries from a list against the store."""
    done = start(
        ROOT / "compute_similarity.py", "--query_file", folder / "queries.txt",
        "--database_store", folder / "d.zarr", "--output_file", folder / "r.json", "--load_queries",
    )  # fmt: skip
    assert "model: " in done.stderr and "8 scores of 2 queries and 4 database videos" in done.stderr
    assert "1 videos failed when" in done.stderr
    assert done.stdout == "" and "as_queries" not in done.stderr
    return json.loads((folder / "r.json").read_text())


def test_scores_tell_copies_from_strangers(result):
    ids = [p.stem for p in EXAMPLES]
    assert list(result) == ids[:2]
    assert all(list(row) == ids for row in result.values())
    for query, row in result.items():
        assert row[query] > 0.99
        assert all(score < 0.5 for other, score in row.items() if other != query)


def test_the_originals_single_command_gives_the_same(folder, result):
    done = run(
        ROOT / "compute_similarity.py", "-q", folder / "queries.txt", "-d",
        folder / "database.txt", "-m", "model/", "-l", "-o", folder / "single.json", "-g", "0",
        "--batch_sz", "16", "-s", "chamfer", code=3,
    )  # fmt: skip
    assert "gone: missing" in done.stderr
    single = json.loads((folder / "single.json").read_text())
    assert {q: list(r) for q, r in single.items()} == {q: list(r) for q, r in result.items()}
    for query, row in result.items():
        np.testing.assert_allclose(list(single[query].values()), list(row.values()), atol=2e-3)


def test_stores_of_both_kinds_without_the_videos(folder, result, tmp_path):
    """Copied to another machine: the lists are not there, nor are the paths they name."""
    run(
        ROOT / "extract_features.py", "--video_file", folder / "queries.txt", "--as_queries",
        "--store", tmp_path / "q.h5",
    )  # fmt: skip
    run("-m", "pipeline", "copy", folder / "d.zarr", tmp_path / "all.h5")
    with open_store(tmp_path / "all.h5") as store:
        ids = store.ids
    parts = [tmp_path / "a.h5", tmp_path / "b.zarr"]
    for part, removed in zip(parts, (ids[2:], ids[:2]), strict=True):
        run("-m", "pipeline", "copy", tmp_path / "all.h5", part)
        run("-m", "pipeline", "remove", part, "--", *removed)
    done = run(
        ROOT / "compute_similarity.py", "--query_store", tmp_path / "q.h5", "--database_store",
        parts[0], "--database_store", parts[1], "--output_file", "r.json", cwd=tmp_path,
    )  # fmt: skip
    assert "as_queries" not in done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert found.keys() == result.keys()
    # The queries' features may come from other batches, which moves the last written digit.
    for query, scores in result.items():
        assert found[query] == pytest.approx(scores, abs=2e-6)


def test_top_k_and_threshold(folder, result, tmp_path):
    common = (
        ROOT / "compute_similarity.py", "--query_store", folder / "d.zarr",
        "--database_store", folder / "d.zarr", "--output_file", tmp_path / "r.json",
    )  # fmt: skip
    done = run(*common, "--top_k", "1", "--threshold", "0.9")
    assert f"the queries in {folder / 'd.zarr'} were stored without --as_queries" in done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert {q: list(r) for q, r in found.items()} == {p.stem: [p.stem] for p in EXAMPLES}


def test_a_folder_of_videos(tmp_path):
    videos = tmp_path / "videos" / "sub folder"
    videos.mkdir(parents=True)
    (videos / "é 1.mp4").write_bytes(EXAMPLES[0].read_bytes())
    (videos / "notes.txt").write_text("no video")
    run(
        ROOT / "extract_features.py",
        "--video_dir",
        tmp_path / "videos",
        "--store",
        tmp_path / "s.h5",
    )
    with open_store(tmp_path / "s.h5") as store:
        assert store.ids == ["sub folder/é 1.mp4"]


def test_a_list_that_reuses_ids(folder, tmp_path):
    """Ids of a store, other files: nothing is stored in silence."""
    (tmp_path / "list.txt").write_text(f"{EXAMPLES[0].stem}\t{EXAMPLES[1]}")
    args = ("--video_file", tmp_path / "list.txt", "--store", folder / "d.zarr")
    said = run(ROOT / "extract_features.py", *args, code=3).stderr
    assert "changed, see --replace changed" in said and "1 were there, 0 failed, 1 changed" in said
    assert f"{EXAMPLES[0].stem}: {EXAMPLES[1]} has " in said and str(EXAMPLES[0]) in said


def test_info_and_verify(folder):
    text = start("-m", "pipeline", "info", folder / "d.zarr").stdout
    assert "videos:       4 (1 failed)" in text and re.search(
        r"descriptors: +11 a frame, 512 values each, float16", text
    )
    listed = run("-m", "pipeline", "info", "--failures", folder / "d.zarr").stdout
    assert listed.split("\t")[:2] == ["gone", "missing"]
    ids = run("-m", "pipeline", "info", "--ids", folder / "d.zarr").stdout.split()
    assert ids == [p.stem for p in EXAMPLES]
    lines = run("-m", "pipeline", "info", "--json", folder / "d.zarr").stdout.splitlines()
    assert len([json.loads(line) for line in lines]) == 6
    assert (
        "4 videos checked, 0 problems" in run("-m", "pipeline", "verify", folder / "d.zarr").stdout
    )


@pytest.mark.skipif(os.name == "nt", reason="closes files in a POSIX shell")
def test_closed_standard_files_are_no_obstacle(tmp_path):
    """As some services start programs. What is opened first must not take their place."""
    path = tmp_path / "s.h5"
    features.fill(path, features.spec("0"), {"a": features.region_vectors(3, 1)})
    code = (
        "import os, sys\n"
        "from pipeline.cli import main\n"
        "from pipeline.store.hdf5 import Hdf5Store\n"
        "close, fds = Hdf5Store.close, []\n"
        "Hdf5Store.close = lambda self: (fds.append(self._fd), close(self))\n"
        f"try: main(['verify', {str(path)!r}])\n"
        "finally: os.write(1, f' {fds[0] > 2}'.encode())\n"
    )
    shell = ["sh", "-c", 'exec "$0" -c "$1" <&- 2>&-', sys.executable, code]
    done = subprocess.run(shell, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    assert "1 videos checked, 0 problems" in done.stdout and done.stdout.endswith("True")


def test_verify_finds_a_flipped_bit(folder, tmp_path):
    run("-m", "pipeline", "copy", folder / "d.zarr", tmp_path / "d.h5")
    content = bytearray((tmp_path / "d.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "d.h5").write_bytes(content)
    done = run("-m", "pipeline", "verify", tmp_path / "d.h5", code=1)
    assert "damaged: " in done.stderr


@pytest.mark.parametrize(
    "options, code, message",
    [
        (("--query_store", "no.h5"), 2, "give --database_file, --database_dir or --database_store"),
        (("--database_store", "no.h5"), 2, "give --query_file, --query_dir or --query_store"),
        (("--query_store", "no.h5", "--database_store", "no.h5"), 1, "no such store"),
        (("--query_store", "a.txt", "--database_store", "a.txt"), 2, "ends in .h5"),
        (("-q", "no.txt", "--database_store", "no.h5"), 2, "no.txt"),
        (("--query_store", "no.h5", "--database_store", "no.h5", "-c", "no.yaml"), 2, "no.yaml"),
        (("--query_store", "x.h5", "--database_store", "x.h5", "-o", "no/r.json"), 2, "no/r.json"),
    ],
)
def test_bad_input_is_one_clear_line(tmp_path, options, code, message):
    started = run if message != "no.txt" else start
    done = started(ROOT / "compute_similarity.py", *options, code=code, cwd=tmp_path)
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_wrong_model_is_refused_before_any_video_is_decoded(folder, tmp_path):
    from pipeline.nets.formats.loader import load_model
    from pipeline.nets.formats.native import write
    from pipeline.nets.model.whitening import Whitening

    weights = load_model(ROOT / "model")
    mean = weights.whitening.mean + 1
    changed = Whitening(mean, weights.whitening.eigenvectors, weights.whitening.eigenvalues)
    write(replace(weights, name="other", whitening=changed, features_digest=""), tmp_path / "other")
    done = run(
        ROOT / "compute_similarity.py", "-q", folder / "queries.txt", "--database_store",
        folder / "d.zarr", "-m", tmp_path / "other", code=1, cwd=tmp_path,
    )  # fmt: skip
    assert_output(done.stderr, "error", folder / "d.zarr", remedy="give --model_dir")
    assert "videos stored" not in done.stderr
    done = run(
        ROOT / "extract_features.py", "-v", folder / "queries.txt", "--store", folder / "d.zarr",
        "--dims", "64", code=1,
    )  # fmt: skip
    named = "error", folder / "d.zarr", "dims: 64 here", "512 there"
    assert_output(done.stderr, *named, remedy="write to another store")
    empty = run(
        ROOT / "extract_features.py",
        "-v",
        folder / "queries.txt",
        "--store",
        "s.h5",
        "-m",
        tmp_path,
        code=1,
        cwd=tmp_path,
    )
    remedy = "expected a published release"
    assert_output(empty.stderr, "error", f"{tmp_path}:", "no model", remedy=remedy)


def test_a_list_without_any_usable_query(folder, tmp_path):
    (tmp_path / "q.txt").write_text(f"gone\t{tmp_path / 'gone.mp4'}")
    done = run(
        ROOT / "compute_similarity.py", "-q", tmp_path / "q.txt", "--database_store",
        folder / "d.zarr", "-o", tmp_path / "r.json", code=2,
    )  # fmt: skip
    assert "gone: missing" in done.stderr
    assert_output(done.stderr, "error", "1 listed videos", "queries")
    assert not (tmp_path / "r.json").exists()


def test_a_float32_store_goes_on_as_float32(folder, tmp_path):
    extract = ROOT / "extract_features.py"
    (tmp_path / "one.txt").write_text(f"one\t{EXAMPLES[0]}")
    run(extract, "-v", tmp_path / "one.txt", "--store", tmp_path / "s.h5", "--dtype", "float32")
    run(extract, "-v", folder / "queries.txt", "--store", tmp_path / "s.h5")
    with open_store(tmp_path / "s.h5") as store:
        assert store.dtype == np.float32 and len(store) == 3
    done = run(
        extract, "-v", folder / "queries.txt", "--store", tmp_path / "s.h5", "--dtype", "float16",
        code=1,
    )  # fmt: skip
    assert_output(done.stderr, "error", tmp_path / "s.h5", "float16", remedy="dtype float32")


def test_a_list_is_extracted_as_the_store_it_is_compared_with(folder, tmp_path):
    extract, compare = ROOT / "extract_features.py", ROOT / "compute_similarity.py"
    queries = tmp_path / "q.h5"
    done = run(
        extract, "-v", folder / "queries.txt", "--store", queries, "--dims", "64", "--fps", "2",
        "--sampling", "keyframes", "--hwaccel", "d3d11va",
    )  # fmt: skip
    assert "note: --hwaccel d3d11va decoded 0 of 2 videos" in done.stderr
    assert "(network busy " in done.stderr
    run(
        compare, "--query_store", queries, "-d", folder / "queries.txt", "--database_store",
        tmp_path / "kept.zarr", "-o", tmp_path / "r.json",
    )  # fmt: skip
    with open_store(tmp_path / "kept.zarr") as store:
        assert (store.spec.fps, store.spec.dims, len(store)) == (2.0, 64, 2)
        assert store.spec.sampling == "nearest-keyframe/1"
    read = json.loads((tmp_path / "r.json").read_text())
    assert all(row[query] == max(row.values()) > 0.5 for query, row in read.items())
