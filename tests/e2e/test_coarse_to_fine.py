"""`coarse-to-fine`: scores of stores by DnS's students, damage, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli import main
from pipeline.config import CompareConfig
from pipeline.errors import FingerprintMismatchError, InputError
from pipeline.nets.formats.loader import convert_files, load_model, load_student
from pipeline.nets.similarity import coarse_student
from pipeline.search.coarse_to_fine import score_coarse_to_fine
from pipeline.search.request import SearchRequest
from pipeline.search.video_set import VideoSet
from pipeline.store import open_store
from pipeline.store.published_layout import published_spec
from tests.features import fill, region_vectors
from tests.golden import torch_release
from tests.messages import assert_output, raises

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_student")]
NAMES = ("dns_fg_att_student", "dns_cg_student", "dns_selector_cg-fg_att")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, small_student: None) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for path in torch_release.write(folder / "files", *NAMES):
        convert_files([path], folder / path.stem)
    return {name: folder / name for name in NAMES}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One query; ten videos of the database, of which the third holds the query."""
    folder = tmp_path_factory.mktemp("stores")
    query = region_vectors(12, 0, 512)
    database = {f"d{i}": region_vectors(9 + i, i + 1, 512) for i in range(10)}
    database["d2"][:10] = query[:10]
    sides = {"queries": {"q": query}, "database": database}
    for name, videos in sides.items():
        fill(folder / f"{name}.h5", published_spec("dns"), videos)
    return {name: folder / f"{name}.h5" for name in sides}


def run(models: dict[str, Path], stores: dict[str, Path], out: Path, *more: str):
    fixed = {"--query_store": stores["queries"], "--database_store": stores["database"],
             "--model_dir": models[NAMES[0]], "--coarse": models[NAMES[1]],
             "--output_file": out}  # fmt: skip
    arguments = [str(part) for pair in fixed.items() for part in pair]
    return CliRunner().invoke(main, ["coarse-to-fine", *arguments, *more])


def test_the_command(models: dict[str, Path], stores: dict[str, Path], tmp_path: Path) -> None:
    out, fine = tmp_path / "share.json", tmp_path / "fine.json"
    done = run(models, stores, out, "--share", "0.3", "--selector", str(models[NAMES[2]]))
    assert done.exit_code == 0, done.output
    assert_output(done.output, out, "10 scores", "3 by dns_fg_att_student")
    assert run(models, stores, fine, "--share", "1").exit_code == 0
    scores, of_fine = (json.loads(path.read_text())["q"] for path in (out, fine))
    assert scores.keys() == of_fine.keys() and len(scores) == 10
    same = [name for name in scores if scores[name] == pytest.approx(of_fine[name], abs=1e-6)]
    assert len(same) == 3
    assert max(of_fine, key=of_fine.get) == "d2"


def test_without_a_selector_the_best_coarse_scores_are_sent(
    models: dict[str, Path], stores: dict[str, Path]
) -> None:
    with open_store(stores["queries"]) as one, open_store(stores["database"]) as other:
        sets = VideoSet([one]), VideoSet([other])
        request = SearchRequest(*sets, load_model(models[NAMES[0]]), CompareConfig())
        coarse = load_student(models[NAMES[1]])
        none = score_coarse_to_fine(request, coarse, share=0.0)
        found = score_coarse_to_fine(request, coarse, share=0.2)
        best = np.argsort(-none.scores[0])[:2]
        np.testing.assert_array_equal(np.flatnonzero(found.selected[0]), np.sort(best))
        rest = ~found.selected
        np.testing.assert_array_equal(found.scores[rest], none.scores[rest])
        with raises(InputError, "share is 2", remedy="0.1"):
            score_coarse_to_fine(request, coarse, share=2)
        with raises(InputError, "segments", remedy="leave out"):
            score_coarse_to_fine(replace(request, segments=True), coarse, share=0.5)
        other_features = replace(coarse, features_digest="1" * 64)
        sets[0].spec = replace(sets[0].spec, digest="2" * 64)
        with raises(FingerprintMismatchError, stores["queries"], coarse.name, remedy="convert"):
            score_coarse_to_fine(request, other_features, share=0.5)


def test_a_damaged_video_ends_nothing(
    models: dict[str, Path], tmp_path: Path, stores: dict[str, Path]
) -> None:
    """Also one that is damaged after its vector was kept, and that the fine student is to score."""
    videos = {"bad": region_vectors(9, 7, 512), "good": region_vectors(9, 8, 512)}
    path, out = tmp_path / "database.h5", tmp_path / "out.json"
    fill(path, published_spec("dns"), videos)
    sides = {**stores, "database": path}
    kept = ("--vectors", str(tmp_path / "v.npz"))
    assert run(models, sides, out, "--share", "0", *kept).exit_code == 0
    content = bytearray(path.read_bytes())
    content[content.index(videos["bad"][3].tobytes()) + 2] ^= 0xFF
    path.write_bytes(content)
    selector = ("--selector", str(models[NAMES[2]]))
    for more in (("--share", "0.5", *selector), ("--share", "1", *kept), ("--share", "0.5")):
        done = run(models, sides, out, *more)
        assert done.exit_code == 3, done.output
        assert_output(done.output, "bad")
        assert json.loads(out.read_text())["q"].keys() == {"good"}


def test_kept_vectors_are_not_computed_again(
    models: dict[str, Path],
    stores: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vectors, first, second = (tmp_path / name for name in ("v.npz", "first.json", "second.json"))
    more = ("--share", "0.2", "--vectors", str(vectors))
    assert run(models, stores, first, *more).exit_code == 0
    calls: list[int] = []
    network = coarse_student.CoarseStudent.__call__

    def counted(self, descriptors):
        calls.append(len(descriptors))
        return network(self, descriptors)

    monkeypatch.setattr(coarse_student.CoarseStudent, "__call__", counted)
    assert run(models, stores, second, *more).exit_code == 0
    assert calls == [12]  # the query alone
    assert second.read_bytes() == first.read_bytes()
    other = run(models, stores, second, *more, "--selector", str(models[NAMES[2]]))
    assert other.exit_code == 2
    assert_output(other.output, vectors, "other students", remedy="--vectors")
    vectors.write_bytes(b"PK")
    broken = run(models, stores, second, *more)
    assert broken.exit_code == 2
    assert_output(broken.output, vectors, remedy="delete it")


def test_a_result_replaces_no_input(models: dict[str, Path], stores: dict[str, Path]) -> None:
    before = stores["database"].read_bytes()
    done = run(models, stores, stores["database"])
    assert done.exit_code == 2 and stores["database"].read_bytes() == before
