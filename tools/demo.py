"""Prints the result of the demo as a table, and whether it is right.

    python tools/demo.py RESULTS_JSON COPIES_FOLDER [--threshold T]

RESULTS_JSON is what stage two wrote for the lists that `make_copies.py` left in COPIES_FOLDER;
its `truth.txt` says which clips each copy shows. With segments in it, the table tells from when to
when a query and a copy match. T is, unless it is given, what the shipped model
was calibrated to for one false positive in a hundred pairs. Exit code 1 if a verdict is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.calibration.curve import Calibration
from pipeline.output.report_cards import clock
from tools.make_copies import read_truth

MODEL = Path(__file__).resolve().parents[1] / "model" / "model.json"
MAX_FPR = 0.01
Results = dict[str, dict[str, float]]
Segments = dict[tuple[str, str], list[dict[str, float]]]  # of (query, database id)
Truth = dict[str, tuple[str, ...]]


def calibrated_threshold(model: Path = MODEL, rate: float = MAX_FPR) -> float:
    """The score for a false positive rate by the calibration of the model as it is."""
    values = json.loads(model.read_text(encoding="utf-8"))["calibration"]
    plain = next(c for c in map(Calibration.from_json, values) if not c.adapted)
    return round(plain.threshold(rate), 2)


def read_results(path: Path) -> tuple[Results, Segments]:
    """The scores of a result, and its segments; none if it was written without them."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if set(content) != {"info", "matches"}:
        return content, {}
    matches = content["matches"]
    scores = {q: {d: match["score"] for d, match in row.items()} for q, row in matches.items()}
    segments = {(q, d): match["segments"] for q, row in matches.items() for d, match in row.items()}
    return scores, segments


def wrong_verdicts(results: Results, truth: Truth, threshold: float) -> list[tuple[str, str]]:
    """(query, database id) pairs that are on the wrong side of the threshold."""
    return [
        (query, copy)
        for query, scores in results.items()
        for copy, score in scores.items()
        if (score >= threshold) != (query in truth[copy])
    ]


def times(segments: list[dict[str, float]]) -> str:
    """From when to when a query is in a copy; of many segments the two that begin first."""
    first = sorted(segments, key=lambda segment: segment["database_start"])
    texts = [
        f"{clock(s['query_start'])}-{clock(s['query_end'])} at "
        f"{clock(s['database_start'])}-{clock(s['database_end'])}"
        for s in first[:2]
    ]
    more = f", {len(first) - 2} more" if len(first) > 2 else ""
    return ", ".join(texts) + more


def table(
    results: Results, truth: Truth, threshold: float, segments: Segments | None = None
) -> list[str]:
    """Lines: per query its copies by falling score, then the best unrelated videos."""
    width = max(len(name) for scores in results.values() for name in scores)
    lines = []
    for query, scores in results.items():
        lines += ["", f"query {query}"]
        ranking = sorted(scores.items(), key=lambda pair: -pair[1])
        copies = [pair for pair in ranking if query in truth[pair[0]]]
        unrelated = [pair for pair in ranking if query not in truth[pair[0]]]
        for name, score in copies + unrelated[:2]:
            verdict = "copy" if score >= threshold else "unrelated"
            right = "" if (verdict == "copy") == (query in truth[name]) else "  WRONG"
            line = f"  {name:{width}}  {score:6.3f}  {verdict:9}{right}"
            lines.append(f"{line}  {times((segments or {}).get((query, name), []))}".rstrip())
        if len(unrelated) > 2:
            lines.append(f"  ... and {len(unrelated) - 2} other unrelated videos, lower")
    return lines


def summary(results: Results, truth: Truth, threshold: float) -> str:
    """One line: counts, and the gap between copies and unrelated videos."""
    pairs = [(s, query in truth[c]) for query, row in results.items() for c, s in row.items()]
    copies = [score for score, same in pairs if same]
    unrelated = [score for score, same in pairs if not same]
    true_hits = sum(score >= threshold for score in copies)
    true_rejections = sum(score < threshold for score in unrelated)
    return (
        f"{true_hits} of {len(copies)} copies above, {true_rejections} of {len(unrelated)} "
        f"unrelated pairs below a threshold of {threshold}\n"
        f"copies score {min(copies):.3f} to {max(copies):.3f}, "
        f"unrelated pairs {min(unrelated):.3f} to {max(unrelated):.3f}"
    )


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("results", type=Path, help="JSON file of stage two")
    parser.add_argument("folder", type=Path, help="folder that make_copies.py filled")
    parser.add_argument("--threshold", type=float, default=calibrated_threshold())
    options = parser.parse_args()
    results, segments = read_results(options.results)
    truth = read_truth(options.folder / "truth.txt")
    print("\n".join(table(results, truth, options.threshold, segments)))
    if segments:
        print("\nseconds are those of the query, then those of the copy")
    print()
    print(summary(results, truth, options.threshold))
    return 1 if wrong_verdicts(results, truth, options.threshold) else 0


if __name__ == "__main__":
    sys.exit(main())
