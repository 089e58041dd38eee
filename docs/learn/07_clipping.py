"""
# Clipping

Where gradients explode the loss has cliffs. Pascanu, Mikolov & Bengio (2013) drew one with a single unit. It gets no
input. It starts at 0.5, and after 50 steps it should stand at 0.7:

    h_t = σ(w·h_{t−1} + b)        L = ½·(h_50 − 0.7)²

With b = −2.5 and w < 5 the unit falls to a low value, with w > 5 it climbs to a high one. At w = 5 it stands still at
0.5, on the edge: each step multiplies a small push by w·σ′ = 5/4, and fifty steps by (5/4)⁵⁰, about 70,000.
"""

import numpy as np
import torch
from course import curves, panels, save, set_weights

import elman
from elman.nn import Recurrent, init

STEPS, BIAS, TARGET = 50, -2.5, 0.7
nothing = torch.zeros(STEPS, 1, 1, dtype=torch.float64)
start = ((torch.full((1, 1), 0.5, dtype=torch.float64),),)


unit = Recurrent("rnn_sigmoid", 1, 1, dtype=torch.float64)
(part,) = unit.parts()


def loss_and_slope(w):
    """The loss, and ∂L/∂w."""
    set_weights(unit, weight_h=[[0.0, w]], bias_h=BIAS)
    loss = 0.5 * (unit(nothing, start)[0][-1] - TARGET).square().sum()
    (slope,) = torch.autograd.grad(loss, part.weights["weight_h"])
    return loss.item(), slope[0, 1].item()


slopes = {}
for w in (4.5, 4.99, 4.9999, 5.0, 5.01, 5.5):
    loss, slopes[w] = loss_and_slope(w)
    print(f"w = {w:<6}: loss {loss:.4f}, slope {slopes[w]:+.3f}")
assert abs(slopes[5.0]) > 10_000 * abs(slopes[5.5])

"""
## Down the slope, over the cliff

From w = 5.328 gradient descent with a rate of 1 goes gently down, towards the edge. Sooner or later a step lands
beside the cliff, takes its slope for a direction of descent and is thrown far away, to where the slope is so small
that hardly anything brings it back. *Clipping* the gradient's norm, here to 0.1, changes such steps and leaves the
others alone.
"""


def descend(clip, updates=40, rate=1.0):
    """The values of w on the way."""
    way = [5.328]
    for _ in range(updates):
        slope = loss_and_slope(way[-1])[1]
        if clip is not None:
            slope *= min(1.0, clip / abs(slope))
        way.append(way[-1] - rate * slope)
    return way


ways = {"without clipping": descend(None), "norm clipped to 0.1": descend(0.1)}
for label, way in ways.items():
    slope = loss_and_slope(way[-1])[1]
    print(f"{label:19}: highest w {max(way):.2f}, at the end {way[-1]:.2f}, slope there {slope:+.4f}")
assert max(ways["without clipping"]) > 8
assert 4.8 < min(ways["norm clipped to 0.1"]) < max(ways["norm clipped to 0.1"]) < 5.4

"""
![Left: the loss over w, with its cliff; right: w during gradient descent](pictures/clipping.png)
"""

figure, (left, right) = panels(2)
grid = np.linspace(4.0, 6.5, 101)
curves(left, grid, {"": [loss_and_slope(w)[0] for w in grid]}, title="The loss", xlabel="w", ylabel="L")
curves(right, np.arange(41), ways, title="Gradient descent on it", xlabel="update", ylabel="w")
save(figure, "clipping")

"""
## By the norm or by the value

Two ways are in use. By the *norm*: if the gradient of all weights together, as one vector, is longer than a limit,
scale it down to that limit. It keeps its direction. By the *value*: cut each number to [−limit, limit]. That turns
the vector towards the small numbers. elman's options are `clip_norm` (1 unless you say otherwise) and `clip_value`.

Here is a network with spectral radius 1.5, whose gradient explodes over 60 steps:
"""

torch.manual_seed(7)
layer = Recurrent("rnn", 2, 16, dtype=torch.float64)
init.orthogonal_(layer, gain=1.5)
x = 0.1 * torch.randn(60, 4, 2, dtype=torch.float64)


def last_output(output, state):
    return output[-1].sum()


def gradient():
    """A new gradient of that loss, as one vector."""
    layer.zero_grad()
    last_output(*layer(x)).backward()
    return torch.cat([weight.grad.flatten() for weight in layer.parameters()])


whole = gradient()
torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
by_norm = torch.cat([weight.grad.flatten() for weight in layer.parameters()])
by_value = whole.clamp(-1.0, 1.0)
for label, vector in (("the gradient", whole), ("by norm", by_norm), ("by value", by_value)):
    turned = torch.cosine_similarity(vector, whole, dim=0)
    print(f"{label:12}: length {vector.norm():8.2f}, cosine with the gradient {turned:.3f}")
assert torch.isclose(torch.cosine_similarity(by_norm, whole, dim=0), torch.tensor(1.0, dtype=torch.float64))
assert torch.cosine_similarity(by_value, whole, dim=0) < 0.95

"""
## What clipping does not do

It makes long gradients harmless. It makes short ones no longer: against vanishing it does nothing. And where it acts
on nearly every step, all gradients have the same length and the learning rate is no longer what it seems; the limit
is then too low, or the network is sick. `elman.diagnose` says so:
"""

report = elman.diagnose(layer, x, loss=last_output, training={"clip_norm": 1.0, "clipped": 0.99})
for verdict in report.verdicts:
    print(f"{verdict.rule}: {verdict.sentence}\n    -> {verdict.advice}")
assert {verdict.rule for verdict in report.verdicts} >= {"exploding", "clipping"}
