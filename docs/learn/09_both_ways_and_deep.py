"""
# Both ways, and deep

## Two directions

At step t a recurrent network has seen x_0 to x_t and nothing of what follows. Where the whole sequence is there
before an answer is wanted (a sentence to tag, a recording to write down), a second network can read it from the end.
A *bidirectional* network (Schuster & Paliwal 1997) gives both states at each step, side by side: 2·H numbers.

The task: at each step t, are both x_{t−2} and x_{t+2} equal to 1? The inputs are random bits. Who sees one side only
can do no better than this: if its bit is 0 the answer is no, if it is 1 the other one decides, like a coin. That is
right in 75 % of all cases. Who sees both sides can be right always.
"""

import numpy as np
import torch
from course import panels, save
from torch import nn

import elman
from elman.diagnosis import Sampling
from elman.nn import Recurrent

STEPS, BATCH = 20, 32


def learn(direction, layers=1, updates=250):
    """A trained layer, and the share of right answers in the last 50 updates."""
    torch.manual_seed(0)
    layer = Recurrent("gru", 1, 8, layers, direction=direction)
    head = nn.Linear(layer.output_size, 1)
    optimiser = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.03)
    right = []
    for _ in range(updates):
        bits = torch.randint(0, 2, (STEPS, BATCH)).float()
        wanted = (bits[:-4] * bits[4:]).round()  # for t = 2 to T − 3
        logits = head(layer(bits[..., None])[0])[2:-2, :, 0]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        right.append(((logits > 0) == (wanted > 0.5)).float().mean().item())
    return layer, sum(right[-50:]) / 50


trained = {}
for direction, layers in (("forward", 1), ("backward", 1), ("forward", 2), ("both", 1)):
    trained[direction, layers], share = learn(direction, layers)
    print(f"{direction:8}, {layers} layer{'s' if layers > 1 else ' '}: {share:.1%} right")
    assert share > 0.99 if direction == "both" else 0.73 < share < 0.77

"""
A second layer in the same direction does not help: it sees no more of the future than the first. The *sensitivity
map* shows who sees what. S[t, s] = ‖∂y_t/∂x_s‖ says how much the output of step t changes with the input of step s.
"""

probe = torch.randint(0, 2, (STEPS, 4, 1), generator=torch.Generator().manual_seed(9)).float()
maps = {}
for direction in ("forward", "backward", "both"):
    report = elman.diagnose(trained[direction, 1], probe)
    maps[direction] = report.networks[0].sensitivity.map  # (T, T)
future, past = np.triu_indices(STEPS, 1), np.tril_indices(STEPS, -1)
assert (maps["forward"][future] == 0).all()
assert (maps["backward"][past] == 0).all()
assert maps["both"][10, 8] > 0.02
assert maps["both"][10, 12] > 0.02

"""
![Sensitivity maps of a forward, a backward and a bidirectional layer](pictures/directions.png)
"""

figure, row = panels(3, height=3.2)
top = max(values.max() for values in maps.values())
for axes, (direction, values) in zip(row, maps.items()):
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=top)
    axes.set_title(direction, loc="left", fontsize=10, fontweight="bold")
    axes.set(xlabel="input step s", ylabel="output step t", xticks=range(0, 20, 5), yticks=range(0, 20, 5))
figure.colorbar(image, ax=row, label=r"$\|\partial y_t/\partial x_s\|$", shrink=0.8)
save(figure, "directions")

"""
The price: no answer before the sequence ends, so a bidirectional network cannot run on a stream.

## Layers on layers

A *deep* recurrent network is a stack: the outputs of one layer are the inputs of the next, step by step. Each layer
has a state of its own. Unrolled, it is a grid, T steps wide and L layers high, and a gradient goes through it in two
directions: back in time and down the layers.
"""

torch.manual_seed(9)
stack = Recurrent("lstm", 3, 16, num_layers=3)
output, state = stack(torch.randn(30, 2, 3))
print("output", tuple(output.shape), "states", [tuple(tuple(s.shape) for s in part) for part in state])

"""
Down the layers there is no carousel: each layer multiplies by its own slopes and weights, and what vanishes in time
can vanish in depth as well. A *residual* connection adds the input of a layer to its output. It does for depth what
the carousel does for time. Eight sigmoid layers, with a loss on the last output, and how much of the gradient arrives
at the input of the last step:
"""

LITTLE = Sampling(sequences=1, ends=1, vectors=1, places=1, exponents=1)  # the gradient flow is always measured whole
arrived = {}
for residual in (False, True):
    torch.manual_seed(9)
    tower = Recurrent("rnn_sigmoid", 16, 16, num_layers=8, residual=residual)
    report = elman.diagnose(tower, torch.randn(30, 2, 16), sampling=LITTLE)
    arrived[residual] = report.networks[0].input.mean[-1]
    print(f"residual={residual!s:5}: ‖∂L/∂x‖ at the last step {arrived[residual]:.2e}")
assert arrived[True] > 1000 * arrived[False]

"""
Work grows with the layers in proportion. Whether a second or a third layer pays is a question to your data; a
validation set answers it.
"""
