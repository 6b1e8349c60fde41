"""PCA whitening against its definition."""

import numpy as np
import pytest

from pipeline.training.whitening_fit import fit
from tools.fit_whitening import read_lists


@pytest.fixture
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(500, 8)) * np.arange(1, 9)) @ rng.normal(size=(8, 8)) + 3


def test_whitened_vectors_have_unit_covariance(vectors):
    whitening = fit(vectors, 8, shrinkage=0.0)
    white = (vectors - whitening.mean) @ whitening.eigenvectors / np.sqrt(whitening.eigenvalues)
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(8), atol=1e-4)


def test_first_components_carry_most_variance_and_signs_are_fixed(vectors):
    whitening = fit(vectors, 3, shrinkage=0.0)
    assert (np.diff(whitening.eigenvalues) < 0).all()
    columns = whitening.eigenvectors
    assert columns.shape == (8, 3)
    assert (columns[np.abs(columns).argmax(axis=0), range(3)] > 0).all()


def test_shrinkage_moves_eigenvalues_to_their_mean(vectors):
    plain, half = (fit(vectors, 8, s).eigenvalues for s in (0.0, 0.5))
    np.testing.assert_allclose(half, (plain + plain.mean()) / 2, rtol=1e-5)


def test_a_set_that_was_not_built_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"queries\.txt: build the set first"):
        read_lists(tmp_path)


def test_all_videos_of_a_split_are_read(tmp_path):
    (tmp_path / "queries.txt").write_text("a\tclips/a.mp4\n")
    (tmp_path / "database.txt").write_text("b\tcopies/b.mp4\nc\tclips/c.mp4\n")
    assert read_lists(tmp_path) == ["clips/a.mp4", "copies/b.mp4", "clips/c.mp4"]
