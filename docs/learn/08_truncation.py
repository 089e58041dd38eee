"""
# Truncated backpropagation, and what it cannot learn

A text has a million characters, a sensor never stops. Nobody backpropagates through all of it. *Truncated*
backpropagation through time (Williams & Peng 1990) cuts the sequence into windows of k steps. The state is carried
from one window to the next, so the forward pass sees no cut. The gradient stops at the border of the window: the
state that comes in counts as a constant (`detach`).
"""

import torch
from course import curves, panels, save
from torch import nn

import elman
from elman.nn import Recurrent

torch.manual_seed(8)
layer = Recurrent("lstm", 1, 8, dtype=torch.float64)
x = torch.randn(10, 1, 1, dtype=torch.float64, requires_grad=True)
whole, _ = layer(x)

_, state = layer(x[:6])
state = tuple(tuple(s.detach() for s in part) for part in state)
window, _ = layer(x[6:], state)
assert torch.equal(window, whole[6:])  # forward: no difference

for label, output in (("whole", whole[-1]), ("in windows", window[-1])):
    reached = torch.autograd.grad(output.sum(), x)[0][:, 0, 0]
    print(f"{label:10}: ∂(last output)/∂x_t for t = 0 to 9:", *(f"{value:+.0e}" if value else "0" for value in reached))
    assert bool((reached[:6] == 0).all()) == (label == "in windows")

"""
## A task with a known delay

The input is a stream of random bits. At each step the network has to say the bit of 4 steps ago. Nothing but memory
can do this: the bits are independent, and guessing is right half of the time.

A window of k steps has k − 4 steps whose answer stands in the same window. With k = 4 there are none: every answer
came in before the cut. The state still holds traces of it, but no gradient ever says that these traces are worth
keeping. With k = 5 one step in five has its answer in the window, and from it the network can learn what it then does
everywhere, for it has the same weights at each step.
"""

DELAY, UPDATES, BATCH = 4, 500, 32


def learn(window):
    """Accuracy over the last 100 of 500 updates, of an LSTM of 8 units that is trained in windows of so many steps."""
    torch.manual_seed(0)
    bits = torch.randint(0, 2, (UPDATES * window + DELAY, BATCH)).float()
    layer, head = Recurrent("lstm", 1, 8), nn.Linear(8, 1)
    optimiser = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.03)
    state, right = None, []
    for first in range(DELAY, len(bits), window):
        output, state = layer(bits[first : first + window, :, None], state)
        state = tuple(tuple(s.detach() for s in part) for part in state)
        logits = head(output)[..., 0]
        wanted = bits[first - DELAY : first - DELAY + window]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        right.append(((logits > 0) == (wanted > 0.5)).float().mean().item())
    return sum(right[-100:]) / 100


windows = (2, 3, 4, 5, 6, 8, 12, 16)
accuracy = {window: learn(window) for window in windows}
for window in windows:
    print(f"windows of {window:2} steps: {accuracy[window]:.0%} right")
assert max(accuracy[window] for window in windows if window <= DELAY) < 0.6
assert min(accuracy[window] for window in windows if window >= 2 * DELAY) > 0.97

"""
Up to k = 4 the network does hardly better than guess. Beyond it learns, most surely where most of a window's steps have
their answer in it.

![Accuracy against the length of the window](pictures/truncation.png)
"""

figure, (axes,) = panels()
curves(
    axes, windows, {"": [100 * accuracy[window] for window in windows]},
    title=f"Say the bit of {DELAY} steps ago, learned in windows", xlabel="window k (steps)", ylabel="right (%)",
)  # fmt: skip
axes.lines[0].set_marker("o")
axes.axvline(DELAY, color="#777777", linestyle=":")
axes.text(DELAY - 0.2, 97, "delay", ha="right", va="top", color="#555555")
axes.axhline(50, color="#777777", linestyle=":")
axes.text(16, 51, "guessing", ha="right", va="bottom", color="#555555")
save(figure, "truncation")

"""
## How long should a window be?

As long as the dependencies that you want to *learn*. What the network *uses* may reach further, since the state is
carried, but only by luck. If the memory that `elman.diagnose` measures is longer than the window, the training cuts
gradients that still had something to say, and the verdict says so:
"""

keeper = Recurrent("carousel", 1, 8)
report = elman.diagnose(keeper, torch.randn(100, 2, 1), training={"bptt": 35})
(verdict,) = (verdict for verdict in report.verdicts if verdict.rule == "truncation")
print(verdict.sentence, "\n    ->", verdict.advice)

"""
The window is the option `bptt` of [language models](../language-model.md); other tasks backpropagate through whole
sequences, unless you cut them.
"""
