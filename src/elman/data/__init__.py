"""Data: readers of the user's files, vocabularies, batching, made tasks, word vectors; numpy only, no torch.

Loaded on first use: the command line asks a file's name before it needs numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elman.data.batching import length_batches, pad, split, streams
    from elman.data.embeddings import read_embeddings
    from elman.data.files import is_made
    from elman.data.made import make
    from elman.data.readers import read_table, read_text, series, wide_series
    from elman.data.table import Table
    from elman.data.timeseries import TimeSeries
    from elman.data.vocabulary import Vocabulary, detokenize, tokenize

_HOME = {
    "Table": "table",
    "TimeSeries": "timeseries",
    "Vocabulary": "vocabulary",
    "detokenize": "vocabulary",
    "is_made": "files",
    "length_batches": "batching",
    "make": "made",
    "pad": "batching",
    "read_embeddings": "embeddings",
    "read_table": "readers",
    "read_text": "readers",
    "series": "readers",
    "split": "batching",
    "streams": "batching",
    "tokenize": "vocabulary",
    "wide_series": "readers",
}

__all__ = [
    "Table",
    "TimeSeries",
    "Vocabulary",
    "detokenize",
    "is_made",
    "length_batches",
    "make",
    "pad",
    "read_embeddings",
    "read_table",
    "read_text",
    "series",
    "split",
    "streams",
    "tokenize",
    "wide_series",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'elman.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"elman.data.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
