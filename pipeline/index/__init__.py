"""Stores that are searched again and again: `Index`."""

from .index import DEFAULT_RATE, Index, PairComparison

__all__ = ["DEFAULT_RATE", "Index", "PairComparison"]
