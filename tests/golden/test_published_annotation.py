"""Figures on the published annotation files, where these lie beside the checkout.

The files are never part of the repository: `shared/golden_eval` in a folder above the checkout has
them, with `make_inputs.py`, which makes results for them.
"""

from __future__ import annotations

import importlib.util
import json
import lzma
import pickle
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipeline.evaluation import cc_web, evve, fivr, svd, vcdb, vcsl
from pipeline.evaluation.files import SourceFile
from pipeline.evaluation.ranking import mean
from pipeline.evaluation.results import Results
from pipeline.evaluation.segments import pair_figures
from tests.golden import peers

FOLDERS = [p / "shared" / "golden_eval" for p in Path(__file__).resolve().parents]
SHARED = next((folder for folder in FOLDERS if folder.is_dir()), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SHARED is None, reason="no shared/golden_eval: no published annotation"),
]
CASES = range(34)
# Cases of files that could not be had: labels of DnS (2 to 7), labels of VCSL of 2023-01 (33).
NOT_HAD = {2: "fivr.pickle of DnS", 3: "", 4: "", 5: "", 6: "", 7: "", 33: "VCSL's of 2023-01"}


@cache
def case(number: int) -> dict[str, Any]:
    assert SHARED is not None
    return json.loads((SHARED / "expected.json").read_text())["published"][number]


@cache
def makers() -> ModuleType:
    assert SHARED is not None
    spec = importlib.util.spec_from_file_location("make_inputs", SHARED / "make_inputs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def published(name: str, called: str) -> SourceFile:
    """A published file under its published name."""
    assert SHARED is not None
    data = lzma.decompress((SHARED / "published" / f"{name}.xz").read_bytes())
    return SourceFile(Path(called), data, "")


def results_of(scores: dict[str, dict[str, float]]) -> Results:
    results = Results()
    for query, row in scores.items():
        results.add(query, list(row), list(row.values()))
    return results


@cache
def fivr_annotation(version: str) -> fivr.Annotation:
    files = [
        published("fivr_annotation.json", "annotation.json"),
        published("fivr_youtube_ids.txt", "youtube_ids.txt"),
        published("fivr_easy_duplicates.txt", "fivr_easy_duplicates.txt"),
    ]
    if version == "5k":
        files[1] = published("fivr_5k.json", "fivr_5k.json")
    return fivr.read_annotation(files, version)


@cache
def fivr_results(version: str) -> Results:
    annotation = fivr_annotation(version)
    labels = {q: {k: sorted(v) for k, v in own.items()} for q, own in annotation.labels.items()}
    if version == "200k":
        return results_of(makers().real_fivr(labels, annotation.database))
    return results_of(makers().real_fivr_5k(labels, annotation.queries, annotation.database))


def fivr_authors(number: int) -> dict[str, Any]:
    """The authors' script: 0 all ids, 1 scored ids alone; 13, 14: FIVR-5K."""
    version = "200k" if number < 2 else "5k"
    annotation, results = fivr_annotation(version), fivr_results(version)
    database = annotation.database
    if number == 1:
        database = set(results.names)
    elif number == 14:
        database = database | set(annotation.queries)
    found = {}
    for task in case(number)["values"]:
        own = fivr.rankings(annotation, results, task, database=database)
        if number == 13:  # the script drops queries outside its ids
            own = [hits for hits in own if hits.query in database]
        own = peers.with_results(own)
        found[task] = {"queries": len(own), "mAP": mean(own, "file")}
    return found


def fivr_family(number: int) -> dict[str, Any]:
    one = case(number)
    version = one["options"].split(",")[0]
    annotation, results = fivr_annotation(version), fivr_results(version)
    scored = one["all_db"].startswith("scored")
    return {
        name: peers.fivr_family(annotation, results, one["peer"], name, scored)
        for name in one["values"]
    }


def every_evve_score(annotation: evve.Annotation) -> dict[str, dict[str, float]]:
    """What `real_evve` makes, of all queries and videos."""
    unit = makers().unit
    return {
        q: {v: (unit("evve", q, v) + 10 / 32 * (v in own)) / 2 for v in sorted(annotation.database)}
        for q, own in sorted(annotation.relevant.items())
    }


@cache
def evve_results(complete: bool) -> Results:
    file = published("evve.pickle", "evve.pickle")
    if complete:
        return results_of(every_evve_score(evve.read_annotation([file])))
    return results_of(makers().real_evve(file.unpickled()))


def evve_figures(number: int) -> dict[str, Any]:
    one = case(number)
    annotation = evve.read_annotation([published("evve.pickle", "evve.pickle")])
    results = evve_results(number in (22, 23))
    if one["peer"] == "eval_evve.py":
        return peers.evve_authors(annotation, results)
    scored = one.get("all_db", "").startswith("scored")
    return peers.evve_family(annotation, results, scored, list(one["values"]))


def cc_web_figures(number: int) -> dict[str, Any]:
    file = published("cc_web_video.pickle", "cc_web_video.pickle")
    results = results_of(makers().real_cc_web(file.unpickled()))
    return peers.cc_web_figures(cc_web.read_annotation([file]), results)


def svd_figures(number: int) -> dict[str, Any]:
    annotation = svd.read_annotation([published("svd_test_groundtruth", "test_groundtruth")])
    labels = {q: {v: int(g) for v, g in own.items()} for q, own in annotation.labels.items()}
    results = results_of(makers().real_svd(labels))
    return peers.svd_figures(annotation, results, case(number)["options"])


def vcdb_figures(number: int) -> dict[str, Any]:
    file = published("vcdb_label_file.json", "label_file.json")
    annotation = vcdb.read_annotation([file])
    if number == 29:
        results = results_of(makers().real_vcdb(file.json()))
        return peers.vcdb_figures(annotation, results, False, False)
    return boxes_of(file, None)


def vcsl_figures(number: int) -> dict[str, Any]:
    table = published("vcsl_pair_file.csv", "pair_file_test.csv")
    return boxes_of(
        published("vcsl_label_file.json", "label_file.json"), table if number == 32 else None
    )


def boxes_of(labels: SourceFile, table: SourceFile | None) -> dict[str, Any]:
    annotation = vcsl.read_annotation([labels, *([table] if table else [])])
    pairs = [f"{q}-{r}" for q, r in annotation.pairs or ()] or list(annotation.boxes)
    predicted = makers().real_boxes(labels.json(), pairs)
    ours = {p: [(b[0], b[2], b[1], b[3]) for b in own] for p, own in predicted.items()}
    return peers.vcsl_overall(pair_figures(ours, annotation.boxes, pairs))


WAYS = {
    **dict.fromkeys((0, 1, 13, 14), fivr_authors),
    **dict.fromkeys(range(8, 13), fivr_family),
    **dict.fromkeys(range(15, 24), evve_figures),
    **dict.fromkeys(range(24, 27), cc_web_figures),
    **dict.fromkeys((27, 28), svd_figures),
    **dict.fromkeys((29, 30), vcdb_figures),
    **dict.fromkeys((31, 32), vcsl_figures),
}


@pytest.mark.parametrize("number", CASES)
def test_figures(number):
    if number in NOT_HAD:
        pytest.skip(f"{NOT_HAD[number] or NOT_HAD[2]}: could not be had")
    peers.assert_close(WAYS[number](number), case(number)["values"])


def test_pickles_are_read_as_pickle_reads_them():
    for name in ("evve.pickle", "cc_web_video.pickle"):
        file = published(name, name)
        assert file.unpickled() == pickle.loads(file.data)
