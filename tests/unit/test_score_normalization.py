"""Levels of queries in the searched database: values, few videos, many copies, damage."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.calibration.curve import Calibration, CalibrationKey, fit
from pipeline.config import CompareConfig, load_config
from pipeline.errors import InputError
from pipeline.search.score_normalization import (
    CLEAR_SCORE,
    SAMPLE_VIDEOS,
    database_level,
    level_columns,
    unusual_scores,
)
from tests.messages import raises

CONFIG = CompareConfig(
    normalize="database", normalize_quantile=0.9, normalize_match=0.5, normalize_prior=0.2
)
UNRELATED = np.random.default_rng(0).normal(0.1, 0.05, (5, 400)).astype(np.float32)


@pytest.mark.parametrize("adapted, prior_videos", [(False, 30), (True, 50)])
@pytest.mark.parametrize("videos", [1, 2, 3, 20, 400])
def test_a_level_is_a_quantile_drawn_to_the_prior(videos, adapted, prior_videos):
    scores = UNRELATED[:, :videos]
    quantiles = np.quantile(scores.astype(np.float64), 0.9, axis=1)
    want = (videos * quantiles + prior_videos * 0.2) / (videos + prior_videos)
    level = database_level(scores, CONFIG, adapted=adapted)
    assert level.dtype == np.float32 and level.shape == (5, 1)
    np.testing.assert_allclose(level[:, 0], want, atol=1e-6)


def test_a_level_in_few_videos_is_near_the_prior():
    alike = np.full((1, 2), 0.5, np.float32)
    assert database_level(alike, CONFIG)[0, 0] == pytest.approx((2 * 0.5 + 30 * 0.2) / 32)
    empty = database_level(np.empty((3, 0), np.float32), CONFIG)
    assert empty.tolist() == [[np.float32(0.2)]] * 3


def test_what_has_no_rest_score_does_not_count():
    """Damaged videos have NaN, whole copies -inf."""
    rest = UNRELATED.copy()
    rest[:, ::4] = np.nan
    rest[:, 1::4] = -np.inf
    rest[2] = np.nan
    level = database_level(rest, CONFIG)
    left = UNRELATED[:, np.arange(400) % 4 > 1]
    others = [0, 1, 3, 4]
    np.testing.assert_array_equal(level[others], database_level(left, CONFIG)[others])
    assert level[2, 0] == np.float32(0.2)


def test_queries_that_are_like_anything_become_comparable():
    plain = UNRELATED + np.linspace(0, 0.3, 5, dtype=np.float32)[:, None]
    table = plain - database_level(plain, CONFIG)
    spread = [np.quantile(each, 0.9, axis=1).std() for each in (plain, table)]
    assert spread[1] < 0.3 * spread[0]


@pytest.mark.parametrize("prior, plain, adapted", [(None, 0.27, 0.17), (0.1, 0.1, 0.1)])
def test_adapted_models_score_lower(prior, plain, adapted):
    config = replace(CONFIG, normalize_prior=prior)
    empty = np.empty((1, 0), np.float32)
    assert database_level(empty, config)[0, 0] == np.float32(plain)
    assert database_level(empty, config, adapted=True)[0, 0] == np.float32(adapted)
    words = f"prior {plain} as 30 videos or {adapted} as 50 videos"
    assert config.normalization.endswith(words), "calibrations are told apart by it"


@pytest.mark.parametrize("videos", [0, 1, 5, SAMPLE_VIDEOS, SAMPLE_VIDEOS + 1, 100_000])
def test_large_databases_are_sampled_at_even_distances(videos):
    columns = level_columns(videos)
    assert len(columns) == min(videos, SAMPLE_VIDEOS)
    if videos:
        assert columns[0] == 0 and columns[-1] < videos
        assert set(np.diff(columns)) <= {videos // len(columns), -(-videos // len(columns))}


def test_a_level_of_a_sample_is_that_of_all():
    scores = np.random.default_rng(1).normal(0.1, 0.05, (3, 50_000)).astype(np.float32)
    sampled = database_level(scores[:, level_columns(50_000)], CONFIG)
    np.testing.assert_allclose(sampled, database_level(scores, CONFIG), atol=0.01)


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"normalize": "background"}, "one of auto, none, database"),
        ({"normalize_quantile": 1.0}, "above 0 and below 1"),
        ({"normalize_match": 1.5}, "from -1 to 1"),
        ({"normalize_prior": float("nan")}, "from -1 to 1"),
    ],
)
def test_settings_are_checked(values, expected):
    with raises(InputError, next(iter(values)), remedy=expected):
        CompareConfig(**values)


def test_calibrations_tell_ways_of_normalising_apart():
    used = {"similarity_function": "chamfer", "dims": 512, "fps": 1.0, "sampling": "frames"}
    scores = np.linspace(0, 0.4, 400).reshape(20, 20)
    ids = [f"v{i}" for i in range(20)]
    plain = fit(scores, CalibrationKey(**used), ids, ids)
    assert "normalization" not in plain.as_json(), "earlier versions read it"
    assert Calibration.from_json(plain.as_json()) == plain
    normalized = replace(plain, normalization=CONFIG.normalization)
    assert Calibration.from_json(normalized.as_json()) == normalized
    assert plain.differences(**used, normalization="none") == []
    assert plain.differences(**used, normalization=CONFIG.normalization) == [
        "normalization: none calibrated, database, quantile 0.9, match 0.5, prior 0.2 as 30 videos "
        "or 0.2 as 50 videos here"
    ]
    other = replace(CONFIG, normalize_quantile=0.8).normalization
    assert len(normalized.differences(**used, normalization=other)) == 1
    assert replace(CONFIG, normalize="none").normalization == "none"
    with pytest.raises(ValueError, match="normalization"):
        Calibration.from_json(normalized.as_json() | {"normalization": 1})


@pytest.mark.parametrize("name", ["quantile", "match", "prior"])
def test_an_option_of_a_normalisation_that_is_not_done_is_refused(name, tmp_path):
    setting = f"normalize_{name}"
    given = {"compare": {setting: 0.3}}
    for normalize in ("auto", "none"):
        given["compare"]["normalize"] = normalize
        with raises(InputError, f"--{setting}", remedy="--normalize database"):
            load_config(None, given)
    given["compare"]["normalize"] = "database"
    assert getattr(load_config(None, given).compare, setting) == 0.3
    (tmp_path / "s.yaml").write_text(f"compare:\n  {setting}: 0.4\n  normalize: database\n")
    off = load_config(tmp_path / "s.yaml", {"compare": {"normalize": "none"}})
    assert off.compare.normalize == "none", "a file may say more than one run needs"


def test_a_score_stands_out_above_what_is_usual_for_its_query():
    scores = UNRELATED.copy()
    scores[1:] += 0.25  # four queries resemble all of them
    needed = unusual_scores(scores)
    usual = np.quantile(scores[1].astype(np.float64), 0.85)
    assert needed.dtype == np.float32 and needed[0] == -np.inf
    assert needed[1] == pytest.approx((400 * usual + 100 * 0.1) / 500 + 0.2)
    few = unusual_scores(scores[:, :20])
    assert (few == -np.inf).all()  # 20 videos say little


def test_copies_and_damaged_videos_do_not_raise_what_is_needed():
    """A database of copies needs no score; and a clear match stands out in any database."""
    alike = UNRELATED[:, :200] + 0.25
    with_copies, damaged = (np.tile(alike, 2) for _ in range(2))
    with_copies[:, 200:] = 0.9
    damaged[:, 200:] = np.nan
    want = unusual_scores(alike)
    assert np.isfinite(want).all()
    np.testing.assert_array_equal(unusual_scores(with_copies), want)
    np.testing.assert_array_equal(unusual_scores(damaged), want)
    assert unusual_scores(np.full((1, 900), 0.9, np.float32))[0] == -np.inf
    assert unusual_scores(np.empty((1, 0), np.float32))[0] == -np.inf
    assert unusual_scores(np.full((1, 2000), 0.5, np.float32))[0] == pytest.approx(CLEAR_SCORE)
