"""The console program; the only part of the package that prints or exits.

Imports here stay light (`--help` must answer at once): each command imports what it needs.
"""

from __future__ import annotations

import click

from .. import __version__
from .coarse import coarse_to_fine
from .compare import compare, merge_results
from .duplicates import duplicates
from .estimate import estimate
from .evaluate import benchmark_list, evaluate
from .extract import extract
from .feature_files import export_features, import_features
from .index import index
from .models import adapt, calibrate, convert_model, seal_model
from .options import show_settings
from .plot import plot
from .search import search
from .stores import compact, copy, info, prune, remove, verify
from .train import train
from .weights import fetch_weights


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="visil-index")
def main() -> None:
    """Precomputed feature index for video similarity (ViSiL, ICCV 2019)."""


for _command in (
    extract,
    compare,
    merge_results,
    search,
    duplicates,
    index,
    estimate,
    plot,
    train,
    info,
    verify,
    remove,
    prune,
    compact,
    copy,
    import_features,
    export_features,
    coarse_to_fine,
    convert_model,
    fetch_weights,
    seal_model,
    adapt,
    calibrate,
    evaluate,
    benchmark_list,
    show_settings,
):
    main.add_command(_command)

__all__ = ["compare", "extract", "main", "train"]
