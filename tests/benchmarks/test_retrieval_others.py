"""Comparison with other tools: matching rules, kept hashes, costs and table; no tool is needed."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.retrieval.baselines import hash_matching
from benchmarks.retrieval.baselines.hash_cache import PART, folder_name, hashes_of
from benchmarks.retrieval.baselines.registry import Method, all_methods
from benchmarks.retrieval.baselines.simple import colours
from benchmarks.retrieval.baselines.untrained import untrained
from benchmarks.retrieval.report.costs import evenly
from benchmarks.retrieval.report.tables import row_of, tables_of
from benchmarks.retrieval.studies.against_baselines import Split, method_row
from pipeline.default_model import default_model_dir
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import load_model
from pipeline.nets.model.whitening import projection


def pdq(*distances, quality=100):
    """Frames with so many bits set: two of them differ by the difference of their numbers."""
    bits = np.arange(256) < np.array(distances)[:, None]
    return np.hstack([np.packbits(bits, axis=1), np.full((len(bits), 1), quality, np.uint8)])


def vpdq_score(query, *videos):
    frames = [hash_matching.pdq_frames(video) for video in (query, *videos)]
    return hash_matching.table(hash_matching.vpdq, frames[:1], frames[1:])[0]


def test_vpdq_is_the_share_of_the_querys_frames_within_31_bits():
    query = pdq(0, 100, 200)
    scores = vpdq_score(query, pdq(31, 132, 255), pdq(31, 131, 255), pdq(0, 100, 200))
    assert scores == pytest.approx([1 / 3, 2 / 3, 1], abs=0.002)


def test_vpdq_counts_a_frame_that_repeats_once():
    assert vpdq_score(pdq(0, 0, 0, 200), pdq(0)) == pytest.approx([0.5], abs=0.002)


def test_vpdq_ties_are_broken_by_the_share_of_the_other_video():
    padded, whole = vpdq_score(pdq(0), pdq(0, 100), pdq(0))
    assert padded < whole == pytest.approx(padded, abs=0.002)


def test_vpdq_ignores_frames_of_low_quality():
    poor, good = pdq(0, quality=49), pdq(0, quality=50)
    assert vpdq_score(good, poor, good)[0] == hash_matching.MISSING
    assert vpdq_score(poor, good) == [hash_matching.MISSING]
    assert vpdq_score(good, good) > [0.99]


def test_a_video_without_hash_scores_below_all_others_and_moves_no_column():
    videos = [np.float32([[1, 0], [0, 1]]), np.empty((0, 2), np.float32), np.float32([[-1, 0]])]
    scores = hash_matching.table(
        hash_matching.mean_of_best, [np.float32([[1, 0]]), videos[1]], videos
    )
    assert scores.tolist() == [[1, hash_matching.MISSING, -1], [hash_matching.MISSING] * 3]


def test_best_of_all_takes_one_pair_of_frames_and_chamfer_all_of_the_query():
    query, video = np.float32([[1, 0], [0, 1]]), np.float32([[1, 0], [-1, 0]])
    assert hash_matching.table(hash_matching.best_of_all, [query], [video]) == [[1.0]]
    assert hash_matching.table(hash_matching.mean_of_best, [query], [video]) == [[0.5]]


def test_nearest_ranks_by_euclidean_distance():
    videos = [np.float32([[3, 4]]), np.float32([[0, 0]]), np.float32([[9, 9]])]
    scores = hash_matching.table(hash_matching.nearest, [np.float32([[0, 0]])], videos)
    assert scores[0] == pytest.approx([1 / 6, 1, 1 / (1 + np.sqrt(162))])


def test_unit_parts_give_the_mean_cosine_of_the_parts():
    one, other = np.float32([[3, 0, 0, 5]]), np.float32([[7, 0, 2, 0]])
    product = hash_matching.unit_parts(one, 2) @ hash_matching.unit_parts(other, 2).T
    assert product == pytest.approx(np.array([[(1 + 0) / 2]]))


def test_signs_of_packed_bits():
    assert hash_matching.signs(np.uint8([[0b10000001]])).tolist() == [
        [1, -1, -1, -1, -1, -1, -1, 1]
    ]


def test_colours_tell_hues_apart_and_do_not_see_where_they_are():
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[:2] = [250, 10, 10]
    frame[2:] = [10, 10, 250]
    first, turned, red = np.float32(colours(np.stack([frame, frame[::-1], frame[[0, 0, 0, 0]]])))
    assert first @ turned == pytest.approx(1, abs=1e-3)
    assert first @ red == pytest.approx(np.sqrt(0.5), abs=1e-3)


@pytest.mark.parametrize("pixel, place", [
    ([255, 0, 0], (0, 3, 3)),
    ([0, 255, 0], (5, 3, 3)),
    ([0, 0, 255], (10, 3, 3)),
    ([255, 0, 1], (15, 3, 3)),
    ([0, 0, 0], (0, 0, 0)),
    ([255, 255, 255], (0, 0, 3)),
])  # fmt: skip
def test_colour_bins(pixel, place):
    histogram = colours(np.uint8([[[pixel]]]))[0].reshape(16, 4, 4)
    assert np.argwhere(histogram).tolist() == [list(place)]


calls: list[str] = []


def length_of(path: str) -> np.ndarray:
    """A hash of as many rows as the file has bytes; an empty file cannot be hashed."""
    calls.append(path)
    with open(path, "rb") as stream:
        size = len(stream.read())
    if not size:
        raise ValueError("empty")
    return np.full((size, 2), size, np.uint8)


@pytest.fixture
def files(tmp_path):
    calls.clear()
    paths = [tmp_path / f"{i}.bin" for i in range(PART + 2)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * (i % 3 + 1))
    return paths


def test_hashes_are_kept_and_only_a_part_with_a_changed_file_is_hashed_again(files, tmp_path):
    folder, log = tmp_path / "kept", []
    names = [str(path) for path in files]
    first = hashes_of(names, length_of, folder, 0, log.append)
    assert [len(video) for video in first] == [i % 3 + 1 for i in range(len(files))]
    assert (len(calls), len(log)) == (len(files), 2)
    again = hashes_of(names, length_of, folder, 0, log.append)
    assert (len(calls), len(log)) == (len(files), 2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    files[-1].write_bytes(b"x" * 9)
    assert len(hashes_of(names, length_of, folder, 0, log.append)[-1]) == 9
    assert calls[len(files) :] == names[PART:]


def test_a_damaged_file_of_hashes_is_made_anew(files, tmp_path):
    folder, names = tmp_path / "kept", [str(files[0])]
    hashes_of(names, length_of, folder, 0, print)
    next(folder.iterdir()).write_bytes(b"PK half a file")
    assert hashes_of(names, length_of, folder, 0, print)[0].tolist() == [[1, 1]]


def test_a_file_that_cannot_be_hashed_has_no_rows_and_is_named(files, tmp_path):
    files[1].write_bytes(b"")
    log = []
    hashes = hashes_of([str(p) for p in files[:3]], length_of, tmp_path / "kept", 0, log.append)
    assert [video.shape for video in hashes] == [(1, 2), (0, 2), (3, 2)]
    assert "1 of 3" in log[-1] and "1.bin: ValueError: empty" in log[-1]


def test_the_folder_of_hashes_is_named_after_what_the_function_does():
    assert folder_name(length_of).startswith("length_of-")
    assert folder_name(length_of) != folder_name(pdq)


def test_the_sample_is_spread_over_the_list():
    assert evenly(list("abcdef"), 3) == ["a", "c", "e"]
    assert evenly(list("ab"), 5) == ["a", "b"]
    assert evenly(list("ab"), 0) == []


def split_of(files, tmp_path):
    queries, database = ({f"{p.stem}": str(p) for p in part} for part in (files[:1], files[1:3]))
    kinds = np.array([["crop", ""]])
    return Split(tmp_path, queries, database, kinds, 0.5, [], 0.0)


def test_a_tool_that_is_not_installed_is_left_out_and_named(files, tmp_path):
    log = []
    method = Method(
        "Tool", length_of, np.float32, hash_matching.mean_of_best, package="no_such_package"
    )
    assert method_row(split_of(files, tmp_path), method, 0, log.append) is None
    assert "Tool left out: no_such_package cannot be imported" in log[-1]
    method = Method(
        "Tool", length_of, np.float32, hash_matching.mean_of_best, programs=("no_such_tool",)
    )
    assert "no_such_tool is not on the path" in method.missing()


def test_a_tool_that_hashes_nothing_is_left_out(files, tmp_path):
    for path in files[:3]:
        path.write_bytes(b"")
    log = []
    method = Method("Tool", length_of, np.float32, hash_matching.mean_of_best)
    assert method_row(split_of(files, tmp_path), method, 0, log.append) is None
    assert log[-1] == "Tool left out: it hashed no video"


def test_a_methods_row_holds_its_figures_and_the_bytes_of_an_hour(files, tmp_path):
    method = Method("Tool", length_of, np.float32, hash_matching.mean_of_best)
    row = method_row(split_of(files, tmp_path), method, 0, print)
    assert row.bytes == (2 + 3) * 2 / 0.5
    assert row.figures["crop"].mean_ap == 0.5  # the longer, unrelated file has the larger product
    assert np.isnan(row.processor) and row.yes is None
    method = Method("Tool", length_of, np.float32, hash_matching.mean_of_best, bar=5)
    row = method_row(split_of(files, tmp_path), method, 0, print)
    assert row.yes == (0, 1)  # products of 4 and 6


def test_table_of_methods():
    kinds = np.array([["grey", "edges", ""]])
    row = row_of(np.array([[1.0, 0.0, 0.5]]), kinds, 12345.6, 7.4, 0.0123)
    lines = tables_of({"model": row, "other": replace(row, yes=(0.25, 0.001))}).splitlines()
    assert lines[2] == "| model | 0.833 | 0.833 | 0.500 | 0.500 |  | 12,346 | 7 | 0.012 |"
    assert "| 0.500 | 0.250, 0.100% | 12,346 |" in lines[3]
    assert lines[-3:] == [
        "| hard | 0.50 | 0.50 | 1 |",
        "| grey | 1.00 | 1.00 | 1 |",
        "| edges | 0.50 | 0.50 | 1 |",
    ]


def test_all_methods_have_their_own_names():
    names = [method.name for method in all_methods()]
    assert len(set(names)) == len(names) >= 8


def test_the_untrained_model_is_the_backbone_and_nothing_else():
    model = load_model(default_model_dir())
    plain = untrained(model)
    assert plain.layout.query == plain.layout.regions == 9
    assert not any((plain.comparator, plain.blank, plain.insets))
    assert [group.name for group in plain.layout.groups] == ["regions"]
    assert (plain.input.resize, plain.input.crop, plain.input.method) == (256, 224, "bicubic")
    frame = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    found = FeatureNet(plain)(frame)[0]
    assert found.shape == (9, len(model.whitening.mean))
    # The model's own whitening of these gives its own vectors.
    white = (found - model.whitening.mean) @ projection(model.whitening)
    white /= np.linalg.norm(white, axis=1, keepdims=True)
    np.testing.assert_allclose(white, FeatureNet(model)(frame)[0, :9], atol=1e-5)
