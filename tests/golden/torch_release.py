"""Stand-ins for the published PyTorch weights of ViSiL, DnS and S2VS: their keys, seeded values.

As in `release`, every value is a function of its key and the seed, and the recorded figures
(`torch_expected_seed0.npz`) were made with exactly these streams. Files are written by
`tests.torch_layout`, without PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from pipeline.nets.model.student import SHAPES
from tests.golden.release import HERE, stream
from tests.torch_layout import Namespace, State, saved, saved_before

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
COMPARATOR = (("conv1", (32, 1, 3, 3), 2.0), ("conv2", (64, 32, 3, 3), 1.0),
              ("conv3", (128, 64, 3, 3), 1.0), ("fconv", (1, 128, 1, 1), 1.0))  # fmt: skip
CLUSTERS = 64  # of the coarse student

Arrays = dict[str, np.ndarray]


def drawn(key: str, shape: tuple[int, ...], scale: float) -> np.ndarray:
    return np.asarray((stream(key).standard_normal(shape) * scale).astype(np.float32))


def he_scale(shape: tuple[int, ...]) -> float:
    return float(np.sqrt(2.0 / np.prod(shape[1:])))


def batch_norm(name: str, key: str, size: int) -> Arrays:
    draws = stream(key)
    return {
        f"{name}.weight": draws.uniform(0.5, 1.2, size).astype(np.float32),
        f"{name}.bias": (draws.standard_normal(size) * 0.1).astype(np.float32),
        f"{name}.running_mean": (draws.standard_normal(size) * 0.1).astype(np.float32),
        f"{name}.running_var": draws.uniform(0.5, 1.5, size).astype(np.float32),
        f"{name}.num_batches_tracked": np.array(1, np.int64),
    }


def resnet50() -> Arrays:
    """As torchvision names the variables."""
    out: Arrays = {}

    def convolution(name: str, norm: str, shape: tuple[int, ...]) -> None:
        out[f"{name}.weight"] = drawn(name, shape, he_scale(shape))
        out.update(batch_norm(norm, norm, shape[0]))

    convolution("conv1", "bn1", (64, 3, 7, 7))
    inputs = 64
    for stage, (width, units) in enumerate(STAGES, start=1):
        for unit in range(units):
            prefix = f"layer{stage}.{unit}"
            convolution(f"{prefix}.conv1", f"{prefix}.bn1", (width, inputs, 1, 1))
            convolution(f"{prefix}.conv2", f"{prefix}.bn2", (width, width, 3, 3))
            convolution(f"{prefix}.conv3", f"{prefix}.bn3", (4 * width, width, 1, 1))
            if not unit:
                names = f"{prefix}.downsample.0", f"{prefix}.downsample.1"
                convolution(*names, (4 * width, inputs, 1, 1))
            inputs = 4 * width
    out["fc.weight"] = drawn("fc", (1000, 2048), 0.02)
    out["fc.bias"] = np.zeros(1000, np.float32)
    return out


def pca(published: Arrays) -> Arrays:
    """The rotation and variances of `release.pca`, smallest variance first, with another mean."""
    mean = np.load(HERE / "torch_pca_mean_seed0.npy")
    return {"mean": mean, "d": published["d"][::-1].copy(), "V": published["V"]}


def comparator(prefix: str, tag: str) -> Arrays:
    out = {}
    for layer, shape, gain in COMPARATOR:
        key = f"{tag}.{layer}"
        out[f"{prefix}.{layer}.weight"] = drawn(key, shape, gain * he_scale(shape))
        out[f"{prefix}.{layer}.bias"] = drawn(f"{key}.bias", shape[:1], 0.01)
    return out


def attention(tag: str, dims: int = 512) -> Arrays:
    scale = 2.0 / float(np.sqrt(dims))
    return {
        "attention.transform.weight": drawn(f"{tag}transform", (dims, dims), scale),
        "attention.transform.bias": drawn(f"{tag}bias", (dims,), 0.1),
        "attention.context_vector.weight": drawn(f"{tag}context", (1, dims), scale),
    }


def visil(tag: str) -> Arrays:
    dims = {"visil": 3840, "visil_symmetric": 512}[tag]
    context = drawn(f"attention{dims}", (1, dims), 1.0)
    head = {"attention.context_vector.weight": context / np.linalg.norm(context)}
    return head | comparator("video_comperator", tag)


def fine(tag: str) -> Arrays:
    return comparator("visil_head", tag) | attention(tag)


def binary() -> Arrays:
    rotation, _ = np.linalg.qr(stream("itq").standard_normal((512, 512)))
    head = {"binarization.W": rotation.astype(np.float32)}
    return comparator("visil_head", "dns_bin") | head


def coarse() -> Arrays:
    dims, hidden, clusters, out = 512, 2048, CLUSTERS, 1024
    layer, scale = "transformer.layers.0", 1 / float(np.sqrt(512))
    values = attention("dns_cg")
    for name, key, shape, factor in (
        ("self_attn.in_proj_weight", "in_proj", (3 * dims, dims), scale),
        ("self_attn.in_proj_bias", "in_proj_b", (3 * dims,), 0.02),
        ("self_attn.out_proj.weight", "out_proj", (dims, dims), scale),
        ("self_attn.out_proj.bias", "out_proj_b", (dims,), 0.02),
        ("linear1.weight", "linear1", (hidden, dims), scale),
        ("linear1.bias", "linear1_b", (hidden,), 0.02),
        ("linear2.weight", "linear2", (dims, hidden), 1 / float(np.sqrt(hidden))),
        ("linear2.bias", "linear2_b", (dims,), 0.02),
    ):
        values[f"{layer}.{name}"] = drawn(key, shape, factor)
    norms = (f"{layer}.norm1", f"{layer}.norm2", "transformer.norm", "netvlad.norm")
    for name in norms:
        size = out if name == "netvlad.norm" else dims
        values[f"{name}.weight"] = 1 + drawn(f"{name}w", (size,), 0.1)
        values[f"{name}.bias"] = drawn(f"{name}b", (size,), 0.05)
    values["netvlad.centroids"] = drawn("centroids", (clusters, dims), scale)
    values["netvlad.conv.weight"] = drawn("netvlad_conv", (clusters, dims, 1, 1), 1.0)
    wide = clusters * dims
    values["netvlad.reduction_layer.weight"] = drawn(
        "reduction", (out, wide), 1 / float(np.sqrt(wide))
    )
    return values


@contextmanager
def few_clusters() -> Iterator[None]:
    """Within the block the coarse student has 2 clusters, here and in the program.

    Its file is of 21 MB then, in place of 148, for tests of what its size does not matter to.
    """
    few = {
        "clusters/kernel": (512, 2),
        "clusters/centres": (2, 512),
        "reduction/kernel": (2 * 512, 1024),
    }
    with mock.patch.dict(SHAPES["coarse"], few), mock.patch(f"{__name__}.CLUSTERS", 2):
        yield


def selector(tag: str) -> Arrays:
    values = fine(tag)
    for layer, inputs in ((0, 3), (4, 100)):
        shape, scale = (100, inputs), float(np.sqrt(2 / inputs))
        values[f"mlp.model.{layer}.weight"] = drawn(f"{tag}mlp{layer}", shape, scale)
        values |= batch_norm(f"mlp.model.{layer + 1}", f"{tag}bn{layer}", 100)
    values["mlp.model.8.weight"] = drawn(f"{tag}out", (1, 100), 0.3)
    values["mlp.model.8.bias"] = np.zeros(1, np.float32)
    return values


HEADS: dict[str, Callable[[], Arrays]] = {
    "visil": lambda: visil("visil"),
    "visil_symmetric": lambda: visil("visil_symmetric"),
    "dns_fg_att_student": lambda: fine("dns_att"),
    "dns_fg_bin_student": binary,
    "dns_cg_student": coarse,
    "dns_selector_cg-fg_att": lambda: selector("selector_att"),
    "dns_selector_cg-fg_bin": lambda: selector("selector_bin"),
    "s2vs_dns": lambda: fine("s2vs_dns"),
    "s2vs_vcdb": lambda: fine("s2vs_vcdb"),
}


def content(name: str) -> Any:
    """What the published file of a head holds."""
    state = State(HEADS[name]())
    if name.startswith("visil"):
        return state
    return {"model": state} if name.startswith("s2vs") else training_state(state)


def training_state(state: State) -> dict[str, Any]:
    """What the training code of DnS and S2VS saves around a state dict."""
    moments = [v for k, v in state.items() if k.endswith("bias")][:2]
    states = {i: {"step": np.array(1.0, np.float32), "exp_avg": np.zeros_like(m)}
              for i, m in enumerate(moments)}  # fmt: skip
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "foreach": None, "maximize": False,
             "params": list(states)}  # fmt: skip
    args = Namespace({"dims": 512, "attention": True, "val_hdf5": None, "lambda_viv": (0.3, 0.7)})
    optimizer = {"state": states, "param_groups": [group]}
    return {"model": state, "optimizer": optimizer, "global_step": np.ones(1, np.float32),
            "args": args}  # fmt: skip


def write(folder: Path, *names: str, legacy: bool = False) -> list[Path]:
    """Files of heads."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.pth" for name in names]
    for path in paths:
        path.write_bytes((saved_before if legacy else saved)(content(path.stem)))
    return paths


def write_extractor(folder: Path, published: Arrays) -> list[Path]:
    """ResNet-50 and PCA; `published` is `release.pca()`."""
    folder.mkdir(parents=True, exist_ok=True)
    backbone, whitening = folder / "resnet50-0676ba61.pth", folder / "pca_resnet50_vcdb_1M.pth"
    backbone.write_bytes(saved(State(resnet50())))
    whitening.write_bytes(saved(pca(published)))
    return [backbone, whitening]
