"""The compiled kernels against the interpreter in float64: values and every gradient, for any cell, size and call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

import elman.nn
from elman.cells import CATALOGUE, Cell, cell, tanh
from elman.compiler.plan import plan
from elman.errors import OptionError
from elman.nn import Recurrent
from engine_kit import (
    BY_ROWS,
    BY_UNITS,
    EVERY,
    RAGGED,
    Case,
    check,
    differences,
    fast,
    outcome,
    problem,
    sharing,
    slow,
)  # fmt: skip

# Vectors have 2 to 16 lanes. An input of up to 8 units is multiplied with the states step by step, a wider one for
# 512 rows at once.
SIZES = (
    Case(1, 1, (1, 1, 1)),
    Case(3, 2, (5, 7, 3), lengths=(1, 3), every_state=True),
    Case(4, 5, (20, 33, 18), reverse=True, every_state=True),
    Case(5, 3, (8, 40, 17), final_only=True),
    Case(3, 8, (2, 8, 24)),
    Case(5, 5, (9, 16, 16), lengths=(2, 5, 0, 3, 4), reverse=True),
    Case(19, 33, (11, 5, 4), every_state=True),  # 627 rows
)


@pytest.mark.parametrize("name", EVERY)
def test_every_cell_is_the_interpreter(name: str) -> None:
    """In both number types: outputs, states and gradients of the input, the first states and the weights."""
    for case in SIZES:
        check(EVERY[name], case)


@pytest.mark.parametrize("name", EVERY)
def test_every_cell_on_two_threads(name: str) -> None:
    """Without autograd too: states that nobody keeps lie elsewhere."""
    program = EVERY[name]
    for case in (BY_ROWS, BY_UNITS, RAGGED):
        given = problem(program, case)
        torch.set_num_threads(1)  # torch's own threads gain nothing here
        wanted = outcome(slow(program, case), program, case, given, torch.float64)
        torch.set_num_threads(2)
        assert not differences(outcome(fast(program, case), program, case, given, torch.float64), wanted), case
        with torch.no_grad():
            x, states, weights = given
            sequences, final = fast(program, case)(weights, x, states)
        names = [f"sequence {program.states[0]}", *(f"final {name}" for name in program.states)]
        found = dict(zip(names, [*sequences, *final], strict=True))
        assert not differences(found, {name: wanted[name] for name in names}), case


def test_a_sum_of_products_and_more_is_one_product() -> None:
    """The old state's gradient, of the maps and of what goes past them: the product is added to what lies there."""
    for name in ("gru", "janet", "gru_layer_norm"):
        *_, last = plan(EVERY[name], False).backward.stages
        (product,) = last.products
        assert product.ready == (True,), name
        assert not last.loops, name


def test_no_thread_runs_ahead_of_the_others() -> None:
    """A state that needs no product is ready before the other threads have read the old one; without autograd only two
    steps of it are there."""
    program, case = EVERY["lagging"], Case(200, 4, (4, 200, 200))
    x, states, weights = problem(program, case)
    with torch.no_grad():
        _, wanted = slow(program, case)(weights, x, states)
        torch.set_num_threads(2)
        with sharing(torch.float64) as seen:
            _, found = fast(program, case)(weights, x, states)
    assert seen == [(2, False)]
    assert not differences(dict(zip("hsk", found)), dict(zip("hsk", wanted)))


def test_the_cases_for_threads_are_shared_out_as_they_say() -> None:
    """Else the tests above would not see what they are for."""
    torch.set_num_threads(2)
    ways = {BY_ROWS: (2, True), BY_UNITS: (2, False), RAGGED: (2, False), SIZES[-1]: (1, True)}
    for name in ("lstm", "rnn", "lagging"):
        for case, way in ways.items():
            with sharing(torch.float64) as seen:
                fast(EVERY[name], case)(*(lambda x, s, w: (w, x, s))(*problem(EVERY[name], case)))
            assert seen == [way], (name, case)
    with sharing(torch.float64) as seen:
        fast(EVERY["gru_layer_norm"], RAGGED)(*(lambda x, s, w: (w, x, s))(*problem(EVERY["gru_layer_norm"], RAGGED)))
    assert seen == [(2, True)], "means over units tie a row's units together"


@pytest.mark.parametrize("threads", [1, 2])
def test_large_weights_and_every_number_of_rows(threads: int) -> None:
    """Tiles are up to 8 rows tall and 12 vectors wide, and every height and width has code of its own."""
    torch.set_num_threads(threads)
    for batch in (1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 33):
        check(EVERY["gru"], Case(3, batch, (3, 97, 97)), torch.float32)
        check(EVERY["nine_maps"], Case(2, batch, (13, 35, 35)), torch.float64)
    check(EVERY["lstm_projected"], Case(2, 40, (50, 300, 120)), torch.float32)  # 2.3 MB of weights
    check(EVERY["lstm"], Case(2, 3, (300, 260, 260)), torch.float64)


@pytest.mark.parametrize("name", ["lstm", "gru", "lagging", "sums_of_units"])
def test_long_sequences(name: str) -> None:
    """Longer than a chunk, whole and ragged, in both directions, in float64: rounding grows over a thousand steps."""
    for reverse in (False, True):
        check(EVERY[name], Case(1027, 1, (9, 5, 5), reverse=reverse), torch.float64)
        check(EVERY[name], Case(600, 3, (2, 5, 5), lengths=(1, 600, 517), reverse=reverse), torch.float64)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_output", "swapping"])
def test_tensors_may_lie_as_they_like(name: str) -> None:
    """Transposed, expanded and cut out of larger ones."""
    program, case = EVERY[name], Case(5, 3, (10, 6, 4))
    x, states, weights = problem(program, case)
    x = x[:, :1].expand(-1, 3, -1)
    states = [s[:1].expand(3, -1) for s in states]
    given = (x, states, weights)
    wanted = outcome(slow(program, case), program, case, given, torch.float64)

    def twisted(weights: dict[str, Tensor], x: Tensor, states: list[Tensor]) -> Any:
        turned = {n: w.t().contiguous().t() if k % 2 else _inside(w) for k, (n, w) in enumerate(weights.items())}
        assert not all(w.is_contiguous() for w in turned.values())
        laid = x.transpose(0, 1).contiguous().transpose(0, 1)
        return fast(program, case)(turned, laid, [_inside(s) for s in states])

    assert not differences(outcome(twisted, program, case, given, torch.float64), wanted)
    one = outcome(lambda w, x, s: fast(program, case)(w, x, [t[:1].expand(3, -1) for t in s]),
                  program, case, given, torch.float64)  # fmt: skip
    alike = [name for name in wanted if name.startswith(("sequence", "final", "grad weight"))]
    assert not differences({n: one[n] for n in alike}, {n: wanted[n] for n in alike})


def _inside(tensor: Tensor) -> Tensor:
    """The same numbers with others around them."""
    return torch.nn.functional.pad(tensor, (2, 1) * tensor.dim(), value=1e9)[(slice(2, -1),) * tensor.dim()]


def test_gradients_may_lie_as_they_like() -> None:
    program, case = EVERY["lstm"], Case(4, 3, (3, 5, 5), every_state=True)
    x, states, weights = problem(program, case)
    results = []
    for run in (fast(program, case), slow(program, case)):
        leaves = [t.clone().requires_grad_() for t in (x, *states, *weights.values())]
        sequences, _ = run(dict(zip(weights, leaves[3:])), leaves[0], leaves[1:3])
        shares = [
            torch.ones(()).double().expand_as(sequences[0]),
            torch.arange(60.0).double().view(5, 3, 4).permute(2, 1, 0),
        ]
        results.append(torch.autograd.grad(sequences, leaves, shares))
    assert not differences(*({str(k): t for k, t in enumerate(found)} for found in results))


def test_gradients_of_some_outputs_alone() -> None:
    """Each output on its own; those of the others come as None."""
    for name in ("lstm", "swapping", "sums_of_units", "map_of_the_new"):
        program, case = EVERY[name], Case(4, 3, (3, 5, 5), every_state=True)
        x, states, weights = problem(program, case)
        for number in range(2 * len(states)):
            results = []
            for run in (fast(program, case), slow(program, case)):
                leaves = [t.clone().requires_grad_() for t in (x, *states, *weights.values())]
                given = dict(zip(weights, leaves[1 + len(states) :]))
                sequences, final = run(given, leaves[0], leaves[1 : 1 + len(states)])
                one = [*sequences, *final][number].square().sum()
                results.append(torch.autograd.grad(one, leaves, allow_unused=True, materialize_grads=True))
            assert not differences(*({str(k): t for k, t in enumerate(found)} for found in results)), (name, number)


@pytest.mark.parametrize("name", ["lstm", "gru", "lagging"])
def test_without_steps_sequences_or_lengths(name: str) -> None:
    for case in (
        Case(0, 3, (4, 5, 5)),
        Case(3, 0, (4, 5, 5)),
        Case(0, 0, (4, 5, 5)),
        Case(3, 2, (4, 5, 5), lengths=(0, 0)),
        Case(3, 0, (4, 5, 5), lengths=()),
        Case(3, 3, (9, 5, 5), lengths=(3, 3, 3)),
        Case(3, 3, (9, 5, 5), lengths=(2, 2, 2)),
    ):
        given = problem(EVERY[name], case)
        found = outcome(fast(EVERY[name], case), EVERY[name], case, given, torch.float64)
        if case.steps and case.batch and any(case.lengths or [1]):
            assert not differences(found, outcome(slow(EVERY[name], case), EVERY[name], case, given, torch.float64))
        else:
            states, shares = given[1], [found[f"final {n}"] for n in EVERY[name].states]
            assert all(torch.equal(a, b) for a, b in zip(states, shares, strict=True))
            assert not any(g.count_nonzero() for n, g in found.items() if n.startswith(("grad weight", "grad x")))


def test_masks_are_those_of_the_reference() -> None:
    """In training, with lengths, from both ends."""
    results = []
    for backend in ("native", "reference"):
        torch.manual_seed(3)
        layer = Recurrent("lstm", 5, 18, 2, bidirectional=True, dtype=torch.float64, backend=backend,
                          zoneout={"c": 0.4, "h": 0.1}, recurrent_dropout=0.3, input_dropout=0.2)  # fmt: skip
        x = torch.randn(7, 6, 5, dtype=torch.float64, requires_grad=True)
        for lengths in (None, [3, 7, 0, 1, 7, 5]):
            output, state = layer(x, lengths=lengths)
            loss = output.sin().sum() + sum(s.cos().sum() for part in state for s in part)
            results.append([output.detach(), *torch.autograd.grad(loss, [x, *layer.parameters()])])
    for ours, theirs in zip(results[:2], results[2:]):
        assert not differences(*({str(k): t for k, t in enumerate(found)} for found in (ours, theirs)))


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM", "LSTM proj"])
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_the_drop_ins_are_torchs_layers(kind: str) -> None:
    """In float64, at sizes off the vector width: (T, B, I), batch_first, packed, without biases, in both directions."""
    sizes, name = {"proj_size": 11} if "proj" in kind else {}, kind.split()[0]
    for options in (
        {},
        {"bias": False, "bidirectional": True},
        {"batch_first": True, "num_layers": 2, "bidirectional": True},
    ):
        torch.manual_seed(1)
        theirs = getattr(torch.nn, name)(19, 21, dtype=torch.float64, **sizes, **options)
        ours = getattr(elman.nn, name)(19, 21, dtype=torch.float64, **sizes, **options)
        ours.load_state_dict(theirs.state_dict())
        assert "native" in elman.explain(ours)
        x = torch.randn(9, 9, 19, dtype=torch.float64, requires_grad=True)
        for packed in (False, True):
            results = []
            for layer in (ours, theirs):
                lengths = [4, 9, 1, 9, 2, 7, 7, 3, 5]
                given = pack_padded_sequence(x, lengths, theirs.batch_first, enforce_sorted=False) if packed else x
                output, final = layer(given)
                finals = final if isinstance(final, tuple) else (final,)
                data = output if isinstance(output, Tensor) else output.data
                loss = data.sin().sum() + sum(f.cos().sum() for f in finals)
                results.append([data.detach(), *(f.detach() for f in finals),
                                *torch.autograd.grad(loss, [x, *layer.parameters()])])  # fmt: skip
            assert not differences(*({str(k): t for k, t in enumerate(found)} for found in results)), options


def test_nan_and_infinity_reach_what_they_reach_in_the_reference() -> None:
    """Outputs and gradients are finite in the same places: zeros that pad a product would spread what is not."""
    for name in ("gru", "lstm", "map_of_the_new", "swapping", "sums_of_units", "map_of_map"):
        for units in (3, 12):
            for value in (torch.nan, torch.inf):
                program, case = EVERY[name], Case(4, 5, (units, 7, 7), lengths=(4, 3, 4, 2, 4), every_state=True)
                x, states, weights = problem(program, case)
                x[2, 1, 0] = states[0][2, 3] = value
                found, wanted = (outcome(run, program, case, (x, states, weights), torch.float64)
                                 for run in (fast(program, case), slow(program, case)))  # fmt: skip
                for what, ours in found.items():
                    test = torch.isfinite if value == torch.inf else torch.isnan
                    assert torch.equal(test(ours), test(wanted[what])), (name, units, value, what)


def many_terms(count: int) -> Cell:
    @cell
    def wide(x: Any, h: Any, W: Any) -> Any:
        return tanh(W.h(*[x] * count, *[h] * count) * 0.1)

    return wide


def many_weights(count: int, *, maps: bool) -> Cell:
    @cell
    def heavy(x: Any, h: Any, W: Any) -> Any:
        total = W.first(x, h)
        for k in range(count):
            total = total + (getattr(W, f"m{k}")(h) if maps else getattr(W, f"p{k}") * h)
        return tanh(0.1 * total)

    return heavy


@pytest.mark.parametrize(
    "made", [many_terms(20), many_terms(32), many_weights(31, maps=True), many_weights(70, maps=False)]
)
def test_cells_that_are_too_large_for_the_kernels_run_all_the_same(made: Cell) -> None:
    """The engine's arrays are of fixed sizes: what does not fit is refused, and the reference runs it."""
    for units in (3, 12):
        case = Case(3, 2, (units, 5, 5))
        given = problem(made.program, case)
        wanted = outcome(slow(made.program, case), made.program, case, given, torch.float64)
        found = outcome(fast(made.program, case, "auto"), made.program, case, given, torch.float64)
        assert not differences(found, wanted)


def test_large_constants_are_themselves() -> None:
    @cell
    def large(x: Any, h: Any, W: Any) -> Any:
        return tanh(W.h(x, h)) * 1e305 * 1e-305

    check(large.program, Case(2, 2, (3, 5, 5)), torch.float64)


@pytest.mark.parametrize("backend", ["native", "auto"])
def test_tensors_that_do_not_fit_are_refused(backend: str) -> None:
    """A weight of another shape or type than the cell's: the kernels would read beyond it."""
    program, case = CATALOGUE["lstm"].program, Case(2, 3, (4, 5, 5))
    x, states, weights = problem(program, case)
    wrong = {
        "weight_f": (torch.zeros(5, 3), torch.zeros(4, 9), torch.zeros(5), torch.zeros(5, 9).float()),
        "bias_f": (torch.zeros(3), torch.zeros(5, 1), torch.zeros(5).float()),
    }
    for name, tensors in wrong.items():
        for tensor in tensors:
            bad = tensor if tensor.dtype == torch.float32 and tensor.numel() in (5, 45) else tensor.double()
            with pytest.raises(Exception, match=r"\w"):
                fast(program, case, backend)(weights | {name: bad}, x, states)
    with pytest.raises(Exception, match=r"\w"):
        fast(program, case, backend)(weights, x, [states[0], states[1][:, :4]])
    with pytest.raises(Exception, match=r"\w"):
        fast(program, case, backend)(weights, x, [states[0][:2], states[1]])


def test_the_native_back_end_says_what_it_cannot_run() -> None:
    with pytest.raises(OptionError, match=r"too many maps|too long"):
        Recurrent(many_weights(40, maps=True), 3, 4, backend="native")
    with pytest.raises(OptionError, match=r"unknown back end 'nativ'.*native"):
        Recurrent("lstm", 3, 4, backend="nativ")
