"""Masks and the programs that hold them: the generator's numbers, the adjoint, the verifier, the printers."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from cell_kit import ALL, tensors, vectors_for, weights_for
from elman import cells
from elman.compiler import masks
from elman.compiler.adjoint import adjoint
from elman.compiler.interpret import Split, Stacked, evaluate, run
from elman.compiler.ir import Node, Program, resolve, to_json
from elman.compiler.printers import as_latex, as_text, storage
from elman.compiler.regularise import (
    recurrent_dropout,
    recurrent_vectors,
    without_zoneout,
    zoneout,
    zoneout_expected,
)
from elman.compiler.verify import from_json, verify, verify_cell
from elman.errors import ProgramError

B, IN, H, OUT = 3, 5, 7, 2
KNOWN = ["1100010111001011", "0100001000111111", "1001011111100101"]
KNOWN_LATER = ["1110101000011110", "1110100100001001", "0110101011001101"]


# -- the generator -----------------------------------------------------------------------------------------------------
def kept(name: str, rate: float, seed: int, rows: int, units: int, steps: int | None = None) -> Any:
    times = None if steps is None else np.arange(steps)[:, None]
    return masks.kept(masks.number(name), rate, seed, np.arange(rows), np.arange(units), times)


def plainly(name: str, rate: float, seed: int, row: int, unit: int, step: int) -> bool:
    """The definition once more, on single numbers that never wrap."""

    def mix(h: int) -> int:
        h ^= h >> 16
        h = h * 0x85EBCA6B % 2**32
        h ^= h >> 13
        h = h * 0xC2B2AE35 % 2**32
        return h ^ (h >> 16)

    seed %= 2**64
    key = mix(seed % 2**32 ^ mix(seed // 2**32 ^ mix(zlib.crc32(name.encode()))))
    key = mix(key ^ step)
    key = mix((key + 0x9E3779B9 * (row + 1)) % 2**32)
    return mix(key ^ 0x9E3779B9 * (unit + 1) % 2**32) >> 8 >= round(rate * 2**24)


def test_the_finaliser_is_murmurs() -> None:
    """MurmurHash3 of nothing is the finaliser of its seed: published values."""
    assert [masks.fmix(h) for h in (0, 1, 0xFFFFFFFF)] == [0, 0x514E28B7, 0x81F16F39]
    assert masks.fmix(np.array([1, 0xFFFFFFFF])).tolist() == [0x514E28B7, 0x81F16F39]


def test_known_answers() -> None:
    """Written down once: another implementation must give these bits, and a saved seed the same masks for ever."""
    rows = ["".join(str(int(bit)) for bit in row) for row in kept("zoneout_h", 0.5, 1, 3, 16)]
    assert rows == KNOWN
    later = kept("zoneout_h", 0.5, 1, 3, 16, 8)[7]
    assert ["".join(str(int(bit)) for bit in row) for row in later] == KNOWN_LATER


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63), 0x0123456789ABCDEF])
def test_numpy_torch_and_single_numbers_agree(seed: int) -> None:
    rows, units, steps = [0, 1, 2, 70_000], [0, 1, 2, 12, 65_536], [0, 1, 9, 100_000]
    arrays = (np.array(v) for v in (rows, units, steps))
    a, b, t = arrays
    number = masks.number("a")
    found = masks.kept(number, 0.3, seed, a, b, t[:, None])
    wanted = [[[plainly("a", 0.3, seed, r, u, s) for u in units] for r in rows] for s in steps]
    assert found.tolist() == wanted
    for own in (seed, torch.tensor(seed)):
        tensor = masks.kept(number, 0.3, own, torch.tensor(rows), torch.tensor(units), torch.tensor(steps)[:, None])
        assert tensor.tolist() == wanted
    assert masks.kept(number, 0.3, seed, a, b).tolist() == wanted[0], "a variational mask is that of step 0"


@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 20, -7])
def test_the_rate_is_the_rate(rate: float, seed: int) -> None:
    """Over all, and by unit, row and step: within 4 standard deviations (5 for the worst of many)."""
    bits = kept("zoneout_c", rate, seed, 32, 64, 64)
    deviation = np.sqrt(rate * (1 - rate))
    assert abs(1 - bits.mean() - rate) <= 4 * deviation / np.sqrt(bits.size)
    for axes in ((0, 1), (0, 2), (1, 2)):
        shares = 1 - bits.mean(axes)
        assert np.abs(shares - rate).max() <= 5 * deviation / np.sqrt(bits.size / shares.size) + 1e-12


def test_neighbours_have_nothing_in_common() -> None:
    """Correlation of a mask with itself one or a few units, rows or steps on, with another name and another seed."""
    bits = kept("h", 0.5, 3, 64, 64, 64) * 2.0 - 1
    limit = 4 / np.sqrt(bits.size)
    for axis, shift in itertools.product((0, 1, 2), (1, 2, 8, 32)):
        assert abs((bits * np.roll(bits, shift, axis)).mean()) <= limit, (axis, shift)
    assert abs((bits * bits.transpose(2, 1, 0)).mean()) <= 2 * limit, "of steps and units; each pair counts twice"
    for other in (("i", 3), ("h", 4), ("h", 3 + 2**32), ("h", 3 ^ masks.fmix(1))):
        assert abs((bits * (kept(other[0], 0.5, other[1], 64, 64, 64) * 2.0 - 1)).mean()) <= limit, other


def test_a_row_has_its_mask_in_any_batch() -> None:
    whole = kept("h", 0.4, 5, 6, 9, 4)
    order = np.array([4, 1, 5])
    some = masks.kept(masks.number("h"), 0.4, 5, order, np.arange(9), np.arange(4)[:, None])
    assert np.array_equal(some, whole[:, order])


# -- programs ----------------------------------------------------------------------------------------------------------
def rates_of(program: Program, rate: float = 0.3) -> dict[str, float]:
    return dict.fromkeys(program.states, rate)


def masked(program: Program) -> Program:
    return recurrent_dropout(zoneout(program, rates_of(program)), 0.4)


def given_for(program: Program, batch: int = B) -> dict[str, np.ndarray]:
    """Random vectors and masks by name."""
    sizes, rng = resolve(IN, H, OUT), np.random.default_rng(9)
    nodes = [node for node in program.nodes if node.op == "mask"]
    own = {node.name: (rng.random((batch, sizes[node.size])) >= node.value).astype(float) for node in nodes}
    return vectors_for(program, batch, IN, H, OUT) | own


@pytest.mark.parametrize("name", ALL)
def test_zoneout_is_the_mixture_of_old_and_new(name: str) -> None:
    program = ALL[name].program
    weights, sizes = Stacked(weights_for(program, IN, H, OUT)), resolve(IN, H, OUT)
    given = given_for(zoneout(program, rates_of(program)))
    plain = run(program, given, weights, sizes)
    zoned = run(zoneout(program, rates_of(program)), given, weights, sizes)
    mean = run(zoneout_expected(program, rates_of(program)), given, weights, sizes)
    for state, new in plain.items():
        keep = given.get(f"zoneout_{state}", np.ones(1))  # none where a state comes back as it went
        np.testing.assert_allclose(zoned[state], keep * new + (1 - keep) * given[state], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(mean[state], 0.7 * new + 0.3 * given[state], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ALL)
def test_zoneout_can_be_taken_off_again(name: str) -> None:
    program = ALL[name].program
    rates = {state: 0.1 * n for n, state in enumerate(program.states)}  # the first one has none
    for own in (rates, rates_of(program)):
        expected = zoneout_expected(program, own)
        verify_cell(expected)
        assert without_zoneout(expected, own) == program
        assert zoneout_expected(without_zoneout(expected, own), own) == expected
        assert from_json(to_json(expected)) == expected
    assert without_zoneout(program, rates_of(program)) is program
    if len(program.states) == 1:
        assert zoneout_expected(program, rates) is program


def test_zoneout_can_be_taken_off_a_cell_that_has_the_same_form() -> None:
    @cells.cell
    def leaky(x: Any, h: Any, W: Any) -> Any:
        return h + 0.9 * (cells.tanh(W.h(x, h)) - h)

    once = zoneout_expected(leaky.program, {"h": 0.1})
    assert without_zoneout(once, {"h": 0.1}) == leaky.program
    assert without_zoneout(leaky.program, {"h": 0.2}) is leaky.program


def test_recurrent_dropout_is_on_what_states_bring_into_maps() -> None:
    """By name and number of the vector; an LSTM's projection, and a per-unit recurrence, take nothing of the kind."""
    found = {name: [(n.name, i) for n, i in recurrent_vectors(cells.named(name).program)] for name in cells.CATALOGUE}
    assert found["lstm"] == found["lstm_projected"] == [("i", 1), ("f", 1), ("g", 1), ("o", 1)]
    assert found["gru"] == [("r", 1), ("z", 1), ("m", 0)]
    assert found["gru_reset_before"] == [("r", 1), ("u", 1), ("n", 1)]
    assert found["lstm_multiplicative"] == [("mh", 0)]
    assert found["rhn"] == [("n1", 1), ("u1", 1), ("n2", 0), ("u2", 0), ("n3", 0), ("u3", 0)]
    assert found["indrnn"] == found["mingru"] == []
    assert recurrent_dropout(cells.named("indrnn").program, 0.5) is cells.named("indrnn").program
    assert recurrent_dropout(cells.named("lstm").program, 0.0) is cells.named("lstm").program


@pytest.mark.parametrize("name", ["lstm", "gru", "gru_reset_before", "lstm_layer_norm", "jordan"])
def test_recurrent_dropout_is_the_cell_with_other_columns(name: str) -> None:
    """Dropping a unit of the state before every map is dropping its column, for one row of a batch."""
    program = cells.named(name).program
    dropped, sizes = recurrent_dropout(program, 0.4), resolve(IN, H, OUT)
    weights, given = weights_for(program, IN, H, OUT), given_for(recurrent_dropout(program, 0.4), batch=1)
    columns = Split(program, weights, sizes).columns
    scaled = {key: weight.copy() for key, weight in weights.items()}
    for node, index in recurrent_vectors(program):
        a, b = columns[node.name][index]
        state = cells.named(name).states[0] if name != "jordan" else "y"
        scaled[f"weight_{node.name}"][:, a:b] *= given[f"recurrent_{state}"] / 0.6
    found = run(dropped, given, Stacked(weights), sizes)
    for state, value in run(program, given, Stacked(scaled), sizes).items():
        np.testing.assert_allclose(found[state], value, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_adjoint_with_masks_is_autograd(name: str) -> None:
    program = masked(ALL[name].program)
    sizes = resolve(IN, H, OUT)
    weights = tensors(weights_for(program, IN, H, OUT), grad=True)
    given = tensors(given_for(program))
    leaves = {node.name: given[node.name].requires_grad_() for node in program.nodes if node.op in ("input", "state")}
    values = evaluate(program, given, Split(program, weights, sizes), sizes)
    new = {state: values[p] for state, p in program.outputs}
    shares = {f"grad_new_{state}": torch.randn(B, value.shape[-1]).double() for state, value in new.items()}
    loss = sum(((value * shares[f"grad_new_{state}"]).sum() for state, value in new.items()), torch.zeros(()).double())
    wanted = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)

    back = adjoint(program)
    assert {n for n in back.program.nodes if n.op == "mask"} <= {n for n in program.nodes if n.op == "mask"}
    assert not any(name.startswith("grad_zoneout") for name, _ in back.program.outputs)
    with torch.no_grad():
        known = {**given, **{f"new_{s}": v for s, v in new.items()}, **shares}
        known |= {f"saved_{p}": values[p] for p in back.saved}
        found = run(back.program, known, Split(program, weights, sizes), sizes)
    for leaf, gradient in zip(leaves, wanted, strict=True):
        torch.testing.assert_close(found[f"grad_{leaf}"].expand_as(gradient), gradient, rtol=1e-10, atol=1e-11)


def test_the_interpreter_asks_for_masks() -> None:
    program = zoneout(cells.gru.program, {"h": 0.5})
    given = vectors_for(program, B, IN, H, OUT)
    with pytest.raises(ProgramError, match="is not given zoneout_h"):
        run(program, given, Stacked(weights_for(program, IN, H, OUT)), resolve(IN, H, OUT))


def test_no_cell_of_a_file_holds_a_mask() -> None:
    program = masked(cells.lstm.program)
    assert from_json(to_json(verify(program))) == program, "as a program it is sound"
    with pytest.raises(ProgramError, match="holds a mask, which only programs made for training may"):
        verify_cell(program)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": 1.0}, r"in \[0, 1\)"),
        ({"value": -0.1}, r"in \[0, 1\)"),
        ({"value": float("nan")}, "finite"),
        ({"index": 2}, "index 0 or 1"),
        ({"index": -1}, "a field that does not belong"),
        ({"size": "1"}, "a mask is a vector"),
        ({"name": ""}, "must have a name"),
        ({"name": "x"}, "the name 'x' is taken"),
        ({"args": (0,)}, "takes 0 arguments"),
        ({"bias": False}, "a field that does not belong"),
    ],
)
def test_masks_are_verified(change: dict[str, Any], said: str) -> None:
    mask = Node("mask", size="H", name="m", value=0.5, index=1)
    program = cells.gru.program
    nodes = (*program.nodes, mask, Node("mul", (program.outputs[0][1], len(program.nodes))))
    sound = replace(program, nodes=nodes, outputs=(("h", len(nodes) - 1),))
    verify(sound)
    broken = replace(sound, nodes=(*nodes[:-2], replace(mask, **change), nodes[-1]))
    with pytest.raises(ProgramError, match=said):
        verify(broken)


def test_a_cell_may_not_own_the_name_of_a_mask() -> None:
    @cells.cell
    def own(x: Any, h: Any, W: Any) -> Any:
        return cells.tanh(W.h(x, h)) * W.zoneout_h

    with pytest.raises(ProgramError, match="'zoneout_h' is taken"):
        zoneout(own.program, {"h": 0.1})


def test_masks_are_printed() -> None:
    program = masked(cells.lstm.program)
    assert program.name == "lstm_zoneout_recurrent_dropout"
    text = as_text(program)
    assert "h' = h + mask_zoneout_h ∘ (o ∘ tanh(s2) − h)" in text
    assert "s1 = h ∘ mask_recurrent_h ∘ 1.66" in text
    assert r"\mathrm{mask}_{\mathrm{zoneout}_{c}} \circ" in as_latex(program)
    saved, rebuilt = storage(program)
    assert saved == ["i", "f", "g", "o", "tanh(s2)"]
    assert "mask_zoneout_h" not in rebuilt
    assert storage(masked(cells.lstm_projected.program))[0] == saved, (
        "no gradient goes into masks, so none asks for W_r"
    )
    assert as_text(zoneout_expected(cells.gru.program, {"h": 0.25})).endswith(
        "h' = h + 0.75 ∘ ((1 − z) ∘ n + z ∘ h − h)"
    )
