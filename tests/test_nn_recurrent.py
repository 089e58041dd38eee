"""`Recurrent`: stacks of any cells, the states' structure, what is refused, and what `explain` says."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elman.nn
from elman import cells
from elman.compiler import interpret
from elman.compiler.ir import resolve
from elman.errors import DataError, OptionError
from elman.nn import Recurrent, explain

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

T, B, IN, H = 4, 3, 3, 5
DOUBLE = torch.float64


def state_of(layer: Recurrent, batch: int) -> Any:
    return tuple(tuple(torch.randn_like(s) for s in part.zeros(batch)) for part in layer.parts())


def flat(state: Any) -> list[Tensor]:
    return [s for part in state for s in part]


def by_hand(
    layer: Recurrent, x: Tensor, state: Any, residual: bool = False
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """(output, final states, states after every step) of a stack, by calling each cell's program on numbers."""
    final, every, states = [], [], iter(state)
    for one in layer.layers:
        outputs = []
        for part in one.parts():
            sizes = resolve(part.input_size, part.hidden_size, part.output_size)
            current, sequences = dict(zip(part.program.states, next(states))), []
            for t in reversed(range(len(x))) if part.direction == "backward" else range(len(x)):
                given = {"x": x[t], **current}
                current = interpret.run(part.program, given, interpret.Stacked(part.weights), sizes)
                sequences.append(current)
            sequences = sequences[::-1] if part.direction == "backward" else sequences
            after = [torch.stack([step[name] for step in sequences]) for name in part.program.states]
            outputs.append(after[0])
            final += current.values()
            every += after
        output = torch.cat(outputs, -1)
        x = output + x if residual and output.shape == x.shape else output
    return x, final, every


STACKS: list[tuple[Any, dict[str, Any]]] = [
    *((name, {"bidirectional": True, "num_layers": 2}) for name in cells.CATALOGUE),
    (
        ["lstm", "gru_reset_before", cells.rnn_relu],
        {"hidden_size": [4, 6, 2], "direction": ["both", "backward", "forward"]},
    ),
    (["lstm_projected", "jordan"], {"output_size": [2, 3], "direction": ["forward", "both"]}),
    (["lstm_projected", "lstm"], {"output_size": [2, None]}),
    (["lstm_projected", "jordan"], {"output_size": H}),
    (["gru", "lstm", "rnn"], {"hidden_size": [5, 5, 5], "residual": True}),
    ("lstm_coupled", {"hidden_size": [IN, 2, 2], "residual": True, "num_layers": 3, "direction": "backward"}),
]


@pytest.mark.parametrize(("cell", "options"), STACKS, ids=lambda v: str(v) if not isinstance(v, dict) else "")
def test_a_stack_is_its_cells_step_by_step(cell: Any, options: dict[str, Any]) -> None:
    """Outputs, final states and every state, time-major, batch-first and for one sequence alone."""
    options = {"hidden_size": H, "num_layers": 1 if isinstance(cell, str) else len(cell), **options}
    layer = Recurrent(cell, IN, dtype=DOUBLE, **options)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight)
    x, state = torch.randn(T, B, IN, dtype=DOUBLE), state_of(layer, B)
    wanted, last, after = by_hand(layer, x, state, layer.residual)
    assert layer.output_size == wanted.shape[-1]

    def agree(output: Tensor, final: Any, every: Any, turn: Any, pick: Any) -> None:
        pairs = [(output, turn(wanted)), *zip(flat(final), map(pick, last), strict=True)]
        for ours, theirs in [*pairs, *zip(flat(every), (pick(a.transpose(0, 1)) for a in after), strict=True)]:
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-12)

    output, final, every = layer(x, state, every_state=True)
    agree(output, final, [[e.transpose(0, 1) for e in part] for part in every], lambda o: o, lambda s: s)
    torch.testing.assert_close(layer(x, state)[0], output, rtol=1e-12, atol=1e-13)
    one = tuple(tuple(s[1] for s in part) for part in state)
    agree(*layer(x[:, 1], one, every_state=True), lambda o: o[:, 1], lambda s: s[1])
    layer.batch_first = True
    assert torch.equal(layer(x.transpose(0, 1), state)[0], layer_time_major(layer, x, state).transpose(0, 1))


def layer_time_major(layer: Recurrent, x: Tensor, state: Any) -> Tensor:
    layer.batch_first = False
    output: Tensor = layer(x, state)[0]
    layer.batch_first = True
    return output


@pytest.mark.parametrize("cell", cells.CATALOGUE)
def test_two_halves_with_the_state_carried_are_the_whole(cell: str) -> None:
    layer = Recurrent(cell, IN, H, 2, dtype=DOUBLE)
    x = torch.randn(T, B, IN, dtype=DOUBLE)
    whole, final = layer(x)
    first, between = layer(x[:1])
    second, last = layer(x[1:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-13)
    for a, b in zip(flat(final), flat(last), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_dropout_is_between_layers_and_only_in_training() -> None:
    layer = Recurrent("gru", IN, 64, 2, dropout=0.5)
    x = torch.randn(T, B, IN)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    assert layer(x)[0].count_nonzero() == layer(x)[0].numel(), "the last layer's output is whole"
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"cell": "lstmm"}, "did you mean 'lstm'"),
    ({"cell": 3}, "a cell is one of elman.cells or a name of the catalogue, not int"),
    ({"cell": ["lstm"], "num_layers": 2}, "cell has 1 entries for num_layers=2"),
    ({"hidden_size": [4]}, "hidden_size has 1 entries for num_layers=2"),
    ({"hidden_size": 0}, "hidden_size must be a whole number, 1 or more, not 0"),
    ({"hidden_size": 2.5}, "hidden_size must be a whole number"),
    ({"hidden_size": np.ones(2)}, "hidden_size must be a whole number"),
    ({"input_size": -1}, "input_size must be a whole number"),
    ({"num_layers": 0}, "num_layers must be a whole number"),
    ({"num_layers": "2"}, "num_layers must be a whole number"),
    ({"output_size": 0}, "output_size must be a whole number"),
    ({"output_size": 2}, "the output of cell 'lstm' has hidden_size units (5); output_size=2 cannot be"),
    ({"dropout": 1.0}, "dropout must be a number in [0, 1)"),
    ({"dropout": "0.5"}, "dropout must be a number in [0, 1)"),
    ({"direction": "forwards"}, "did you mean 'forward'"),
    ({"direction": "backward", "bidirectional": True}, "say different things"),
    ({"backend": "torchh"}, "did you mean 'torch'"),
    ({"dtype": torch.int32}, "floating-point type"),
    ({"dtype": "float32"}, "floating-point type"),
    ({"cell": "lstm_peephole", "backend": "torch"}, "back end 'torch' cannot run cell 'lstm_peephole'"),
    ({"cell": "lstm_projected", "backend": "torch"}, "only onto fewer units"),
]


def test_options_that_cannot_work_are_refused() -> None:
    for bad, said in BAD:
        with pytest.raises(OptionError, match=re.escape(said)):
            Recurrent(**{"cell": "lstm", "input_size": IN, "hidden_size": H, "num_layers": 2, **bad})


def test_inputs_and_states_that_do_not_fit_are_refused() -> None:
    layer, x = Recurrent("lstm", IN, H, bidirectional=True), torch.zeros(T, B, IN)
    h = torch.zeros(B, H)
    cases: list[tuple[Any, Any, str]] = [
        (torch.zeros(T, B, IN + 1), None, "the input has the shape (4, 3, 4), expected (T, B, 3), or (T, 3)"),
        (torch.zeros(IN), None, "the input has the shape (3,)"),
        (torch.zeros(1, T, B, IN), None, "the input has the shape"),
        (np.zeros((T, B, IN)), None, "the input must be a tensor"),
        (torch.nn.utils.rnn.pack_sequence([x[:, 0]]), None, "lengths= where sequences differ, not PackedSequence"),
        (x.double(), None, "the input is float64 on cpu, the layer's weights are float32 on cpu"),
        (x.long(), None, "the input is int64"),
        (x.to("meta"), None, "the input is float32 on meta"),
        (x, ((h, h), (h, h.double())), "the state is float64"),
        (x, (h, h), "the state has the shapes [(3, 5), (3, 5)], expected [[(3, 5), (3, 5)], [(3, 5), (3, 5)]]"),
        (x, ((h, h),), "the state has the shapes"),
        (x, ((h, h), (h, None)), "NoneType"),
        (x, 3, "the state has the shapes int"),
        (x, h, "the state has the shapes (3, 5)"),
        (x[:, 0], ((h, h), (h, h)), "expected [[(5,), (5,)], [(5,), (5,)]]"),
    ]
    for given, state, said in cases:
        with pytest.raises(DataError, match=re.escape(said)) as caught:
            layer(given, state)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=re.escape("expected (B, T, 3), or (T, 3)")):
        Recurrent("gru", IN, H, batch_first=True)(torch.zeros(B, T, IN + 1))


def test_explain_says_which_back_end_and_why() -> None:
    said = explain(Recurrent(["lstm", "lstm_peephole"], IN, H, 2, direction=["both", "forward"]), torch.zeros(T, B, IN))
    assert said.splitlines() == [
        "layer 0 (forward), cell lstm: native (compiled from its equations)",
        "layer 0 (backward), cell lstm: native (compiled from its equations)",
        "layer 1 (forward), cell lstm_peephole: native (compiled from its equations)",
        "input: (4, 3, 3), float32 on cpu",
    ]
    assert explain(elman.nn.GRU(IN, H, 2, bidirectional=True)).count("cell gru: native (") == 4
    assert "reference (asked for)" in explain(Recurrent("gru", IN, H, backend="reference"))
    assert "torch (the equations are those of torch.lstm)" in explain(Recurrent("lstm", IN, H, backend="torch"))
    for wrong in (torch.nn.LSTM(IN, H), torch.nn.Linear(2, 2), "lstm", None):
        with pytest.raises(OptionError, match=r"explain takes an elman layer .*, not "):
            explain(wrong)  # type: ignore[arg-type]


def test_explain_says_why_there_are_no_kernels() -> None:
    half = {"dtype": torch.bfloat16}
    said = explain(Recurrent("lstm_peephole", IN, H, **half))
    assert "reference (the kernels compute in float32 and float64, not in bfloat16; torch has no fused" in said
    assert "but not every state" in explain(Recurrent("lstm", IN, H, **half), every_state=True)
    assert "torch (the" in explain(Recurrent("gru", IN, H, **half), every_state=True)
    assert "only onto fewer units" in explain(Recurrent("lstm_projected", IN, H, **half))
    assert "torch.lstm" in explain(Recurrent("lstm_projected", IN, H, output_size=2, **half))
    assert "torch.rnn_relu" in explain(elman.nn.RNN(IN, H, nonlinearity="relu", **half))
    layer, told = elman.nn.GRU(IN, H), []  # type: Any, list[str]
    torch.func.vmap(lambda x: told.append(explain(layer)) or x)(torch.zeros(2))
    assert "no rule for vmap" in told[0]


def test_a_cell_is_known_by_its_equations_and_not_by_its_name() -> None:
    @cells.cell
    def mine(x: Any, h: Any, W: Any) -> Any:
        return cells.tanh(W.h(x, h))

    assert "torch.rnn_tanh" in explain(Recurrent(mine, IN, H, backend="torch"))


def test_the_torch_back_end_asked_for_is_never_silently_another() -> None:
    layer = Recurrent("lstm", IN, H, backend="torch")
    with pytest.raises(OptionError, match="every step, but not every state"):
        layer(torch.zeros(T, B, IN), every_state=True)
    assert len(Recurrent("gru", IN, H, backend="torch")(torch.zeros(T, B, IN), every_state=True)) == 3


def test_every_type_and_the_meta_device() -> None:
    for dtype, device in itertools.product((torch.bfloat16, torch.float32), ("cpu", "meta")):
        layer = Recurrent("lstm_peephole", IN, H, 2, dtype=dtype, device=device)
        output, state = layer(torch.zeros(T, B, IN, dtype=dtype, device=device))
        assert {output.dtype, *(s.dtype for s in flat(state))} == {dtype}
        assert output.device.type == device


def test_the_texts_of_a_layer() -> None:
    text = repr(Recurrent("lstm_projected", IN, H, output_size=2, bidirectional=True))
    assert "input_size=3, output_size=4" in text
    assert "lstm_projected, 3 -> 4, both" in text
