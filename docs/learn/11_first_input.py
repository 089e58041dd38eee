"""
# The first input, after sixty steps

The course ends where it began: how long does a network remember? Here is the whole matter in one picture, measured on
trained networks.

The task: a random number at step 0, marked as the one to remember, then 59 others. After the last step, say the first
number. Always saying 0, the mean, has a mean squared error of 1/3. A vanilla network with elman's orthogonal start
and an LSTM with the chrono start for 60 steps get as many sequences, the same 300 updates and the same clipping.
"""

import torch
from course import curves, panels, save
from torch import nn

import elman
from elman.nn import Recurrent, init

STEPS, HIDDEN, BATCH, UPDATES = 60, 16, 64, 300


class Reader(nn.Module):
    """A recurrent layer, and one number from its last output."""

    def __init__(self, cell):
        super().__init__()
        self.recurrent = Recurrent(cell, input_size=2, hidden_size=HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x):
        output, _ = self.recurrent(x)  # (T, B, H)
        return self.head(output[-1])[:, 0]


def made(batch):
    """(x (T, B, 2), y (B)): numbers from −1 to 1 beside a mark, and the marked number."""
    x = torch.rand(STEPS, batch, 2) * 2 - 1
    x[..., 1] = 0
    x[0, :, 1] = 1
    return x, x[0, :, 0].clone()


def train(model):
    """The mean squared error over the last 50 updates."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(UPDATES):
        x, y = made(BATCH)
        loss = (model(x) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return sum(losses[-50:]) / 50


"""
`elman.diagnose` gives the sensitivity map S[t, s] = ‖∂y_t/∂x_s‖. Its first column, s = 0, is what we want: how much
the output of the layer at each step t still changes with the first input.
"""

torch.manual_seed(11)
x, y = made(4)


def look(model):
    report = elman.diagnose(model, x, loss=lambda model, x: (model(x) - y).square().mean(), sampling=LOOK)
    return report, report.networks[0].sensitivity.map[:, 0]


LOOK = elman.diagnosis.Sampling(ends=STEPS, vectors=HIDDEN, places=2, exponents=2)  # every step t, exactly
columns, losses = {}, {}
for name, cell in (("vanilla", "rnn"), ("LSTM", "lstm")):
    torch.manual_seed(0)
    model = Reader(cell)
    if cell == "lstm":
        init.chrono_(model.recurrent, STEPS)
    columns[f"{name}, fresh"] = look(model)[1]
    losses[name] = train(model)
    report, columns[f"{name}, trained"] = look(model)
    memory = report.layers[0].memory
    print(f"{name}: error {losses[name]:.4f}; remembers {memory.steps} steps{' or more' if memory.whole else ''}")
for label, column in columns.items():
    print(f"{label:16}:", ", ".join(f"step {t} {column[t]:.0e}" for t in (0, 10, 30, STEPS - 1)))
assert losses["vanilla"] > 0.05
assert losses["LSTM"] < 0.01

"""
![Sensitivity of each output to the first input](pictures/first-input.png)
"""

figure, (axes,) = panels(height=4.0)
curves(
    axes, range(STEPS), columns, log=True,
    title="What is left of the first input", xlabel="step t", ylabel=r"$\|\partial y_t/\partial x_0\|$ (log scale)",
)  # fmt: skip
save(figure, "first-input")

"""
In the fresh vanilla network the first input fades by about the same factor at each step, as page [4](04_vanishing.md)
says: nearly a straight line on the log scale, some 600-fold in all. By the last step the inputs just before it weigh
hundreds of times as much, and their noise drowns the little that the gradient has to say of the first. Trained, the
network remembers no better, and its error is that of saying 0. (With other seeds it sometimes learns the sign of the
number, which units can hold at the two ends of tanh, and no more.)

In the fresh LSTM the first input fades some 20-fold, for its units were started with spans of up to 60 steps (page
[5](05_carousel.md)). That is enough to learn from. Trained, its gates let in what comes with the mark and keep it,
and the first input weighs *more* at the last step, where it is asked for, than at the beginning.
"""

fades = {label: column[0] / column[-1] for label, column in columns.items()}
assert fades["vanilla, fresh"] > 10 * fades["LSTM, fresh"]
assert 10 < fades["LSTM, fresh"] < 40 < 300 < fades["vanilla, fresh"] < 1200
assert columns["vanilla, trained"][-1] < 0.01 * columns["vanilla, trained"][0]
assert columns["LSTM, trained"][-1] > columns["LSTM, trained"][0]
assert columns["LSTM, trained"][-1] > 10 * columns["LSTM, fresh"][-1]

"""
Look into networks of your own the same way: `elman diagnose MODEL DATA --out report.html` draws this map, the
gradient flow, the gates and the rest on one page ([diagnose.md](../diagnose.md)).
"""
