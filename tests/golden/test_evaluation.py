"""Figures of the published evaluation codes on small made-up annotation in their formats."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InputError
from pipeline.evaluation import cc_web, evaluate, evve, fivr, svd, vcdb, vcsl, vsc
from pipeline.evaluation.descriptors import best_pairs
from pipeline.evaluation.files import SourceFile
from pipeline.evaluation.ranking import average_precision
from pipeline.evaluation.results import FoundSegment, Results, read_results
from pipeline.evaluation.segments import macro, pair_figures, predicted_boxes
from pipeline.metrics import pair_precision_recall
from tests.golden import peers
from tests.messages import raises

HERE = Path(__file__).parent / "evaluation"
CASES = json.loads((HERE / "expected.json").read_text())["cases"]
FIVR_FILES = {"easy duplicates": "fivr_easy_duplicates.txt"}


def files(folder: str, *names: str) -> list[SourceFile]:
    return [SourceFile.read(HERE / folder / name) for name in names]


@cache
def results_of(path: str) -> Results:
    return read_results(SourceFile.read(HERE / path))


def of(*names: str) -> list[Any]:
    """The cases whose results or calls begin so."""
    return [
        pytest.param(case, id=f"{place}-{case['peer']}")
        for place, case in enumerate(CASES)
        if case["results"].startswith(names) and not str(case["values"]).startswith("raises")
    ]


def test_each_case_is_tested():
    tested = [p.values[0] for p in of("fivr", "evve", "cc_web", "svd", "vcdb", "vsc", "vcsl")]
    raised = [case for case in CASES if case not in tested]
    assert len(CASES) == 136
    assert len(tested) + len(raised) == 136
    assert {case["peer"] for case in raised} == {"dns", "visil-pt", "vsc2022"}


@pytest.mark.parametrize("case", of("fivr"))
def test_fivr(case):
    results = results_of(case["results"])
    names = [FIVR_FILES.get(name, name) for name in case["with"].split(", ")]
    version = case.get("options", "200k").split(",")[0]
    annotation = fivr.read_annotation(files("fivr", *names), version)
    if case["peer"] == "FIVR-200K":
        found = {task: peers.fivr_authors(annotation, results, task) for task in case["values"]}
    else:
        scored = case["all_db"].startswith("scored")
        found = {
            name: peers.fivr_family(annotation, results, case["peer"], name, scored)
            for name in case["values"]
        }
    peers.assert_close(found, case["values"])


@pytest.mark.parametrize("case", of("evve"))
def test_evve(case):
    results = results_of(case["results"])
    if case["peer"] == "eval_evve.py":
        names = sorted(path.name for path in (HERE / "evve" / "annots").iterdir())
        annotation = evve.read_annotation(files("evve/annots", *names))
        found = peers.evve_authors(annotation, results)
    else:
        annotation = evve.read_annotation(files("evve", "evve.pickle"))
        scored = case["all_db"].startswith("scored")
        found = peers.evve_family(annotation, results, scored, list(case["values"]))
    peers.assert_close(found, case["values"])


@pytest.mark.parametrize("case", of("cc_web"))
def test_cc_web(case):
    annotation = cc_web.read_annotation(files("cc_web", "cc_web_video.pickle"))
    found = peers.cc_web_figures(annotation, results_of(case["results"]))
    peers.assert_close(found, case["values"])


@pytest.mark.parametrize("case", of("svd"))
def test_svd(case):
    annotation = svd.read_annotation(files("svd", "test_groundtruth", "unlabeled-data-id"))
    found = peers.svd_figures(annotation, results_of(case["results"]), case["options"])
    peers.assert_close(found, case["values"])


@pytest.mark.parametrize("case", of("vcdb"))
def test_vcdb(case):
    annotation = vcdb.read_annotation(files("vcdb", "vcdb.pickle"))
    found = peers.vcdb_figures(
        annotation,
        results_of(case["results"]),
        case["options"] == "distractors=True",
        case["all_db"].startswith("scored"),
    )
    peers.assert_close(found, case["values"])


@pytest.mark.parametrize("case", of("vsc/matches"))
def test_vsc_matching(case):
    annotation = vsc.read_annotation(files("vsc", "ground_truth.csv"))
    found = peers.vsc_matching(annotation, results_of(case["results"]))
    peers.assert_close(found, case["values"])


@pytest.mark.parametrize("case", of("vsc/candidates"))
def test_vsc_ranking(case):
    annotation = vsc.read_annotation(files("vsc", "ground_truth.csv"))
    (task,) = vsc.evaluate(annotation, results_of(case["results"])).tasks
    values = list(case["values"].values())  # ties as steps, then in the order of the file
    peers.assert_close(list(task.figures[0].counted.values()), values)


@pytest.mark.parametrize("case", of("vsc/queries"))
def test_vsc_descriptors(case):
    annotation = vsc.read_annotation(files("vsc", "descriptor_ground_truth.csv"))
    queries, references = files("vsc", "queries.npz", "references.npz")
    scores, _, _ = best_pairs(queries, references, frame_pairs=1200, video_pairs=25)
    hits = vsc.pair_hits(scores, annotation)
    found = {
        "uAP": average_precision(hits),
        "uAP, simple": average_precision(hits, "file"),
        "candidate pairs kept": len(scores),
        "lowest score kept": min(scores.values()),
        "highest": max(scores.values()),
    }
    peers.assert_close(found, case["values"])


@pytest.mark.parametrize("case", of("vsc, by hand"))
def test_vsc_by_hand(case):
    for one in case["values"]:
        truth, predicted = {}, {}
        name_of_truth, name_of_predicted = [k for k in one if "(" in k]
        for query, reference, *box in one[name_of_truth]:
            truth.setdefault((query, reference), []).append(tuple(box))
        for query, reference, *box, score in one[name_of_predicted]:
            own = predicted.setdefault((query, reference), [])
            own.append(FoundSegment(tuple(box), score))
        found = vsc.segment_uap(predicted, truth).uap
        peers.assert_close(found, one["segment uAP"], one["case"])


@pytest.mark.parametrize("case", of("vcsl/"))
def test_vcsl(case):
    names = ("label_file.json", "pair_file_test.csv", "split_meta_pairs.json")
    annotation = vcsl.read_annotation(files("vcsl", *names))
    predicted = predicted_boxes(results_of(case["results"]))
    pairs = pair_figures(predicted, annotation.boxes, [f"{q}-{r}" for q, r in annotation.pairs])
    found = peers.vcsl_overall(pairs)
    if case["peer"] == "TransVCL":  # the same, but for a millionth below the fraction of F1
        precision, recall = found["overall"]["precision"], found["overall"]["recall"]
        f1 = 2 * precision * recall / (precision + recall + 1e-6)
        found = {"recall": recall, "precision": precision, "F1": f1}
    else:
        sets = annotation.query_sets
        found["macro over query sets"] = {"sets": len(sets), **macro(pairs, sets)}
        found["by pair, precision and recall"] = {
            name: [own.precision, own.recall] for name, own in pairs.items()
        }
    peers.assert_close(found, case["values"])


@pytest.mark.parametrize("case", of("vcsl, by hand"))
def test_vcsl_by_hand(case):
    for one in case["values"]:
        boxes = [[(b[0], b[2], b[1], b[3]) for b in one[k]] for k in ("predicted", "labelled")]
        found = pair_precision_recall(*boxes)
        peers.assert_close(list(found), [one["precision"], one["recall"]], one["case"])


def test_what_stops_the_published_codes_gives_figures_here():
    """A query without relevant videos (DnS), one without results (SVD), an unknown id (ViSiL)."""
    annotation = fivr.read_annotation(files("fivr", "fivr.pickle"), "200k")
    figure = fivr.evaluate(annotation, results_of("fivr/results_full.json")).tasks[0]
    assert (figure.queries, len(annotation.queries)) == (5, 6)
    shorter = Results()
    whole = results_of("svd/results_full.json")
    for query, row in list(whole.rows.items())[1:]:
        shorter.add(query, [whole.names[v] for v in row.videos], list(row.scores))
    report = svd.evaluate(
        svd.read_annotation(files("svd", "test_groundtruth", "unlabeled-data-id")), shorter
    )
    assert (report.queries.scored, report.queries.missing) == (3, 1)
    mean_ap = report.tasks[0].figures[0]
    assert mean_ap.counted["steps"] == pytest.approx(mean_ap.left_out["steps"] * 3 / 4)


def test_a_pair_twice_is_refused_as_the_published_code_does(tmp_path):
    lines = (HERE / "vsc/candidates.csv").read_text().splitlines()
    twice = tmp_path / "twice.csv"
    twice.write_text("\n".join([lines[0], lines[1], *lines[1:]]))
    with raises(InputError, twice, "line 3", "twice"):
        evaluate("VSC2022", [HERE / "vsc/ground_truth.csv"], [twice])
