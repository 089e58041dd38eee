"""
# What a recurrence is

A feed-forward network maps an input to an output and keeps nothing. A recurrent network has a *state*: a vector h of
H numbers that each step reads and writes. At step t it sees the input x_t, of I numbers, and its own state of the
step before:

    h_t = tanh(W_x·x_t + W_h·h_{t−1} + b)

This is the simple recurrent network of Elman (1990). W_x is an H by I matrix, W_h the *recurrent matrix*, H by H, and
b has H numbers. They are the same at every step. So one set of weights takes sequences of any length, and h_t is a
function of everything up to step t.

In numpy it is a loop of one line:
"""

import numpy as np
import torch
from course import curves, panels, save, set_weights

from elman.cells import rnn
from elman.compiler.printers import as_text
from elman.nn import Recurrent


def recurrence(W_x, W_h, b, x, h):
    """The states (T, H) for one sequence x (T, I) and the state h (H) before it."""
    states = []
    for x_t in x:
        h = np.tanh(W_x @ x_t + W_h @ h + b)
        states.append(h)
    return np.array(states)


"""
elman's layer for this is `Recurrent("rnn", I, H)`. "rnn" names a cell: the equations of one step. It writes both
matrices as one, W·[x, h] = W_x·x + W_h·h, so that the first I columns of its weight are W_x and the others W_h.
Arrays are *time-major*: (T, B, I) holds T steps of B sequences side by side.
"""

torch.manual_seed(1)
layer = Recurrent("rnn", input_size=2, hidden_size=3, dtype=torch.float64)
print(as_text(rnn.program))

x = torch.randn(4, 1, 2, dtype=torch.float64)  # (T, B, I)
output, state = layer(x)  # (T, B, H), the state after the last step

(part,) = layer.parts()  # one part for each layer and direction
W, b = (part.weights[name].detach().numpy() for name in ("weight_h", "bias_h"))
by_hand = recurrence(W[:, :2], W[:, 2:], b, x[:, 0].numpy(), np.zeros(3))
print("by hand, the last state:", by_hand[-1].round(6))
print("elman, the last state:  ", output[-1, 0].detach().numpy().round(6))
assert np.allclose(by_hand, output[:, 0].detach().numpy(), rtol=1e-12)

"""
## The state is all that is left of the past

What comes next depends on the past through h alone. Two halves of a sequence, with the state carried over, give what
the whole gives; and two pasts that lead to the same state cannot be told apart any more.
"""

first, between = layer(x[:2])
second, end = layer(x[2:], between)
assert torch.equal(torch.cat([first, second]), output)

"""
Order matters. A sum over the steps would be the same for a sequence read backwards; the state is not.
"""

backwards, _ = layer(x.flip(0))
print("read backwards:         ", backwards[-1, 0].detach().numpy().round(6))
assert not torch.allclose(backwards[-1], output[-1], atol=0.1)

"""
## One unit, without tanh

The simplest recurrence has one unit and no squashing: h_t = w·h_{t−1} + x_t. Let x be 1 at step 0 and 0 afterwards.
Then h_t = wᵗ, and w alone says how long the 1 is remembered: w < 1 forgets it step by step, w = 1 keeps it for ever,
w > 1 lets it grow without end.
"""

STEPS = 60
impulse = torch.zeros(STEPS, 1, 1, dtype=torch.float64)
impulse[0] = 1
responses = {}
for w in (0.5, 0.9, 1.0, 1.05):
    unit = Recurrent("rnn_identity", 1, 1, dtype=torch.float64)
    set_weights(unit, weight_h=[[1.0, w]])  # the columns of x and h
    responses[f"w = {w}"] = unit(impulse)[0][:, 0, 0].detach().numpy()
    assert np.allclose(responses[f"w = {w}"], w ** np.arange(STEPS), rtol=1e-9)
    print(f"w = {w:4}: after 10 steps {responses[f'w = {w}'][10]:.4f}, after 50 steps {responses[f'w = {w}'][50]:.3g}")

"""
The same powers will come back in the gradient: page [4](04_vanishing.md) is about little else.

![One unit's state after a single 1, for four weights](pictures/recurrence.png)
"""

figure, (axes,) = panels()
curves(
    axes, np.arange(STEPS), responses, log=True,
    title="$h_t = w h_{t-1} + x_t$ after a single 1", xlabel="step t", ylabel="state $h_t$ (log scale)",
)  # fmt: skip
axes.set_ylim(1e-6, 100)
save(figure, "recurrence")
