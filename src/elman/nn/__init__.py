"""Layers: `Recurrent` around any cell, the drop-ins `RNN`, `LSTM`, `GRU`, heads and initialisers. Torch enters here."""

from __future__ import annotations

from elman.nn import init
from elman.nn.attention import Attention
from elman.nn.contributions import step_gradients
from elman.nn.crf import CRF
from elman.nn.dropin import GRU, LSTM, RNN
from elman.nn.forcing import teacher_forced
from elman.nn.head import Head, Pool
from elman.nn.op import explain
from elman.nn.recurrent import Recurrent

__all__ = [
    "CRF", "GRU", "LSTM", "RNN", "Attention", "Head", "Pool", "Recurrent", "explain", "init", "step_gradients",
    "teacher_forced",
]  # fmt: skip
