"""Data: readers of the user's files, vocabularies, batching, made tasks, word vectors; numpy only, no torch."""

from elman.data.batching import length_batches, pad, split, streams
from elman.data.embeddings import read_embeddings
from elman.data.made import is_made, make
from elman.data.readers import read_table, read_text, series, wide_series
from elman.data.table import Table
from elman.data.timeseries import TimeSeries
from elman.data.vocabulary import Vocabulary, detokenize, tokenize

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
