"""
# Unrolling

Write the loop out. T steps of a recurrent network are a feed-forward network of T layers, one on top of the other.
Two things are special: every layer gets an input of its own, and all layers have the *same* weights. This is the
network *unrolled* in time.

![A recurrent network, and the same network unrolled over four steps](pictures/unrolling.png)
"""

import torch
from course import panels, save

from elman.nn import Recurrent, step_gradients


def box(axes, x, y, text, colour="white"):
    style = {"boxstyle": "round,pad=0.35", "facecolor": colour, "edgecolor": "#222222"}
    axes.text(x, y, text, ha="center", va="center", fontsize=11, bbox=style)


def arrow(axes, start, end, text=""):
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#222222", "shrinkA": 17, "shrinkB": 17})
    axes.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.17, text, ha="center", fontsize=10, color="#cc3311")


figure, (axes,) = panels(height=2.9)
box(axes, 0, 0, "x"), box(axes, 0, 1, "h", "#dde8f3"), box(axes, 0, 2, "loss")
arrow(axes, (0, 0), (0, 1)), arrow(axes, (0, 1), (0, 2))
loop = {"arrowstyle": "-|>", "color": "#222222", "connectionstyle": "arc3,rad=2.2"}
axes.annotate("", (-0.16, 0.85), (-0.16, 1.15), arrowprops=loop)
axes.text(-0.8, 1, "W", ha="center", va="center", fontsize=10, color="#cc3311")
axes.text(1.0, 1, "=", ha="center", va="center", fontsize=18)
for t in range(4):
    place = 2.2 + 1.3 * t
    box(axes, place, 0, f"x{'₀₁₂₃'[t]}"), box(axes, place, 1, f"h{'₀₁₂₃'[t]}", "#dde8f3")
    arrow(axes, (place, 0), (place, 1))
    if t:
        arrow(axes, (place - 1.3, 1), (place, 1), "W")
box(axes, place, 2, "loss"), arrow(axes, (place, 1), (place, 2))
axes.set(xlim=(-1.1, 6.8), ylim=(-0.4, 2.4))
axes.axis("off")
save(figure, "unrolling")

"""
So nothing new is needed for the gradient: it is backpropagation in the unrolled network, called *backpropagation
through time*, BPTT (Rumelhart, Hinton & Williams 1986; Werbos 1990).

The shared weights need one thought. Pretend that each step had a copy of its own, W_0, W_1, ..., W_{T−1}.
Backpropagation gives a gradient for each copy. The copies are all the same W, so a change of W changes all of them at
once, and by the chain rule

    ∂L/∂W = ∂L/∂W_0 + ∂L/∂W_1 + ... + ∂L/∂W_{T−1}

Here it is with real copies, in plain torch, for a loss on the last state:
"""

torch.manual_seed(2)
STEPS, BATCH, INPUT, HIDDEN = 6, 3, 2, 4
layer = Recurrent("rnn", INPUT, HIDDEN, dtype=torch.float64)
x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)


def loss(output, state):
    return output[-1].square().sum()


(part,) = layer.parts()
weight, bias = part.weights["weight_h"].detach(), part.weights["bias_h"].detach()
copies = [weight.clone().requires_grad_() for _ in range(STEPS)]
h = torch.zeros(BATCH, HIDDEN, dtype=torch.float64)
for x_t, W_t in zip(x, copies):
    h = torch.tanh(torch.cat([x_t, h], -1) @ W_t.T + bias)
h.square().sum().backward()

"""
elman gives the gradient of the shared matrix in one backward pass, on its own kernels. `step_gradients` takes that
sum apart again.
"""

loss(*layer(x)).backward()
shared = part.weights["weight_h"].grad
assert torch.allclose(sum(W_t.grad for W_t in copies), shared, rtol=1e-10)

shares = step_gradients(layer, x, loss)[0]["weight_h"]  # (T, H, I + H)
for t, (W_t, share) in enumerate(zip(copies, shares)):
    assert torch.allclose(W_t.grad, share, rtol=1e-10, atol=1e-14)
    print(f"step {t}: norm of its share {share.norm():.5f}")
print(f"norm of the sum         {shared.norm():.5f}")

"""
The last step, next to the loss, has the largest share here, and the first the smallest. Whether early steps have any
share worth the name is the question of pages [4](04_vanishing.md) and [5](05_carousel.md).
"""

norms = shares.flatten(1).norm(dim=1)
assert norms.argmax() == STEPS - 1
assert norms.argmin() == 0

"""
## What it costs

The backward pass needs what the forward pass computed: the states of all T steps have to be kept, T·B·H numbers for
each layer. Work grows with T in proportion, and no step can begin before the one in front of it has ended. For a
sequence too long for memory elman computes some steps again (`checkpoint_every`, the gradient is the same, bit for
bit), or the gradient is cut off after some steps, which changes it: page [8](08_truncation.md).
"""

long = torch.randn(3000, 2, INPUT, dtype=torch.float64)
gradients = []
for checkpoint_every in (None, "auto"):
    layer.checkpoint_every = checkpoint_every
    layer.zero_grad()
    loss(*layer(long)).backward()
    gradients.append(part.weights["weight_h"].grad.clone())
assert torch.equal(*gradients)
