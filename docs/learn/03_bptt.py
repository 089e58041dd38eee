"""
# Backpropagation through time, by hand

Three steps, two hidden units, one input, every number. First in numpy, then the same numbers from torch's autograd,
from elman's own kernel, and by nudging each weight.

The network reads x_t, keeps h_t, and says y_t = v·h_t at each step. The target is d_t, the loss half the squared
error, summed over the steps:

    a_t = W_x·x_t + W_h·h_{t−1} + b        h_t = tanh(a_t)
    y_t = v·h_t                            L = Σ_t ½·(y_t − d_t)²
"""

import numpy as np
import torch
from course import set_weights

import elman
from elman.cells import rnn
from elman.compiler.adjoint import adjoint
from elman.compiler.printers import as_text
from elman.nn import Recurrent, step_gradients

W_x = np.array([[0.5], [-0.3]])  # (H, I)
W_h = np.array([[0.4, -0.2], [0.1, 0.6]])  # (H, H)
b = np.array([0.0, 0.1])
v = np.array([1.0, -1.0])
x = np.array([[1.0], [0.5], [-1.0]])  # (T, I)
d = np.array([0.0, 0.5, 0.2])  # (T)
T, H = len(x), len(b)


def show(name, value):
    rows = (np.atleast_2d(value) + 0.0).tolist()  # + 0.0: no negative zeros
    print(f"{name:>12} = ", " / ".join("  ".join(f"{n:+.6f}" for n in row) for row in rows))


"""
## Forward

The state before the first step is 0. (A matrix is printed row by row, with a stroke between the rows.)
"""

h = {-1: np.zeros(H)}
error = {}
for t in range(T):
    a = W_x @ x[t] + W_h @ h[t - 1] + b
    h[t] = np.tanh(a)
    y = v @ h[t]
    error[t] = y - d[t]
    print(f"step {t}")
    for name, value in (("a", a), ("h", h[t]), ("y", y), ("y − d", error[t])):
        show(name, value)
L = sum(0.5 * error[t] ** 2 for t in range(T))
print(f"loss {L:.6f}")

"""
## Backward

We go from the last step to the first. Let δ_t be ∂L/∂a_t. The state h_t acts on the loss in two ways: through the
output y_t of its own step, and through a_{t+1}, if there is a next step. Both arrive, added:

    ∂L/∂h_t = v·(y_t − d_t) + W_hᵀ·δ_{t+1}

The derivative of tanh(a) is 1 − tanh(a)², which is 1 − h², unit by unit:

    δ_t = (1 − h_t²) ∘ ∂L/∂h_t

And each use of a weight adds its share to the gradient, δ_t times what the weight was multiplied with:

    [∂L/∂W_x]_t = δ_t·x_tᵀ        [∂L/∂W_h]_t = δ_t·h_{t−1}ᵀ        [∂L/∂b]_t = δ_t
"""

dh, delta, shares = {}, {T: np.zeros(H)}, {}
for t in reversed(range(T)):
    here, later = v * error[t], W_h.T @ delta[t + 1]
    dh[t] = here + later
    delta[t] = (1 - h[t] ** 2) * dh[t]
    shares[t] = {"W_x": np.outer(delta[t], x[t]), "W_h": np.outer(delta[t], h[t - 1])}
    shares[t] |= {"b": delta[t], "v": error[t] * h[t]}
    print(f"step {t}")
    show("from y", here), show("from later", later), show("∂L/∂h", dh[t])
    show("1 − h²", 1 - h[t] ** 2), show("δ", delta[t])
    for name, share in shares[t].items():
        show(f"∂L/∂{name}", share)
gradient = {name: sum(shares[t][name] for t in range(T)) for name in shares[0]}
print("summed over the steps")
for name, value in gradient.items():
    show(f"∂L/∂{name}", value)

"""
At step 0 the share of W_h is 0: there was no state to multiply. Note the product that forms on the way back. The
error of step 2 reaches step 0 through W_hᵀ·diag(1 − h_2²)·..., once for each step between. That product is what
vanishes or explodes.

## The same by nudging

The plainest check: change one weight by a little in both directions, and see by how much the loss changes.
"""


def loss(W_x, W_h, b, v):
    h, total = np.zeros(H), 0.0
    for t in range(T):
        h = np.tanh(W_x @ x[t] + W_h @ h + b)
        total += 0.5 * (v @ h - d[t]) ** 2
    return total


values, nudge = {"W_x": W_x, "W_h": W_h, "b": b, "v": v}, 1e-6
for name, value in values.items():
    for place in np.ndindex(value.shape):
        up, down = ({**values, name: value.copy()} for _ in range(2))
        up[name][place] += nudge
        down[name][place] -= nudge
        slope = (loss(**up) - loss(**down)) / (2 * nudge)
        assert abs(slope - gradient[name][place]) < 1e-9

"""
## The same by autograd

torch's autograd does what we did: it remembers each operation and goes back through them. `retain_grad` makes it keep
the gradients of the values in between as well.
"""

tensors = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
state, total, kept = torch.zeros(H, dtype=torch.float64), 0.0, []
for t in range(T):
    a = tensors["W_x"] @ torch.tensor(x[t]) + tensors["W_h"] @ state + tensors["b"]
    state = torch.tanh(a)
    total = total + 0.5 * (tensors["v"] @ state - d[t]) ** 2
    a.retain_grad(), state.retain_grad()
    kept.append((a, state))
total.backward()
for t, (a, state) in enumerate(kept):
    assert np.allclose(a.grad, delta[t], rtol=1e-12)
    assert np.allclose(state.grad, dh[t], rtol=1e-12)
for name, tensor in tensors.items():
    assert np.allclose(tensor.grad, gradient[name], rtol=1e-12)

"""
## The same on elman's kernel

elman does not record operations. It derives the backward step of a cell from its equations once, as a program, and
compiles it. This is that program for "rnn":
"""

print(as_text(adjoint(rnn.program).program))

"""
`grad_new_h` is ∂L/∂h_t, `new_h` is h_t, `grad_map_h` is our δ_t, and `grad_h` is what goes on to the step before:
W_hᵀ·δ_t, our "from later". The shares are summed as large products over all steps at once.
"""

layer = Recurrent("rnn", input_size=1, hidden_size=H, backend="native", dtype=torch.float64)
set_weights(layer, weight_h=np.hstack([W_x, W_h]), bias_h=b)
data, targets = torch.tensor(x)[:, None], torch.tensor(d)[:, None]  # (T, B, I), (T, B) with B = 1


def layer_loss(output, state):
    return 0.5 * (output @ torch.tensor(v) - targets).square().sum()


value = layer_loss(*layer(data))
value.backward()
(part,) = layer.parts()
print(elman.explain(layer, data))
print(f"loss {value.item():.6f}")
show("∂L/∂[W_x W_h]", part.weights["weight_h"].grad)
show("∂L/∂b", part.weights["bias_h"].grad)
assert np.allclose(value.item(), L, rtol=1e-12)
assert np.allclose(part.weights["weight_h"].grad, np.hstack([gradient["W_x"], gradient["W_h"]]), rtol=1e-12)
assert np.allclose(part.weights["bias_h"].grad, gradient["b"], rtol=1e-12)

"""
The shares of the single steps, and the norms ‖∂L/∂h_t‖ that `elman.diagnose` calls the gradient flow, are ours too:
"""

each = step_gradients(layer, data, layer_loss)[0]
report = elman.diagnose(layer, data, loss=layer_loss)
flow = report.layers[0].flow.states["h"].mean
for t in range(T):
    assert np.allclose(each["weight_h"][t], np.hstack([shares[t]["W_x"], shares[t]["W_h"]]), rtol=1e-12)
    assert np.isclose(flow[t], np.linalg.norm(dh[t]), rtol=1e-12)
    print(f"step {t}: ‖∂L/∂h‖ by hand {np.linalg.norm(dh[t]):.6f}, by elman.diagnose {flow[t]:.6f}")
