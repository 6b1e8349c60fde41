"""Further views of a frame: what they are made of, and that they find what regions miss."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import ViSiL, compute_similarity, extract_features
from pipeline.config import CompareConfig, ExtractConfig
from pipeline.default_model import default_model_dir
from pipeline.image.homography import warp
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.store import open_store
from tools.clips import Clip, read_clip, scale, write_clip

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def clips():
    names = "tree", "hello", "cockatoo"
    return {n: read_clip(EXAMPLES / f"{n}.mp4", 1.0, 240, duration=5.0).frames for n in names}


@pytest.fixture(scope="module")
def model():
    """The shipped one without its comparator, so that frames alone are compared."""
    plain = ViSiL(default_model_dir())
    plain.model = replace(plain.model, comparator=None)
    return plain


def inside(guest, host):
    """The guest at 30 % of the side near a corner of the host."""
    count = min(len(guest), len(host))
    frames = host[:count].copy()
    small = scale(guest[:count], int(host.shape[2] * 0.3) // 2 * 2, host.shape[1] * 3 // 20 * 2)
    frames[:, 10 : 10 + small.shape[1], 12 : 12 + small.shape[2]] = small
    return frames


def test_small_views_find_a_picture_in_a_picture(clips, model):
    target = model.extract_features(inside(clips["hello"], clips["tree"]))
    plain = model.extract_features(clips["hello"])
    with_views = model.extract_features(clips["hello"], as_query=True)
    stranger = model.extract_features(clips["cockatoo"], as_query=True)
    found = model.calculate_video_similarity(with_views, target)
    assert found > model.calculate_video_similarity(plain, target) + 0.1
    assert found > model.calculate_video_similarity(stranger, target) + 0.15


def test_the_lowpass_descriptor_finds_what_has_lost_its_detail(clips, model):
    frames = clips["tree"]
    rng = np.random.default_rng(0)
    tiny = scale(frames, 40, 30)
    ruined = scale(tiny, frames.shape[2], frames.shape[1]) + rng.normal(0, 35, frames.shape)
    ruined = np.clip(ruined, 0, 255).astype(np.uint8)
    query, target = (model.extract_features(x) for x in (frames, ruined))
    alone = without(model, "lowpass", "thumbnail").calculate_video_similarity(query, target)
    assert model.calculate_video_similarity(query, target) > alone + 0.1


def test_thumbnails_find_what_has_few_bits_left_and_flipped_ones_too(clips, model):
    frames = clips["hello"]
    crushed = scale(scale(frames, 32, 24), frames.shape[2], frames.shape[1])
    for shown in (crushed, crushed[:, :, ::-1]):
        target = model.extract_features(np.ascontiguousarray(shown))
        query = model.extract_features(frames, as_query=True)
        alone = without(model, "thumbnail", "flip").calculate_video_similarity(query, target)
        assert model.calculate_video_similarity(query, target) > alone + 0.05


def test_the_framed_view_finds_what_was_filmed_off_a_screen(clips, model):
    frames = clips["cockatoo"]
    rng = np.random.default_rng(0)
    filmed = np.zeros_like(frames)
    height, width = frames.shape[1] * 3 // 4, frames.shape[2] * 3 // 4
    filmed[:, 20 : 20 + height, 30 : 30 + width] = scale(frames, width, height)
    filmed = np.clip(filmed + rng.normal(0, 25, frames.shape), 0, 255).astype(np.uint8)
    target = model.extract_features(filmed)
    assert gain(model, frames, target, "pad_black", "pad_mean") > 0.05


def test_the_matted_view_finds_what_was_filmed_in_a_lit_room(clips, model):
    frames = clips["hello"]
    rng = np.random.default_rng(0)
    height, width = frames.shape[1] * 3 // 4, frames.shape[2] * 3 // 4
    room = np.linspace(80, 190, frames.shape[2])[:, None] * np.ones((*frames.shape[:2], 1, 3))
    room[:, 20 : 20 + height, 40 : 40 + width] = scale(frames, width, height)
    filmed = np.clip(room + rng.normal(0, 25, frames.shape), 0, 255).astype(np.uint8)
    target = model.extract_features(filmed)
    assert gain(model, frames, target, "pad_mean") > 0.05


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turned_views_find_what_a_turned_telephone_made(clips, model, quarters):
    frames = clips["cockatoo"]
    target = model.extract_features(np.rot90(frames, quarters, axes=(1, 2)))
    score = model.calculate_video_similarity(model.extract_features(frames, as_query=True), target)
    assert score > 0.8
    assert gain(model, frames, target, "rotate") > 0.2


def without(model, *kinds):
    """The model without the terms of kinds of augmentation, or of groups by their name."""
    layout = model.model.layout
    groups = {group.name: group for group in layout.groups}

    def kind(term):
        augmentation = groups[term.query].augmentation
        return term.query if augmentation is None else augmentation.kind

    terms = [term for term in layout.terms if kind(term) not in kinds]
    assert len(terms) < len(layout.terms) or not kinds
    alone = ViSiL(default_model_dir())
    alone.model = replace(model.model, layout=layout.with_terms(terms))
    return alone


def gain(model, frames, target, kind, *besides):
    """How much more similar frames are to the target by a kind of augmentation, in a model that
    lacks those besides."""
    query = model.extract_features(frames, as_query=True)
    parts = without(model, *besides), without(model, *besides, kind)
    scores = [part.calculate_video_similarity(query, target) for part in parts]
    return scores[0] - scores[1]


def test_the_outlined_view_finds_outlines(clips, model):
    frames = clips["cockatoo"].astype(np.float32)
    inner = frames[:, 2:-2, 2:-2]
    around = [frames[:, a : a + inner.shape[1], b : b + inner.shape[2]]
              for a, b in ((0, 2), (4, 2), (2, 0), (2, 4))]  # fmt: skip
    lines = np.clip(1.5 * np.abs(4 * inner - sum(around)), 0, 255)  # another operator than Sobel's
    target = model.extract_features(lines.astype(np.uint8))
    assert gain(model, clips["cockatoo"], target, "edges") > 0.05


def test_the_zoomed_view_finds_a_part(clips, model):
    frames = clips["cockatoo"]
    height, width = frames.shape[1] * 9 // 20 // 2 * 2, frames.shape[2] * 9 // 20 // 2 * 2
    part = scale(frames[:, 20 : 20 + height, 30 : 30 + width], frames.shape[2], frames.shape[1])
    blurred = scale(scale(part, 80, 60), frames.shape[2], frames.shape[1])
    target = model.extract_features(blurred)
    assert gain(model, frames, target, "crops") > 0.05


def test_the_turned_view_finds_what_is_turned_and_blurred(clips, model):
    frames = clips["cockatoo"]
    angle, (height, width) = np.radians(11), frames.shape[1:3]
    matrix = np.eye(3)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = scale(scale(warp(frames, matrix, height, width), 60, 44), width, height)
    target = model.extract_features(turned)
    assert gain(model, frames, target, "rotate") > 0.03


def test_views_are_made_of_the_pictures_they_are_said_to_be(clips):
    weights = load_model(default_model_dir())
    rng = np.random.default_rng(0)
    frame = scale(clips["tree"][:1], 224, 224)
    blocks = rng.integers(0, 8, (1, 112, 112, 3), dtype=np.uint8).repeat(2, 1).repeat(2, 2)
    frame = frame // 16 * 8 + blocks  # so that means of 2 x 2 are not whole numbers
    net = FeatureNet(weights, batch_size=1, as_queries=True)
    vectors = net(frame)[0]
    assert len(vectors) == net.vectors == 38
    for place, divisor in ((11, 2), (12, 3)):
        side = 224 // divisor
        part = frame[:, : side * divisor, : side * divisor].astype(np.float32)
        means = part.reshape(1, side, divisor, side, divisor, 3).mean(axis=(2, 4))
        canvas = np.full((1, 224, 224, 3), 127, np.uint8)
        first = (224 - side) // 2
        canvas[:, first : first + side, first : first + side] = np.rint(means)
        cosine = float(vectors[place] @ net(canvas)[0, 4])
        assert cosine > 0.999, divisor
    # 3/4 of the side by areas: every pixel three times, then means of four by four.
    finer = frame[0].repeat(3, axis=0).repeat(3, axis=1).astype(np.float32)
    canvas = np.zeros((1, 224, 224, 3), np.uint8)
    canvas[0, 28:196, 28:196] = np.rint(finer.reshape(168, 4, 168, 4, 3).mean(axis=(1, 3)))
    assert float(vectors[13] @ net(canvas)[0, 9]) > 0.999
    # Parts of half the side, four in a row and column: no resampling but the doubling here.
    for place, (top, left) in ((15, (0, 0)), (18, (0, 112)), (21, (37, 75)), (30, (112, 112))):
        part = frame[:, top : top + 112, left : left + 112].repeat(2, axis=1).repeat(2, axis=2)
        assert float(vectors[place] @ net(part)[0, 9]) > 0.999, place
    for place, quarters in ((33, 1), (34, 3), (35, 2)):
        turned = np.rot90(frame, quarters, axes=(1, 2))
        assert float(vectors[place] @ net(turned)[0, 9]) > 0.999, quarters
    np.testing.assert_allclose(vectors[37], net(frame[:, :, ::-1])[0, 10], atol=1e-5)
    alone = FeatureNet(weights, batch_size=1)(frame)[0]
    np.testing.assert_allclose(alone, vectors[:11], atol=1e-6)


def test_stores_made_as_queries_are_queries_and_databases(clips, tmp_path):
    paths = {}
    for name, frames in (
        ("hello", clips["hello"]),
        ("inside", inside(clips["hello"], clips["tree"])),
    ):
        paths[name] = str(tmp_path / f"{name}.mp4")
        write_clip(paths[name], Clip(frames.repeat(5, axis=0), 5.0), "libx264", {"crf": "20"})
    plain, queries = tmp_path / "plain.h5", tmp_path / "queries.h5"
    extract_features(paths, plain, config=ExtractConfig(insets=0))
    extract_features(paths, queries, config=ExtractConfig(as_queries=True))
    with open_store(plain) as a, open_store(queries) as b:
        assert a.read("hello").vectors.shape[1] == 11 and b.read("hello").vectors.shape[1] == 38
        assert not {"query_vectors", "views"} & a.spec.as_json().keys()
        assert b.spec.augmentation_digest == load_model(default_model_dir()).views_digest
        assert a.spec.fingerprint == b.spec.as_database.fingerprint
    exact = CompareConfig(precision="float32")
    without = compute_similarity(plain, plain, config=exact)
    with_views = compute_similarity(queries, plain, config=exact)
    assert with_views["hello"]["inside"] > without["hello"]["inside"] + 0.1
    for query, scores in compute_similarity(queries, queries, config=exact).items():
        assert scores == pytest.approx(with_views[query], abs=1e-6)
    swapped = compute_similarity(plain, queries, config=exact)
    for query, scores in swapped.items():
        assert scores == pytest.approx(without[query], abs=1e-6)
