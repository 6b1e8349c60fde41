"""PCA whitening against its definition."""

import numpy as np
import pytest

from tools.fit_whitening import SOURCES, fit, source_files


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


def test_sources_are_listed_once_with_package_and_version():
    lines = [line.split("\t") for line in SOURCES.read_text().splitlines()]
    assert all(len(line) == 3 and all(line) for line in lines)
    assert len({line[2] for line in lines}) == len(lines)


def test_a_missing_source_is_named_with_its_package(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"unpack Debian's \S+ \S+"):
        source_files(tmp_path)
