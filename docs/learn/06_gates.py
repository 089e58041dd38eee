"""
# Gates, one by one

What does each gate do? Here are cells of one unit with weights set by hand, so that each gate obeys a mark in the
input. Nothing is learned on this page.

## Input, forget and output gate

The input has four numbers a step: a value, and three marks (0 or 1) that say *write*, *forget* and *read*. A weight
of 20 and a bias of ∓10 make a gate that is open (σ(10) ≈ 1) or closed (σ(−10) ≈ 0).
"""

import numpy as np
import torch
from course import curves, panels, save, set_weights

import elman
from elman.cells import CATALOGUE
from elman.cells.table import table
from elman.nn import Recurrent

VALUE, WRITE, FORGET, READ = range(4)
STEPS = 18
x = torch.zeros(STEPS, 1, 4, dtype=torch.float64)
x[:, 0, VALUE] = torch.tensor([0.3, -0.6, 0.9, -0.4, 0.8, -0.9, 0.2, 0.7, -0.5] * 2, dtype=torch.float64)
for t in (2, 12):
    x[t, 0, WRITE] = 1
for t in (6, 10, 16):
    x[t, 0, READ] = 1
x[8, 0, FORGET] = 1

obey = {  # a column for each number of the input, and one for h
    "weight_g": [[1.0, 0, 0, 0, 0]], "bias_g": 0.0,
    "weight_i": [[0.0, 20, 0, 0, 0]], "bias_i": -10.0,
    "weight_o": [[0.0, 0, 0, 20, 0]], "bias_o": -10.0,
}  # fmt: skip
lstm = Recurrent("lstm", 4, 1, dtype=torch.float64)
set_weights(lstm, **obey, weight_f=[[0.0, 0, -20, 0, 0]], bias_f=10.0)
seen = {one.name: one.values[:, 0, 0].round(6) + 0.0 for one in elman.diagnose(lstm, x).layers[0].activity}

print(" t  value   i    f    o      c       h")
for t in range(STEPS):
    marks = " ".join(word for word, at in (("write", WRITE), ("forget", FORGET), ("read", READ)) if x[t, 0, at])
    row = f"{t:2}  {x[t, 0, VALUE]:+.1f}  " + "  ".join(f"{seen[g][t]:.1f}" for g in "ifo")
    print(f"{row}  {seen['c'][t]:+.3f}  {seen['h'][t]:+.3f}  {marks}".rstrip())

"""
- **Write** (step 2): the input gate lets tanh(0.9) = 0.716 into the cell. At every other step it is closed, and the
  values pass by.
- **Hold** (steps 3 to 7): forget gate open, input gate closed: c stays as it is. An open forget gate *keeps*; the
  name is the wrong way round.
- **Read** (step 6): the output gate shows tanh(c). Before, h was 0: what is stored is not seen.
- **Forget** (step 8): the forget gate closes for one step and the cell is empty; reading at step 10 gives 0.
- Then the same with another value.
"""

first, second = np.tanh(x[2, 0, VALUE].item()), np.tanh(x[12, 0, VALUE].item())
assert np.abs(seen["h"][[0, 1, 2, 3, 4, 5, 7]]).max() < 1e-3
assert np.isclose(seen["h"][6], np.tanh(first), atol=1e-3)
assert abs(seen["h"][10]) < 1e-3
assert np.isclose(seen["h"][16], np.tanh(second), atol=1e-3)

"""
## Without a forget gate

The LSTM of 1997, with the same weights otherwise, has no way to empty its cell. The second value is added to the
first. In a stream without end the sum grows until tanh is at its end, where its slope is nothing: the cell then says
the same for ever and learns no more. That is why Gers et al. (2000) added the gate.
"""

old = Recurrent("lstm_1997", 4, 1, dtype=torch.float64)
set_weights(old, **obey)
content = old(x)[1][0][1].item()
print(f"after two values: {content:+.3f}, the sum {first + second:+.3f}")
assert np.isclose(content, first + second, atol=1e-2)

stream = torch.zeros(100, 1, 4, dtype=torch.float64)
stream[:, 0, VALUE], stream[:, 0, WRITE] = 0.5, 1
content = old(stream)[1][0][1].item()
print(f"after a hundred: c = {content:.1f}, slope of tanh {1 - np.tanh(content) ** 2:.0e}")
assert 1 - np.tanh(content) ** 2 < 1e-12

"""
## Peepholes

The gates of an LSTM see x and h. While the output gate is closed h is 0, so the gates cannot know what the cell
holds. *Peepholes* (Gers & Schmidhuber 2000) are a weight for each unit from the cell to its own gates. With them a
cell can count: it adds 0.1 at each step, and its output gate opens by itself once c is beyond 1.
"""

empty = torch.zeros(20, 1, 1, dtype=torch.float64)
counters = {}
for label, peephole in (("with peephole", 40.0), ("without", 0.0)):
    counter = Recurrent("lstm_peephole", 1, 1, dtype=torch.float64)
    set_weights(
        counter, weight_i=0.0, weight_f=0.0, weight_g=0.0, weight_o=0.0, bias_i=40.0, bias_f=40.0,
        bias_g=np.arctanh(0.1), bias_o=-42.0, p_i=0.0, p_f=0.0, p_o=peephole,
    )  # fmt: skip
    counters[label] = counter(empty)[0][:, 0, 0].detach().numpy()
    print(f"{label:13}: h at steps 8 to 12:", *(f"{h:.3f}" for h in counters[label][8:13]))
assert counters["with peephole"][9] < 0.15
assert counters["with peephole"][11] > 0.8
assert np.abs(counters["without"]).max() < 1e-6

"""
## The GRU

The gated recurrent unit (Cho et al. 2014) has no cell beside h and no output gate. One *update gate* u does both: it
mixes the old state with the new *candidate* n, h_t = u ∘ n + (1 − u) ∘ h_{t−1}. What comes in takes the place of what
was there. The *reset gate* r decides how much of the old state the candidate sees. With r = 1 the candidate goes on
from the state; with r = 0 it begins afresh.
"""

UPDATE, RESET = 1, 2
x_gru = torch.zeros(8, 1, 3, dtype=torch.float64)
x_gru[:, 0, VALUE] = torch.tensor([0.5, 0.1, -0.9, 0.4, 0.6, -0.2, 0.8, 0.3], dtype=torch.float64)
x_gru[[0, 4], 0, UPDATE] = 1
for reset in (0.0, 1.0):
    x_gru[4, 0, RESET] = reset
    gru = Recurrent("gru_reset_before", 3, 1, dtype=torch.float64)
    set_weights(
        gru, weight_u=[[0.0, 20, 0, 0]], bias_u=-10.0, weight_r=[[0.0, 0, -20, 0]], bias_r=10.0,
        weight_n=[[1.0, 0, 0, 1]], bias_n=0.0,
    )  # fmt: skip
    h = gru(x_gru)[0][:, 0, 0].detach().numpy()
    expected = np.tanh(0.6) if reset else np.tanh(0.6 + np.tanh(0.5))
    print(f"reset {reset:.0f} at step 4: h =", *(f"{value:+.3f}" for value in h))
    assert np.isclose(h[3], np.tanh(0.5), atol=1e-2)
    assert np.isclose(h[7], expected, atol=1e-2)

"""
Libraries differ in two ways. Some call 1 − u the update gate (torch and elman's `gru` have z, which *keeps*), and
some reset after the recurrent matrix instead of before it. elman has both orders.

## Side by side
"""

names = ("rnn", "lstm_1997", "lstm", "lstm_peephole", "gru_reset_before", "gru", "gru_simplified")
print(table(128, 128, cells=[CATALOGUE[name] for name in names]))

"""
All their equations stand in [cells.md](../cells.md), and a cell of your own is a few lines of the same kind:
[cell-language.md](../cell-language.md).

![Gates, cell and output of the LSTM above, step by step](pictures/gates.png)
"""

figure, (left, right) = panels(2)
steps = np.arange(STEPS)
gates = {"input gate i": seen["i"] + 4, "forget gate f": seen["f"] + 2, "output gate o": seen["o"]}
curves(left, steps, gates, title="Gates, each from 0 to 1", xlabel="step t", ylabel="value of the gate")
left.set_yticks([0, 1, 2, 3, 4, 5], ["0", "o 1", "0", "f 1", "0", "i 1"])
left.get_legend().remove()
curves(
    right, steps, {"value x": x[:, 0, VALUE].numpy(), "cell c": seen["c"], "output h": seen["h"]},
    title="What comes in, is held, is shown", xlabel="step t", ylabel="value",
)  # fmt: skip
for line in [*left.lines, *right.lines]:
    line.set_drawstyle("steps-mid")
save(figure, "gates")
