"""
# The constant error carousel

Hochreiter & Schmidhuber (1997) asked what a single unit needs to pass an error on unchanged. Take one unit with a
weight w from itself to itself and the activation f, so that h_t = f(w·h_{t−1} + ...). On its way back through one
step the error is multiplied by f′(a)·w. For it to be constant this must be 1, at every step, whatever a is. The
solution is f(a) = a and w = 1:

    h_t = h_{t−1} + (what comes in)

They called it the *constant error carousel*. In elman it is a cell of its own. Its gradient does not change in a
thousand steps. We ask for the gradient of the last state with respect to the first one, before any input:
"""

import math

import numpy as np
import torch
from course import curves, panels, save, set_weights

from elman.cells import carousel, lstm, lstm_1997
from elman.compiler.printers import as_text
from elman.nn import Recurrent, init

torch.manual_seed(5)
STEPS, UNITS = 1000, 4
x = torch.randn(STEPS, 1, 2, dtype=torch.float64)


def left(layer, steps, states=1):
    """∂(sum of the last state of the cell after so many steps)/∂(that state before them), for each of its units."""
    first = [torch.zeros(1, UNITS, dtype=torch.float64, requires_grad=True) for _ in range(states)]
    last = layer(x[:steps], (tuple(first),))[1][0]
    return torch.autograd.grad(last[-1].sum(), first[-1])[0][0].numpy()


print(as_text(carousel.program))
layer = Recurrent("carousel", 2, UNITS, dtype=torch.float64)
for steps in (1, 10, 100, STEPS):
    print(f"after {steps:4} steps:", left(layer, steps))
assert (left(layer, STEPS) == 1).all()

"""
## What is wrong with it

It remembers, but it cannot choose. Everything that comes in is added for good: of a thousand random numbers it keeps
the sum. And everything that it holds is seen from outside at every step, wanted or not. The paper calls these the
input and the output weight conflict: one weight has to let a thing in at one step and keep the next one out.
"""

output, _ = layer(x)
print("spread of the units after   10 steps", round(output[9].std().item(), 2))
print("spread of the units after 1000 steps", round(output[-1].std().item(), 2))
assert output[-1].std() > 5 * output[9].std()

"""
## Gates

So the LSTM puts a multiplication before the carousel and one behind it. The *input gate* i says how much comes in,
the *output gate* o how much is seen. Both are sigmoids, numbers from 0 to 1, computed from the input and the last
output. c is the carousel:
"""

print(as_text(lstm_1997.program))


first_lstm = Recurrent("lstm_1997", 2, UNITS, dtype=torch.float64)
set_weights(first_lstm, bias_i=-25.0)  # σ(−25) = 0.00000000001: closed
change = np.abs(left(first_lstm, STEPS, states=2) - 1).max()
print(f"input gate closed: largest change of the gradient over {STEPS} steps {change:.0e}")
assert change < 1e-6

"""
With an open gate the gradient has other ways to go as well, through the gates and h of later steps. The paper's
learning rule cut these off, so that in it the error in the cells was constant by construction. elman, like every
library today, follows the whole gradient; the carousel is then one way of several, and the one that lasts.

## The forget gate

A cell that never forgets fills up. Gers, Schmidhuber & Cummins (2000) put a third gate on the carousel itself:
"""

print(as_text(lstm.program))

"""
Along the cell the gradient is now multiplied by f at each step. That is a decay again, but one that the network sets,
unit by unit and step by step. It begins where the bias of the forget gate says. Without any weights f = σ(bias), and
what is left after k steps is σ(bias)ᵏ:
"""

SPAN = np.arange(300)
gradients = {"no forget gate": np.array([left(first_lstm, k, states=2).mean() if k else 1 for k in SPAN])}
print("bias      f   steps until 1 % is left: by the formula, measured")
for bias in (-2.0, 0.0, 1.0, 2.0, 4.0):
    layer = Recurrent("lstm", 2, UNITS, dtype=torch.float64)
    set_weights(layer, weight_i=0.0, weight_f=0.0, weight_g=0.0, weight_o=0.0)
    init.forget_bias_(layer, bias)
    measured = np.array([left(layer, k, states=2).mean() if k else 1 for k in SPAN])
    f = 1 / (1 + math.exp(-bias))
    steps, seen = math.floor(math.log(0.01) / math.log(f)), int((measured > 0.01).sum()) - 1
    print(f"{bias:+4.0f}  {f:.3f}   {steps:3} {seen:3}")
    assert steps == seen
    assert np.allclose(measured, f**SPAN, rtol=1e-9)
    if bias in (-2, 1, 4):
        gradients[f"forget bias {bias:+.0f}"] = measured

"""
With a bias of 0 a fresh LSTM forgets in 6 steps. Gers et al. started it above 0, and Jozefowicz, Zaremba & Sutskever
(2015) found that 1 is a good start in general; it is elman's default. If the data need T steps, f should be about 1 −
1/T: the *chrono* start (Tallec & Ollivier 2018) draws the biases so that the units cover all spans up to T. The
verdicts of `elman.diagnose` advise it.

![The gradient on the cell by steps back](pictures/carousel.png)
"""

figure, (axes,) = panels()
curves(
    axes, SPAN, gradients, log=True, title="What is left of the gradient on the cell", xlabel="steps back k",
    ylabel=r"$\partial c_T / \partial c_{T-k}$ (log scale)",
)  # fmt: skip
axes.set_ylim(1e-8, 3)
save(figure, "carousel")
