"""Retrieval benchmark: a set of real clips and their copies, built from freely licensed videos.

    python -m benchmarks.retrieval.dataset.build UNPACKED_PACKAGES SET_DIR
    python -m benchmarks.retrieval.studies.evaluate SET_DIR --split validation

`README.md` beside this file says where the videos come from and what the figures mean.
"""
