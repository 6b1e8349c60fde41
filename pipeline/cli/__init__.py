"""The console program; the only part of the package that prints or exits.

Imports here stay light (`--help` must answer at once): each command imports what it needs.
"""

from __future__ import annotations

import click

from .. import __version__
from .compare import compare
from .duplicates import duplicates
from .extract import extract
from .index import index
from .models import adapt, calibrate, convert_model, seal_model
from .options import show_settings
from .plot import plot
from .search import search
from .stores import copy, info, prune, remove, verify
from .train import train


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="visil-index")
def main() -> None:
    """Precomputed feature index for video similarity (ViSiL, ICCV 2019)."""


for _command in (
    extract,
    compare,
    search,
    duplicates,
    index,
    plot,
    train,
    info,
    verify,
    remove,
    prune,
    copy,
    convert_model,
    seal_model,
    adapt,
    calibrate,
    show_settings,
):
    main.add_command(_command)

__all__ = ["compare", "extract", "main", "train"]
