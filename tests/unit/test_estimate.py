"""`estimate`: how costs follow from rates, and what is measured on a sample."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from click.testing import CliRunner

from pipeline import estimate as module
from pipeline.candidates import choice_time, search
from pipeline.candidates.choice_time import ChoiceSpeed
from pipeline.cli import common, main
from pipeline.cli.estimate import duration
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.estimate import Rates, estimate, row
from pipeline.records import SourceInfo
from pipeline.store import create_or_append
from tests.clips import clip
from tests.e2e.test_mirrored import Signed, pixel_model
from tests.messages import assert_output, raises

RATES = Rates(
    100,
    50.0,
    10,
    0,
    500,
    0.5,
    0.02,
    cores=2,
    load=0.0,
    engine="keras",
    precision="float32",
    network_seconds=0.01,
    query_network_seconds=0.08,
    gpu_network_seconds=None,
    frame_values=1000,
    fps=2.0,
    query_product_seconds=1e-6,
    pair_product_seconds=2e-6,
    choice=ChoiceSpeed(300, 1, 32, 1e-9, 1e-10),
)


def test_the_cost_of_a_collection():
    """1,000 videos of 100 s: 200 frames each, 300 with insets."""
    found = row(1000, RATES, 100.0, 30.0)
    core_hours = (1000 * 100 * 0.02 + 1000 * 300 * 0.01) / 3600
    assert found.stage_one_hours == pytest.approx(
        {2: core_hours / 2, 16: core_hours / 16, 64: core_hours / 64}
    )
    assert found.gpu_hours is None
    assert found.gigabytes == pytest.approx({"float16": 0.4, "int8": 0.2, "binary": 0.025})
    assert found.gigabytes_with_insets["float16"] == pytest.approx(0.6)
    assert found.query_seconds == pytest.approx(1000 * 60 * 300 * 1e-6)
    choosing = 300 * 1000 * 75 * 1e-9  # 75 codes in 100 s, one by one
    choosing += 200 * 16 * 300 * 1e-6  # 200 videos are checked, by 16 frames of the query
    assert found.candidate_seconds == pytest.approx(choosing + 100 * 60 * 300 * 1e-6)
    assert found.all_pairs_hours == pytest.approx(999 * 500 * 300**2 * 2e-6 / 3600)
    each = 32 * 1000 * 75 * 1e-9 + 20 * 300**2 * 2e-6
    assert found.candidate_pairs_hours == pytest.approx(1000 * each / 3600)


def test_candidates_of_a_large_collection_are_chosen_by_lists():
    """Of 300 million codes 32 in 1,024 are looked at, then those of 300 videos one by one."""
    speed = RATES.choice
    in_lists, again = 300 * 3e8 * 32 / 1024 * 1e-10, 300 * 300 * 300 * 1e-9
    assert speed.seconds(300, 1_000_000, 300.0, 100) == pytest.approx(in_lists + again)
    views = speed.seconds(300, 1_000_000, 300.0, 100, views=5)  # 4 of 5 look at a quarter
    assert views == pytest.approx(in_lists * 0.4 + again)
    alone = replace(speed, list_seconds=None)
    assert alone.seconds(300, 1_000_000, 300.0, 100) == pytest.approx(300 * 3e8 * 1e-9)
    few = row(50, RATES, 100.0, 30.0)
    assert few.candidate_seconds == pytest.approx(50 * 60 * 300 * 1e-6)
    assert row(5, RATES, 100.0, 30.0).candidate_pairs_hours == pytest.approx(1.8 / 3600)
    assert choice_time.COMPARED_AGAIN == search._REFINED


def test_the_speed_of_a_choice_is_measured(monkeypatch):
    monkeypatch.setattr(choice_time, "_CODES", 400)
    found = choice_time.measure_choice(6, 3, 32)
    assert (found.query_codes, found.pair_codes) == (6, 3) and 0 < found.exact_seconds < 1e-3
    assert (found.list_seconds is not None) == (find_spec("faiss") is not None)
    assert found.list_seconds is None or 0 < found.list_seconds < 1e-3
    monkeypatch.setattr(choice_time.engine, "faiss_module", lambda: None)
    assert choice_time.measure_choice(6, 3, 32).list_seconds is None


def test_what_is_looked_up_for_a_choice():
    """30 s of a query, and 32 frames of a video of ten minutes; this model has no views."""
    images = np.random.default_rng(0).integers(0, 256, (6, 30, 30, 3), np.uint8)
    net = Fake()
    net.layout = pixel_model().layout
    net.dims = net.spec(1.0, "shown-at/1").dims
    found = module._choice(net, images, net, 1.0)
    assert (found.query_codes, found.query_views, found.pair_codes) == (30, 1, 32)


def test_a_gpu_waits_for_decoding():
    slow, fast = (
        row(1000, replace(RATES, gpu_network_seconds=s), 100.0, 30.0).gpu_hours for s in (0.1, 1e-6)
    )
    assert slow == pytest.approx(1000 * 300 * 0.1 / 3600)
    assert fast == pytest.approx(1000 * 100 * 0.02 / 2 / 3600)


def test_what_was_not_measured_is_not_reckoned():
    found = row(1000, replace(RATES, decode_seconds=None), 100.0, 30.0)
    assert found.stage_one_hours is None and found.gpu_hours is None
    assert found.gigabytes["float16"] > 0


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0.0123, "0.012 s"),
        (5, "5.0 s"),
        (119, "119 s"),
        (600, "10 min"),
        (7300, "2.0 h"),
        (500_000, "6 days"),
        (1e9, "32 years"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds).replace("5.8", "6") == text


@pytest.fixture
def quick(monkeypatch):
    """A network of one line, and stage two measured by nothing that takes long."""
    monkeypatch.setattr(module, "_net", lambda model, config, gpu_id: Fake())
    monkeypatch.setattr(module, "_stage_two", lambda *_: (1e-6, 2e-6))
    monkeypatch.setattr(module, "_choice", lambda *_: RATES.choice)
    return pixel_model()


class Fake(Signed):
    """With what the estimate reads of a network."""

    engine = "keras"
    vectors = 9

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return super().__call__(np.ascontiguousarray(frames[:, :30, :30]))


@pytest.mark.slow
def test_a_folder(tmp_path, quick):
    for name in "abc":
        clip(tmp_path / f"{name}.mp4", 50)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    told = []
    found = estimate(tmp_path, quick, length=60.0, say=told.append)
    rates = found.rates
    assert (rates.videos, rates.sampled, rates.failed) == (4, 3, 1)
    assert rates.mean_seconds == pytest.approx(2.0, abs=0.2)
    assert rates.decode_seconds is not None and 0 < rates.decode_seconds < 60
    assert [r.videos for r in found.rows] == [1_000, 10_000, 100_000, 1_000_000]
    assert len(told) == 3
    own = estimate(tmp_path, quick, length=None)
    assert own.length == own.rates.mean_seconds


def test_a_store_whose_videos_are_gone(tmp_path, quick):
    spec, path = Fake().spec(2.0, "shown-at/1"), tmp_path / "s.h5"
    with create_or_append(path, spec) as writer:
        for name in "ab":
            video = writer.begin(name, SourceInfo(str(tmp_path / f"{name}.mp4")))
            video.append(np.ones((8, 9, spec.dims), np.float32), np.arange(8) / 2)
            video.finish("")
        writer.commit()
    found = estimate(path, quick, length=None)
    assert found.rates.decode_seconds is None and found.rows[0].stage_one_hours is None
    assert (found.rates.videos, found.length) == (2, 4.0)


def test_a_folder_without_videos(tmp_path, quick):
    with raises(InputError, str(tmp_path), "no videos"):
        estimate(tmp_path, quick)
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with raises(InputError, str(tmp_path), "none of 1", remedy="another folder"):
        estimate(tmp_path, quick)


@pytest.mark.slow
def test_stage_two_is_measured(monkeypatch):
    monkeypatch.setattr(module, "_STORED_FRAMES", 64)
    monkeypatch.setattr(module, "_STAGE_TWO_SECONDS", 0.1)
    images = np.random.default_rng(0).integers(0, 256, (6, 30, 30, 3), np.uint8)
    sides = (Fake(), images[:2]), (Fake(), images)
    query, pair = module._stage_two(pixel_model(), Config(), *sides, None)
    assert 0 < query < 0.1 and 0 < pair < 0.1


@pytest.fixture
def command(monkeypatch, quick):
    monkeypatch.setattr(common, "load_weights", lambda model_dir: quick)
    return lambda *arguments: CliRunner().invoke(main, ["estimate", *map(str, arguments)])


def test_the_command_prints_a_table(tmp_path, command):
    clip(tmp_path / "a.mp4", 50)
    done = command(tmp_path, "--length", "60")
    assert done.exit_code == 0, done.output
    assert_output(done.output, "| videos of 1:00 |", "stage one, 16 cores", "int8, GB", "all pairs")
    assert_output(done.output, "| 1,000,000 |", "not measured here")
    assert_output(done.output, "how it is reckoned", "divided by the number of cores")


def test_the_command_prints_json(tmp_path, command):
    clip(tmp_path / "a.mp4", 50)
    done = command(tmp_path, "--json")
    found = json.loads(done.stdout)
    assert found["length"] == 600 and len(found["rows"]) == 4
    assert found["rates"]["cores"] >= 1


@pytest.mark.parametrize("load, noted", [(3.0, True), (0.1, False)])
def test_a_busy_machine_is_noted(tmp_path, command, monkeypatch, load, noted):
    monkeypatch.setattr(module, "_load", lambda: load)
    clip(tmp_path / "a.mp4", 50)
    output = command(tmp_path).output
    assert ("the machine was busy" in output) == noted


@pytest.mark.parametrize("length", ["0", "ten", "nan", "1e9"])
def test_a_length_that_is_none(tmp_path, command, length):
    done = command(tmp_path, "--length", length)
    assert done.exit_code == InputError.exit_code
    assert_output(done.output, "--length", length, remedy="own")


def test_settings_of_both_stages_are_used(tmp_path, quick, monkeypatch):
    clip(tmp_path / "a.mp4", 50)
    seen = []
    monkeypatch.setattr(module, "_net", lambda model, config, gpu_id: seen.append(config) or Fake())
    config = Config()
    config = replace(config, extract=replace(config.extract, fps=2.0))
    assert estimate(tmp_path, quick, config).rates.fps == 2.0
    assert [c.as_queries for c in seen] == [False, True]
