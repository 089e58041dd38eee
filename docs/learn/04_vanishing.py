"""
# Why gradients vanish, and explode

On its way back from step t to step t−k a gradient is multiplied by one matrix for each step, the *step Jacobian*

    J_t = ∂h_t/∂h_{t−1} = diag(1 − h_t²)·W_h        (tanh)

and the product of k of them decides what is left. Products of many matrices tend to do one of two things: they shrink
towards 0, or they grow without bound. That is the whole difficulty of learning long dependencies by gradient descent
(Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013).

## The eigenvalues to the power t

Take the slope of tanh away for a moment: J = W. If W = Q·Λ·Q⁻¹ with the eigenvalues λ on the diagonal of Λ, then Wᵏ =
Q·Λᵏ·Q⁻¹. In the long run the largest |λ| decides alone. It is called the *spectral radius* ρ.
"""

import math

import numpy as np
import torch
from course import curves, panels, save

import elman
from elman.nn import Recurrent, init

W = np.array([[0.7, 0.2], [0.2, 0.7]])
print("eigenvalues", np.linalg.eigvals(W).round(6))
for k in (1, 2, 5, 10, 20, 50):
    print(f"k = {k:2}: ‖Wᵏ‖ = {np.linalg.norm(np.linalg.matrix_power(W, k), 2):.6f}   0.9ᵏ = {0.9**k:.6f}")
    assert math.isclose(np.linalg.norm(np.linalg.matrix_power(W, k), 2), 0.9**k, rel_tol=1e-9)

"""
In the short run the largest *singular value* has its say, which is how much a single step can stretch a vector. It is
never below ρ, and may be far above. This matrix has ρ = 0.5, and yet a gradient grows through it at first:
"""

skewed = np.array([[0.5, 3.0], [0.0, 0.5]])
norms = [np.linalg.norm(np.linalg.matrix_power(skewed, k), 2) for k in range(60)]
print("largest singular value", np.linalg.svd(skewed)[1][0].round(3))
print("k = 0 to 8:", *(f"{n:.3f}" for n in norms[:9]))
assert max(norms) > 3
assert norms[50] < 1e-10

"""
So there are two statements, and they are not each other's opposites (Pascanu et al. 2013). If the largest
singular value of every step is at most some γ < 1, the gradient vanishes for certain. To explode it needs some above 1.

## Measured in a network

A network of 32 tanh units with an orthogonal recurrent matrix (all singular values are 1) times ρ. The input is zero,
so h is zero, the slope of tanh is 1 and theory is exact: the gradient of a loss at the last step is ρᵏ at k steps
before it. `elman.diagnose` measures it, and gives its verdict.
"""

STEPS, H = 100, 32
torch.manual_seed(4)


def vanilla(cell, radius):
    layer = Recurrent(cell, 1, H, dtype=torch.float64)
    init.orthogonal_(layer, gain=radius)
    return layer


flows = {}
zeros = torch.zeros(STEPS, 1, 1, dtype=torch.float64)
for radius, rule in ((0.8, "vanishing"), (1.0, "healthy"), (1.2, "exploding")):
    report = elman.diagnose(vanilla("rnn", radius), zeros)
    (one,) = report.layers
    back = one.flow.states["h"].mean[::-1]  # (T,), the last step first
    flows[f"ρ = {radius}"] = back / back[0]
    assert np.allclose(back / back[0], radius ** np.arange(STEPS), rtol=1e-6)
    assert rule in {verdict.rule for verdict in report.verdicts}
    print(f"ρ = {radius}: {one.memory.rate:.4f} a step, {back[-1] / back[0]:.1e} after {STEPS - 1} steps, {rule}")

"""
With ρ = 0.8 less than a billionth is left after a hundred steps; with ρ = 1.2 the gradient has grown more than
ten-million-fold. Only ρ = 1 does neither.

## The activation: a quarter against one

In a real network the slope of the activation is a factor of every step as well. The sigmoid's slope is σ(a)·(1 −
σ(a)), which is 0.25 at its best, at a = 0. That of tanh is 1 − tanh(a)², which is 1 at its best. Repeated, the best
cases are:
"""

for k in (1, 5, 10, 20):
    print(f"k = {k:2}: sigmoid at most {0.25**k:.2e}   tanh at most {1.0**k:.0f}")

"""
Away from a = 0 both fall, and far out both are nothing: the unit is *saturated*. Here are the same orthogonal
matrices (ρ = 1) with the two activations, now on an input of random numbers, and tanh with a larger input, which
drives it to its ends.
"""

a = np.linspace(-6, 6, 241)
sigma = 1 / (1 + np.exp(-a))
slopes = {"tanh": 1 - np.tanh(a) ** 2, "sigmoid": sigma * (1 - sigma)}
noise = torch.randn(STEPS, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
gains, slope = {}, {}
for name, scale in (("tanh", 0.1), ("tanh", 1.0), ("tanh", 10.0), ("sigmoid", 0.1)):
    cell, label = {"tanh": "rnn", "sigmoid": "rnn_sigmoid"}[name], f"{name}, input {scale:g}"
    report = elman.diagnose(vanilla(cell, 1.0), scale * noise)
    (one,) = report.layers
    gains[label] = one.memory.gain
    slope[label] = one.activity[0].slope.mean()
    fades = f"fades by {one.memory.rate:.3f} a step, remembers {one.memory.steps} steps"
    print(f"{label:18}: mean slope {slope[label]:.3f}, {fades}")
    assert one.activity[0].steepest == (0.25 if cell == "rnn_sigmoid" else 1.0)
assert max(lag for lag, gain in enumerate(gains["sigmoid, input 0.1"]) if gain > 0.01) == 3
assert slope["tanh, input 0.1"] > slope["tanh, input 1"] > slope["tanh, input 10"]

"""
The *effective memory* ends, by definition, where less than 1 % is left. The sigmoid network cannot have more than
three steps with ρ = 1, whatever the data are: 0.25³ is 1.6 %, 0.25⁴ is 0.4 %. A larger ρ would only trade one trouble
for the other. tanh is better by far, and yet squashing costs it some of the gradient at every step.

![Left: gradients that decay, stay and grow; right: slopes of tanh and sigmoid](pictures/vanishing.png)
"""

figure, (left, right) = panels(2)
curves(
    left, np.arange(STEPS), flows, log=True,
    title="Gradient of a loss at the last step", xlabel="steps back k",
    ylabel=r"$\|\partial L/\partial h_{T-k}\|$ (log scale)",
)  # fmt: skip
curves(right, a, slopes, title="Slopes of the activations", xlabel="a", ylabel="derivative")
save(figure, "vanishing")

"""
## What can be done about it

- Start at ρ = 1 with an orthogonal matrix, and use tanh: elman's default. It helps for tens of steps.
- Give the state a path on which it is multiplied by nothing: the constant error carousel, page [5](05_carousel.md),
  and gates, page [6](06_gates.md).
- Against explosion, clip: page [7](07_clipping.md).
"""
