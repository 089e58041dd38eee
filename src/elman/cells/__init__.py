"""Cells: the language they are written in, and the catalogue."""

from __future__ import annotations

from elman.cells.deep import gru_layer_norm, lstm_layer_norm, lstm_multiplicative, recurrent_highway, rhn, slstm
from elman.cells.gru import gru, gru_reset_before, gru_simplified
from elman.cells.language import (
    Cell,
    TracedCell,
    abs,
    cell,
    exp,
    identity,
    log,
    maximum,
    mean,
    minimum,
    normalize,
    relu,
    sigmoid,
    softplus,
    tanh,
)
from elman.cells.light import indrnn, irnn, janet, ligru, mgu, mingru, minlstm, ugrnn
from elman.cells.lstm import lstm, lstm_1997, lstm_coupled, lstm_peephole, lstm_projected
from elman.cells.rnn import (
    carousel,
    elman_rnn,
    jordan,
    rnn,
    rnn_identity,
    rnn_output,
    rnn_relu,
    rnn_sigmoid,
    with_output,
)
from elman.errors import OptionError, did_you_mean

CATALOGUE: dict[str, Cell] = {
    c.name: c
    for c in (
        rnn, rnn_sigmoid, rnn_relu, rnn_identity, rnn_output, carousel,
        lstm_1997, lstm, lstm_peephole, lstm_coupled, lstm_projected,
        gru_simplified, gru_reset_before, gru, jordan,
        irnn, indrnn, mgu, ligru, janet, ugrnn, mingru, minlstm,
        lstm_multiplicative, rhn, lstm_layer_norm, gru_layer_norm, slstm,
    )
}  # fmt: skip
"""Every built-in cell by name, in the order of the tables."""


def named(cell: str | Cell | TracedCell) -> Cell | TracedCell:
    """The cell called so in the catalogue (a cell is given back as it is); OptionError for an unknown name."""
    if not isinstance(cell, str):
        return cell
    if cell not in CATALOGUE:
        raise OptionError(f"unknown cell {cell!r}{did_you_mean(cell, CATALOGUE)}")
    return CATALOGUE[cell]


__all__ = [
    "CATALOGUE", "Cell", "TracedCell", "abs", "carousel", "cell", "elman_rnn", "exp", "gru", "gru_layer_norm",
    "gru_reset_before", "gru_simplified", "identity", "indrnn", "irnn", "janet", "jordan", "ligru", "log", "lstm",
    "lstm_1997", "lstm_coupled", "lstm_layer_norm", "lstm_multiplicative", "lstm_peephole", "lstm_projected",
    "maximum", "mean", "mgu", "mingru", "minimum", "minlstm", "named", "normalize", "recurrent_highway", "relu",
    "rhn", "rnn", "rnn_identity", "rnn_output", "rnn_relu", "rnn_sigmoid", "sigmoid", "slstm", "softplus", "tanh",
    "ugrnn", "with_output",
]  # fmt: skip
