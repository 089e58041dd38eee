"""
# The constant error carousel

Hochreiter & Schmidhuber (1997) asked what a single unit needs to pass an error on unchanged. Take one unit with a weight w from itself to itself and the activation f, so that h_t = f(w·h_{t−1} + ...). On its way
back through one step the error is multiplied by f′(a)·w. For it to be constant this must be 1, at every step, whatever a is. The solution is f(a) = a and w = 1:

    h_t = h_{t−1} + (what comes in)

They called it the *constant error carousel*. In elman it is a cell of its own. Its gradient does not change in a thousand steps:
"""

import math

import numpy as np
import torch
from course import curves, panels, save, set_weights

import elman
from elman.cells import carousel, lstm, lstm_1997
from elman.compiler.printers import as_text
from elman.diagnosis import Sampling
from elman.nn import Recurrent, init

torch.manual_seed(5)
STEPS = 1000
FLOW = Sampling(ends=1, vectors=1, places=1, exponents=1)  # the gradient flow is always whole; of the rest little is asked
x = torch.randn(STEPS, 1, 2, dtype=torch.float64)

print(as_text(carousel.program))
layer = Recurrent("carousel", 2, 4, dtype=torch.float64)
flow = elman.diagnose(layer, x, sampling=FLOW).layers[0].flow.states["h"].mean  # ‖∂L/∂h_t‖ for a loss at the last step
print(f"gradient at the last step {flow[-1]:.6f}, a thousand steps before it {flow[0]:.6f}")
assert np.abs(flow / flow[-1] - 1).max() < 1e-12

"""
## What is wrong with it

It remembers, but it cannot choose. Everything that comes in is added for good: of a thousand random numbers it keeps the sum. And everything that it holds is seen from outside at every step, wanted
or not. The paper calls these the input and the output weight conflict: one weight has to let a thing in at one step and keep the next one out.
"""

output, _ = layer(x)
print("spread of the units after   10 steps", round(output[9].std().item(), 2))
print("spread of the units after 1000 steps", round(output[-1].std().item(), 2))
assert output[-1].std() > 5 * output[9].std()

"""
## Gates

So the LSTM puts a multiplication before the carousel and one behind it. The *input gate* i says how much comes in, the *output gate* o how much is seen. Both are sigmoids, numbers
from 0 to 1, computed from the input and the last output. c is the carousel:
"""

print(as_text(lstm_1997.program))


def on_the_cell(output, state):
    """A loss on the content of the cells after the last step."""
    return state[0][1].sum()


def gradient_of_c(layer, x):
    """‖∂L/∂c_t‖ by steps back from the last step, as a share of what enters there."""
    flow = elman.diagnose(layer, x, loss=on_the_cell, sampling=FLOW).layers[0].flow.states["c"].mean[::-1]
    return flow / flow[0]


gradients = {}
first_lstm = Recurrent("lstm_1997", 2, 4, dtype=torch.float64)
set_weights(first_lstm, bias_i=-20.0)  # σ(−20) = 0.000000002: closed
gradients["1997, input gate closed"] = gradient_of_c(first_lstm, x)
change = np.abs(gradients["1997, input gate closed"] - 1).max()
print(f"largest change of the gradient over {STEPS} steps: {change:.0e}")
assert change < 1e-6

"""
With an open gate the gradient has other ways to go as well, through the gates and h of later steps. The paper's learning rule cut these off, so that in it the error in the cells was constant by
construction. elman, like every library today, follows the whole gradient; the carousel is then one way of several, and the one that lasts.

## The forget gate

A cell that never forgets fills up. Gers, Schmidhuber & Cummins (2000) put a third gate on the carousel itself:
"""

print(as_text(lstm.program))

"""
Along the cell the gradient is now multiplied by f at each step. That is a decay again, but one that the network sets, unit by unit and step by step. It begins where the bias of the forget gate says. Without any
weights f = σ(bias), and what is left after k steps is σ(bias)ᵏ:
"""

print("bias      f   steps until 1 % is left: by the formula, measured")
for bias in (-2.0, 0.0, 1.0, 2.0, 4.0):
    layer = Recurrent("lstm", 2, 4, dtype=torch.float64)
    set_weights(layer, weight_i=0.0, weight_f=0.0, weight_g=0.0, weight_o=0.0)
    init.forget_bias_(layer, bias)
    measured = gradient_of_c(layer, x[:300])
    f = 1 / (1 + math.exp(-bias))
    steps = math.floor(math.log(0.01) / math.log(f))
    seen = int((measured > 0.01).sum()) - 1
    print(f"{bias:+4.0f}  {f:.3f}   {steps:3} {seen:3}")
    assert steps == seen
    assert np.allclose(measured[:50], f ** np.arange(50), rtol=1e-9)
    if bias in (-2, 1, 4):
        gradients[f"forget bias {bias:+.0f}"] = measured

"""
With a bias of 0 a fresh LSTM forgets in 6 steps, hardly better than a vanilla network. Gers et al. started it above 0, and Jozefowicz, Zaremba & Sutskever (2015) found that 1 is a good start in general; it is elman's
default. If the data need T steps, f should be about 1 − 1/T: the *chrono* start (Tallec & Ollivier 2018) draws the biases so that the units cover all spans up to T. The verdicts of `elman.diagnose` advise it.

![The gradient on the cell by steps back](pictures/carousel.png)
"""

figure, (axes,) = panels()
curves(
    axes, np.arange(300), {label: curve[:300] for label, curve in gradients.items()}, log=True,
    title="What is left of the gradient on the cell", xlabel="steps back k", ylabel="‖∂L/∂c_{T−k}‖ / ‖∂L/∂c_T‖ (log scale)",
)  # fmt: skip
axes.set_ylim(1e-8, 3)
save(figure, "carousel")
