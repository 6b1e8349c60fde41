"""The PyTorch family against figures of the original networks: ViSiL, DnS, S2VS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import CompareConfig
from pipeline.errors import FingerprintMismatchError, ModelError
from pipeline.nets.extractor.feature_net import FeatureNet
from pipeline.nets.formats.loader import convert_files, load_model, load_student
from pipeline.nets.model.model import Model
from pipeline.nets.model.student import Student
from pipeline.nets.similarity.coarse_student import CoarseStudent
from pipeline.nets.similarity.selector import Selector
from pipeline.nets.visil import ViSiL
from pipeline.records import SourceInfo, published_digest
from pipeline.search.coarse_to_fine import score_coarse_to_fine
from pipeline.search.request import SearchRequest
from pipeline.search.run import score_table
from pipeline.search.video_set import VideoSet
from pipeline.short_videos import repeat_to_min
from pipeline.store import create_or_append, open_store
from tests.golden import release, torch_release
from tests.messages import raises

pytestmark = pytest.mark.slow
Arrays = dict[str, np.ndarray]
TOLERANCE = 1e-4
VIDEOS = tuple(release.LENGTHS)
# Prefix of the recorded figures -> published file.
FINE = {
    "visil": "visil",
    "visil_symmetric": "visil_symmetric",
    "dns_fg_att": "dns_fg_att_student",
    "dns_fg_bin": "dns_fg_bin_student",
    "s2vs_dns": "s2vs_dns",
    "s2vs_vcdb": "s2vs_vcdb",
}
OF_512 = [prefix for prefix in FINE if prefix != "visil"]


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, pca_arrays: Arrays) -> dict[str, Path]:
    """Stand-ins for the published files, by name."""
    folder = tmp_path_factory.mktemp("torch")
    paths = torch_release.write(folder, *torch_release.HEADS)
    return {
        path.stem: path for path in [*paths, *torch_release.write_extractor(folder, pca_arrays)]
    }


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Path]) -> Path:
    """`visil` with backbone and whitening, converted."""
    folder = tmp_path_factory.mktemp("torch_models") / "visil"
    made = convert_files([path for name, path in files.items() if name in EXTRACTOR], folder)
    assert isinstance(made, Model) and made.has_extractor
    return folder


EXTRACTOR = ("visil", "resnet50-0676ba61", "pca_resnet50_vcdb_1M")


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory, files: dict[str, Path]) -> dict[str, Path]:
    """Folders of heads alone, of the students and selectors, converted."""
    folder = tmp_path_factory.mktemp("torch_heads")
    for name in torch_release.HEADS:
        convert_files([files[name]], folder / name)
    return {name: folder / name for name in torch_release.HEADS}


@pytest.fixture(scope="session")
def recorded() -> Arrays:
    with np.load(release.HERE / "torch_expected_seed0.npz") as file:
        return dict(file)


@pytest.fixture(scope="session")
def descriptors(whole: Path, golden_videos: Arrays) -> Arrays:
    """[T, 9, 3840] by video, as stores keep them."""
    net = FeatureNet(load_model(whole), "float32", 12)
    return {name: net(frames[:, 16:240, 16:240]) for name, frames in golden_videos.items()}


@pytest.fixture(scope="session")
def first_512(descriptors: Arrays) -> Arrays:
    """The first values, at length 1 again."""
    cut = {name: x[..., :512] for name, x in descriptors.items()}
    return {n: x / np.linalg.norm(x, axis=-1, keepdims=True) for n, x in cut.items()}


@pytest.fixture(scope="session")
def decided(first_512: Arrays, heads: dict[str, Path]) -> Arrays:
    """For the binary student: the sign of one projection of `long`, which float32 leaves open.

    It is 7e-8 away from 0, less than the rounding of the descriptors, and the recorded figures have
    it below 0. Either sign is right; with the other one similarities differ by up to 1.1e-4.
    """
    matrix = load_model(heads["dns_fg_bin_student"]).binarization
    assert matrix is not None
    x = first_512["long"].copy()
    products = x @ matrix
    frame, region, bit = np.unravel_index(np.abs(products).argmin(), products.shape)
    assert abs(products[frame, region, bit]) < 3e-7
    x[frame, region] -= (products[frame, region, bit] + 2e-7) * matrix[:, bit]
    return {**first_512, "long": x}


def features_for(prefix: str, request: pytest.FixtureRequest) -> Arrays:
    names = {"visil": "descriptors", "dns_fg_bin": "decided"}
    features: Arrays = request.getfixturevalue(names.get(prefix, "first_512"))
    return features


def largest(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize("video", VIDEOS)
def test_descriptors(
    descriptors: Arrays, first_512: Arrays, recorded: Arrays, whole: Path, video: str
) -> None:
    """Before attention with 512 values, after it with all."""
    expected = recorded[f"dns/features_{video}_first2"]
    x = repeat_to_min(first_512[video])[:2]
    assert largest(x, expected) < TOLERANCE
    network = ViSiL(whole)
    attended = network._attended(repeat_to_min(descriptors[video])[:2])
    assert largest(attended, recorded[f"visil/features_{video}_first2"]) < TOLERANCE


def test_a_whitening_to_512_values_gives_the_first_ones_of_all(
    files: dict[str, Path], whole: Path, tmp_path: Path, golden_videos: Arrays, first_512: Arrays,
    recorded: Arrays,
) -> None:  # fmt: skip
    """Extraction by a model of 512 values, and a store of 3840 values cut afterwards, are one."""
    made = convert_files([files["s2vs_vcdb"], whole], tmp_path / "s2vs")
    assert isinstance(made, Model) and made.dims == 512
    assert made.features_digest == load_model(whole).features_digest
    found = FeatureNet(made, "float32", 12)(golden_videos["query"][:, 16:240, 16:240])
    assert largest(found, first_512["query"]) < 1e-6
    assert largest(found, recorded["dns/features_query"]) < TOLERANCE


@pytest.mark.parametrize("prefix", FINE)
def test_similarities_and_matrices(
    request: pytest.FixtureRequest, heads: dict[str, Path], recorded: Arrays, prefix: str
) -> None:
    network, features = ViSiL(heads[FINE[prefix]]), features_for(prefix, request)
    found = np.array([
        [network.calculate_video_similarity(features[a], features[b]) for b in VIDEOS]
        for a in VIDEOS
    ])  # fmt: skip
    expected = np.array(
        [[recorded[f"{prefix}/{a}/{b}/similarity"] for b in VIDEOS] for a in VIDEOS]
    )
    assert expected.std() > 0.05, "the case must tell scores apart"
    assert largest(found, expected) < TOLERANCE
    output = network.calculate_visil_output(features["query"], features["target"])
    name = "visil_output" if prefix.startswith("visil") else "matrix"
    assert largest(output, recorded[f"{prefix}/query/target/{name}"]) < TOLERANCE


def write_store(path: Path, model: Model, features: Arrays, dims: int, digest: str = "") -> Path:
    spec = FeatureNet(model, batch_size=1).spec(1.0, "shown-at/1")
    spec = replace(spec, dims=dims, digest=digest or spec.digest)
    with create_or_append(path, spec, "float32") as writer:
        for name, vectors in features.items():
            video = writer.begin(name, SourceInfo(name))
            video.append(vectors, np.arange(len(vectors)))
            video.finish()
    return path


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, whole: Path, descriptors: Arrays, first_512: Arrays
) -> dict[int, Path]:
    """By values of a descriptor; that of 512 has features that are known by a name alone."""
    folder, model = tmp_path_factory.mktemp("stores"), load_model(whole)
    return {
        3840: write_store(folder / "all.h5", model, descriptors, 3840),
        512: write_store(folder / "512.h5", model, first_512, 512, published_digest("dns")),
    }


def table(store: Path, model: Model) -> np.ndarray:
    config = CompareConfig(precision="float32", batch_size=3)
    with open_store(store) as opened:
        videos = VideoSet([opened])
        assert tuple(videos.ids) == VIDEOS
        found, _ = score_table(SearchRequest(videos, videos, model, config))
    return found


@pytest.mark.parametrize("values", [512, 3840])
@pytest.mark.parametrize("prefix", OF_512)
def test_one_store_serves_many_heads(
    stores: dict[int, Path],
    heads: dict[str, Path],
    whole: Path,
    recorded: Arrays,
    prefix: str,
    values: int,
) -> None:
    """Through the batched engine; the store of 3840 values is cut as it is read."""
    model = load_model(heads[FINE[prefix]])
    if values == 3840:  # as if it was converted with the weights that the store's features are of
        model = replace(model, features_digest=load_model(whole).features_digest)
    expected = [[recorded[f"{prefix}/{a}/{b}/similarity"] for b in VIDEOS] for a in VIDEOS]
    # One sign of the binary student is open, see `decided`.
    limit = 1.2e-4 if prefix == "dns_fg_bin" else TOLERANCE
    assert largest(table(stores[values], model), np.array(expected)) < limit


def test_the_whole_model_by_the_engine(
    stores: dict[int, Path], whole: Path, recorded: Arrays
) -> None:
    expected = [[recorded[f"visil/{a}/{b}/similarity"] for b in VIDEOS] for a in VIDEOS]
    assert largest(table(stores[3840], load_model(whole)), np.array(expected)) < TOLERANCE


def test_heads_that_do_not_fit_a_store_are_refused_by_name(
    stores: dict[int, Path], heads: dict[str, Path], release_2020: Path
) -> None:
    named = stores[512], "holds 512 values", "'visil'", "learned for 3840"
    with raises(ModelError, *named, remedy="give a model that was learned for these values"):
        table(stores[512], load_model(heads["visil"]))
    for model in (load_model(release_2020), load_model(heads["s2vs_dns"])):
        with raises(FingerprintMismatchError, stores[3840], model.name, remedy="--model_dir") as e:
            table(stores[3840], replace(model, features_digest="0" * 64))
        assert "digest" in str(e.value)


def test_coarse_vectors(heads: dict[str, Path], first_512: Arrays, recorded: Arrays) -> None:
    network = CoarseStudent(load_student(heads["dns_cg_student"]))
    for video in VIDEOS:
        found = network(first_512[video])
        assert largest(found, recorded[f"dns_cg/{video}/vector"]) < TOLERANCE


@pytest.mark.parametrize("kind", ["att", "bin"])
def test_selectors(
    heads: dict[str, Path], descriptors: Arrays, recorded: Arrays, kind: str
) -> None:
    """From all 3840 values, which are cut."""
    network = Selector(load_student(heads[f"dns_selector_cg-fg_{kind}"]))
    indices = np.array([network.index(descriptors[video]) for video in VIDEOS])
    name = f"dns_selector_{kind}"
    expected = np.concatenate([recorded[f"{name}/{video}/index"] for video in VIDEOS])
    assert largest(indices, expected) < TOLERANCE
    vectors = np.stack([recorded[f"dns_cg/{video}/vector"] for video in VIDEOS])
    scores = np.array([[recorded[f"{name}/{a}/{b}/score"] for b in VIDEOS] for a in VIDEOS])
    assert largest(network.scores(indices, indices, vectors @ vectors.T), scores) < TOLERANCE


@pytest.mark.parametrize("name", torch_release.HEADS)
def test_the_older_layout_gives_the_same_model(tmp_path: Path, name: str) -> None:
    with torch_release.few_clusters():
        for legacy in (False, True):
            folder = tmp_path / f"legacy {legacy}"
            convert_files(torch_release.write(folder, name, legacy=legacy), folder / "model")
    older, newer = tmp_path / "legacy True", tmp_path / "legacy False"
    assert (older / f"{name}.pth").read_bytes() != (newer / f"{name}.pth").read_bytes()
    content = [(folder / "model" / "weights.npz").read_bytes() for folder in (older, newer)]
    assert content[0] == content[1]


def test_kinds_of_students(heads: dict[str, Path]) -> None:
    kinds = {name: load_student(path).kind for name, path in heads.items() if "_cg" in name}
    assert kinds == {
        "dns_cg_student": "coarse",
        "dns_selector_cg-fg_att": "selector",
        "dns_selector_cg-fg_bin": "selector",
    }
    assert isinstance(load_student(heads["dns_cg_student"]), Student)
    with raises(ModelError, heads["dns_cg_student"], "coarse", remedy="dns_fg_att_student.pth"):
        load_model(heads["dns_cg_student"])


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_coarse_to_fine_over_a_store(
    stores: dict[int, Path], heads: dict[str, Path], recorded: Arrays, share: float
) -> None:
    """The scores of DnS out of the recorded figures: which pairs are sent, and both scales."""
    vectors = np.stack([recorded[f"dns_cg/{video}/vector"] for video in VIDEOS])
    coarse = vectors @ vectors.T
    fine = np.array([[recorded[f"dns_fg_att/{a}/{b}/similarity"] for b in VIDEOS] for a in VIDEOS])
    name = "dns_selector_att"
    gains = np.array([[recorded[f"{name}/{a}/{b}/score"] for b in VIDEOS] for a in VIDEOS])
    sent = np.zeros((5, 5), bool)
    for row in range(5):
        sent[row, np.argsort(-gains[row])[: int(share * 5)]] = True
    with open_store(stores[512]) as opened:
        videos = VideoSet([opened])
        model = load_model(heads["dns_fg_att_student"])
        request = SearchRequest(videos, videos, model, CompareConfig(precision="float32"))
        students = [load_student(heads[n]) for n in ("dns_cg_student", "dns_selector_cg-fg_att")]
        found = score_coarse_to_fine(request, *students, share=share)
    np.testing.assert_array_equal(found.selected, sent)
    assert largest(found.scores, np.where(sent, fine / 2 + 0.5, coarse)) < TOLERANCE
