"""Blank frames on real pictures with the shipped backbone: no likeness, no harm."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import CompareConfig
from pipeline.default_model import default_model_dir
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.nets.layers.whitening import l2_normalize
from pipeline.nets.model.blank import Blank
from pipeline.nets.similarity.attention import content
from pipeline.nets.visil import ViSiL
from pipeline.training.blank_frames import blank_frames, blank_space
from pipeline.video import sample_frames

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def net():
    return FeatureNet(load_model(default_model_dir()), batch_size=16)


@pytest.fixture(scope="module")
def blank(net):
    return blank_space(net)


@pytest.fixture(scope="module")
def videos(net):
    """Region vectors of 6 frames each of three examples, and of a copy of the first."""
    found = {}
    for name in ("cockatoo", "city", "tree"):
        frames = sample_frames(str(EXAMPLES / f"{name}.mp4"), net.preprocess, 1.0)
        found[name] = np.stack([image for _, image in frames][:6])
    grey = found["cockatoo"].mean(axis=3, keepdims=True)
    found["copy"] = np.broadcast_to(grey * 0.8 + 30, found["cockatoo"].shape).astype(np.uint8)
    return {name: net(frames) for name, frames in found.items()}


@pytest.fixture(scope="module")
def intros(net):
    """6 frames each of things that the space was not fitted on."""
    size, rng = net.preprocess.crop, np.random.default_rng(5)
    base = {
        "black": np.full((size, size, 3), 3.0),
        "white": np.full((size, size, 3), 251.0),
        "colour": np.broadcast_to([20.0, 70.0, 150.0], (size, size, 3)),
    }
    noisy = {k: [v + rng.normal(0, 1.0, v.shape) for _ in range(6)] for k, v in base.items()}
    return {k: net(np.clip(np.rint(v), 0, 255).astype(np.uint8)) for k, v in noisy.items()}


@pytest.fixture(scope="module")
def scorers(blank):
    """The shipped model without and with the space."""
    made = []
    for part in (None, blank):
        scorer = ViSiL(default_model_dir())
        scorer.model = replace(scorer.model, blank=part)
        made.append(scorer.calculate_video_similarity)
    return made


@pytest.mark.parametrize("kind", ["black", "white", "colour"])
def test_an_intro_makes_no_likeness(videos, intros, scorers, kind):
    plain, weighted = scorers
    clean = plain(videos["city"], videos["tree"])
    with_intro = [np.concatenate([intros[kind], videos[name]]) for name in ("city", "tree")]
    added = plain(*with_intro) - clean
    assert added > 0.3
    # What is left differs by a tenth from one trained comparator to the next.
    assert weighted(*with_intro) - clean < 0.25 * added
    assert weighted(videos["city"], videos["tree"]) == pytest.approx(clean, abs=0.03)


@pytest.mark.parametrize("kind", ["black", "white", "colour"])
def test_a_copy_is_still_found_and_a_video_is_itself(videos, intros, scorers, kind):
    plain, weighted = scorers
    with_intro = np.concatenate([intros[kind], videos["cockatoo"]])
    assert weighted(with_intro, with_intro) > 0.95
    clean = plain(videos["cockatoo"], videos["copy"])
    assert clean > 0.4
    # Of 5 s, one frame shares its group of four with the clip, and takes next to nothing.
    assert weighted(with_intro[1:], videos["copy"]) > 0.9 * clean
    # 6 s shift the groups of two alike videos against each other, which costs a part of the score.
    assert weighted(with_intro, videos["copy"]) > 0.85 * clean
    assert weighted(videos["copy"], with_intro) > 0.85 * clean
    assert weighted(intros[kind], intros[kind]) < 0.3


def test_pictures_count_and_blank_ones_do_not(net, blank, videos):
    natural = np.concatenate([content(v, blank) for v in videos.values()])
    assert np.mean(natural) > 0.95
    assert np.mean(content(net(blank_frames(net.preprocess.crop, seed=9)[::3]), blank)) < 0.2


@pytest.mark.parametrize("dims", [128, 256])
def test_fewer_dims_tell_them_apart_as_well(blank, videos, intros, dims):
    cut = blank.first(dims)
    natural = l2_normalize(np.concatenate(list(videos.values()))[..., :dims])
    assert np.mean(content(natural, cut)) > 0.9
    empty = l2_normalize(np.concatenate(list(intros.values()))[..., :dims])
    assert np.mean(content(empty, cut)) < 0.2
    assert blank.first(32) is None


def test_the_space_checks_itself():
    rows = np.eye(2, 16, dtype=np.float32)
    with pytest.raises(ValueError, match=r"expected \[K, C\] with 0 < K < C"):
        Blank(rows.T, 0.2, 0.7)
    with pytest.raises(ValueError, match="right angles"):
        Blank(rows * 2, 0.2, 0.7)
    with pytest.raises(ValueError, match="low < high"):
        Blank(rows, 0.7, 0.2)
    assert Blank(rows, 0.2, 0.7).excess(np.eye(16, dtype=np.float32))[[0, 5]] == pytest.approx(
        [1, -1 / 7]
    )


def test_both_engines_agree(tmp_path, blank, videos, intros):
    """The batched engine of stage two over stores, and `ViSiL` on one pair."""
    from pipeline.search.request import SearchRequest
    from pipeline.search.run import score_table
    from pipeline.search.video_set import VideoSet
    from pipeline.store import open_store
    from tests import features

    model = replace(load_model(default_model_dir()), blank=blank)
    mixed = {k: np.concatenate([intros["black"], v]) for k, v in videos.items()}
    net_spec = FeatureNet(model).spec(1.0, "shown-at/1")
    path = features.fill(tmp_path / "s.h5", net_spec, mixed)
    for symmetric in ("chamfer", "symmetric_chamfer"):
        single = ViSiL(default_model_dir(), similarity_function=symmetric)
        single.model = model
        with open_store(path) as store:
            side = VideoSet([store], list(mixed))
            config = CompareConfig(similarity_function=symmetric, precision="float32")
            table, _ = score_table(SearchRequest(side, side, model, config))
        want = [[single.calculate_video_similarity(a, b) for b in mixed.values()]
                for a in mixed.values()]  # fmt: skip
        np.testing.assert_allclose(table, want, atol=1e-5)
