"""The candidate index: a few short codes of each stored video, searched before the network.

It lies beside its store, is derived from it and can be made again at any time. A search asks it
which videos may match a query; only these go through the network of stage two.
"""

from .bucket_index import local_index
from .builder import IndexReport, update_index
from .codes import CodeRule, IndexRule, QueryCodes, code_rule
from .count import CandidateCount
from .engine import lookup_threads, single_threads
from .file import index_folder, made_by_student
from .search import CandidateIndex

__all__ = [
    "CandidateCount",
    "CandidateIndex",
    "CodeRule",
    "IndexReport",
    "IndexRule",
    "QueryCodes",
    "code_rule",
    "index_folder",
    "local_index",
    "lookup_threads",
    "made_by_student",
    "single_threads",
    "update_index",
]
