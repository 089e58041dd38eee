"""
# Teacher forcing

Some networks read their own answers. In Jordan's network (1986) the recurrence is from the output, not from the
hidden units. A decoder that writes a sentence reads the word that it wrote before.
"""

import torch
from course import curves, panels, save
from torch import nn

from elman.cells import jordan
from elman.compiler.printers import as_text
from elman.nn import Recurrent, teacher_forced

print(as_text(jordan.program))

"""
In training the right answers are known. *Teacher forcing* (Williams & Zipser 1989) gives the network the right answer
of the step before, in place of its own. Two things follow.

**The steps are independent.** Each one needs x_t and the right y_{t−1}, both there from the beginning.
`elman.nn.teacher_forced` runs all T steps at once, as a batch, and the gradient goes through no time at all: nothing
can vanish or explode. The result is that of the steps one after the other:
"""

torch.manual_seed(10)
layer = Recurrent("jordan", 1, 16, output_size=2, dtype=torch.float64)
x, told = torch.randn(30, 2, 1, dtype=torch.float64, requires_grad=True), torch.randn(30, 2, 2, dtype=torch.float64)
at_once = teacher_forced(layer, x, told)
before, one_by_one = torch.zeros(2, 2, dtype=torch.float64), []
for t in range(30):
    one_by_one.append(layer(x[t : t + 1], ((before,),))[0][0])
    before = told[t]
assert torch.allclose(at_once, torch.stack(one_by_one), rtol=1e-12)

reached = torch.autograd.grad(at_once[20].sum(), x)[0].abs().amax((1, 2))
assert reached[20] > 0
assert (reached[:20] == 0).all()

"""
**The network is judged by one step at a time.** That makes learning easy. Here it learns to go round a circle: the
state is a point, and the next point is 0.3 radians further on. We train one network forced and one *free*, which
reads its own outputs over all 200 steps. Both begin with the same weights and have 100 updates.
"""

STEPS, UPDATES = 200, 100
angle = 0.3 * torch.arange(STEPS + 1.0)[:, None]
circle = torch.stack([angle.cos(), angle.sin()], -1)  # (T + 1, B, 2) with B = 1
ones = torch.ones(STEPS, 1, 1)  # the input says nothing


def forced(layer):
    return teacher_forced(layer, ones, circle[1:], first=circle[0])


def free(layer):
    return layer(ones, ((circle[0],),))[0]


def learn(how):
    torch.manual_seed(0)
    layer = Recurrent("jordan", 1, 16, output_size=2)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(UPDATES):
        loss = (how(layer) - circle[1:]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimiser.step()
    return layer


@torch.no_grad()
def error(layer, how):
    """The distance from the right point at each step (T)."""
    return (how(layer) - circle[1:]).norm(dim=-1)[:, 0]


taught, alone = learn(forced), learn(free)
errors = {
    "trained free, run free": error(alone, free),
    "trained forced, run free": error(taught, free),
    "trained forced, run forced": error(taught, forced),
}
for label, distances in errors.items():
    print(f"{label:26}: mean distance {distances.mean():.4f}, over the last 20 steps {distances[-20:].mean():.4f}")
root = {label: distances.mean().item() for label, distances in errors.items()}
assert root["trained free, run free"] > 10 * root["trained forced, run free"]

"""
The free network is lost: its early points are wrong, so that the later ones have nothing to learn from.

## Exposure

But look at the other two rows. In use nobody tells the right answer; the network reads what it said itself. Forced,
every step begins at a right point, and the error is small and always the same. Run free, each step begins where the
last one ended, and errors add up. The network was never *exposed* to its own errors and has not learned to put them
right.
"""

taught_free, taught_forced = errors["trained forced, run free"], errors["trained forced, run forced"]
assert taught_free[-20:].mean() > 3 * taught_free[:20].mean()
assert taught_forced[-20:].mean() < 3 * taught_forced[:20].mean()
assert root["trained forced, run free"] > 4 * root["trained forced, run forced"]

"""
![Distance from the right point, trained and run free or forced](pictures/forcing.png)
"""

figure, (axes,) = panels()
curves(
    axes, range(STEPS), errors, log=True,
    title="A Jordan network on a circle of radius 1", xlabel="step t",
    ylabel="distance from the right point (log scale)",
)  # fmt: skip
save(figure, "forcing")

"""
What helps: *scheduled sampling* tells the truth more and more rarely as training goes on (Bengio, Vinyals, Jaitly &
Shazeer 2015; an option of elman's [encoder-decoders](../transduce.md)); noise on what the teacher says; and at the
end some training on free runs, which by then have something to learn from. Networks whose recurrence is from the
hidden state cannot be forced this way: nobody knows the right hidden state.
"""
