"""The benchmarks by name: how each reads its annotation, evaluates, and lists its videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import InputError
from . import cc_web, evve, fivr, own, svd, vcdb, vcsl, vsc
from .files import SourceFile
from .report import Evaluation
from .results import Results

OWN = "own"


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
        read: files of the annotation -> what the other functions take.
        evaluate: annotation, results -> figures.
        videos: annotation -> ids of queries, ids of the database, in a fixed order.
    """

    read: Callable[[Sequence[SourceFile]], Any]
    evaluate: Callable[[Any, Results], Evaluation]
    videos: Callable[[Any], tuple[list[str], list[str]]]


def _fivr_videos(annotation: fivr.Annotation) -> tuple[list[str], list[str]]:
    return list(annotation.queries), sorted(annotation.database)


def _cc_web_videos(annotation: cc_web.Annotation) -> tuple[list[str], list[str]]:
    return list(annotation.queries), [annotation.names[n] for n in sorted(annotation.names)]


def _evve_videos(annotation: evve.Annotation) -> tuple[list[str], list[str]]:
    return sorted(annotation.relevant), sorted(annotation.database)


def _svd_videos(annotation: svd.Annotation) -> tuple[list[str], list[str]]:
    labelled = {video for own in annotation.labels.values() for video in own}
    return sorted(annotation.labels), sorted(labelled | annotation.unlabelled)


def _vcdb_videos(annotation: vcdb.Annotation) -> tuple[list[str], list[str]]:
    core = sorted(annotation.positives)
    return core, core + sorted(annotation.distractors - set(core))


def _vsc_videos(annotation: vsc.Annotation) -> tuple[list[str], list[str]]:
    return sorted({q for q, _ in annotation.boxes}), sorted({r for _, r in annotation.boxes})


def _vcsl_videos(annotation: vcsl.Annotation) -> tuple[list[str], list[str]]:
    pairs: Sequence[tuple[str, str]] = annotation.pairs or [
        (query, reference) for query, _, reference in (p.partition("-") for p in annotation.boxes)
    ]
    return sorted({q for q, _ in pairs}), sorted({r for _, r in pairs})


def _own_videos(annotation: own.Annotation) -> tuple[list[str], list[str]]:
    return sorted(annotation.queries), sorted(annotation.database)


BENCHMARKS = {
    "FIVR-200K": Benchmark(
        partial(fivr.read_annotation, version="200k"), fivr.evaluate, _fivr_videos
    ),
    "FIVR-5K": Benchmark(partial(fivr.read_annotation, version="5k"), fivr.evaluate, _fivr_videos),
    "CC_WEB_VIDEO": Benchmark(cc_web.read_annotation, cc_web.evaluate, _cc_web_videos),
    "EVVE": Benchmark(evve.read_annotation, evve.evaluate, _evve_videos),
    "SVD": Benchmark(svd.read_annotation, svd.evaluate, _svd_videos),
    "VCDB": Benchmark(vcdb.read_annotation, vcdb.evaluate, _vcdb_videos),
    "VSC2022": Benchmark(vsc.read_annotation, vsc.evaluate, _vsc_videos),
    "VCSL": Benchmark(vcsl.read_annotation, vcsl.evaluate, _vcsl_videos),
    OWN: Benchmark(own.read_annotation, own.evaluate, _own_videos),
}

# SHA-256 of published files -> which labels these are.
KNOWN = {
    "ccd343bd1c442142da3b2ef9e571ae888d44ac039fd02de708b0be820385a3ea": "FIVR-200K, 2021-01",
    "6fa192644eb84f4a3b88839d850de9d38ac25de90622ccb8cf4a111a75829c06": "FIVR-200K, ids",
    "dce327ab664dfaade878a3fb474f7a598141a513c484572f95629dcbf1c020f3": (
        "FIVR, labels of DnS: 62 more and 1 less than the authors' of 2021-01"
    ),
    "41dc5f5aa3f9d0d9dae70dbea9054fb8fd55a5199fb3ffc554cfd68078158d8c": (
        "FIVR, labels of S2VS: those of the authors of 2021-01"
    ),
    "b50b7135d68d686c9a09f16196e134cab36d16007377c53f54c49ba83bc7efdb": "FIVR, easy duplicates",
    "0898fafc817b9457be25cafeefa996d78d1021fb4816a9e3c1a14b7493023410": "EVVE, ViSiL family",
    "6c33932cfa6ed08eb02fb47189b38bcef124c07794e99adf5c04163dcf4c52fe": (
        "CC_WEB_VIDEO, ViSiL family"
    ),
    "3bd4d69b2f22f718689bd0fde29be2342800227af1b82dca4c6a747e18f9d92d": "SVD, test labels",
    "c1c0f3519e58ecab73ff82ffe6e5c32abb797d1a2400b36677c68e200b13fcd1": "VCDB, labels of TransVCL",
    "7ed469d66cd026e09733ede19055dcd7d7525fa8d068d68a967bfb1dfe75a308": "VCSL, test labels of 2022",
    "ed3aa5b1630ed6633157ba0b3046979ba5b8912eac0e0291151393c3bf510129": "VCSL, test pairs of 2022",
    "4f20cec4b8ed237d9bb4798ceca94f463ba27189469736c4f87e2cacf50c6e78": (
        "VCSL, labels added in 2023-01"
    ),
}
# Published files whose digest could not be had.
UNSEEN = (
    "unlabeled-data-id",
    "vcdb.pickle",
    "split_meta_pairs.json",
    "pair_file_test.csv",
    "label_file_uuid_total.json",
)


def benchmark(name: str) -> tuple[str, Benchmark]:
    """The benchmark of a name, in any case of letters, with the name as it is written.

    Raises:
        InputError: there is none.
    """
    for known, module in BENCHMARKS.items():
        if known.lower() == name.lower():
            return known, module
    raise InputError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
