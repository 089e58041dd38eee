"""What a report is made of: frozen records of plain numbers. Arrays are time-major; what cannot be told is NaN.

T steps of the data, H units of a value, N units of all states together, S sequences shown, B sequences in all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Curve:
    """A figure of every sequence at every step, over the B sequences: each (T,)."""

    mean: Floats
    lower: Floats
    """The lower quartile."""
    median: Floats
    upper: Floats


@dataclass(frozen=True, eq=False)
class Flow:
    """The gradient of the loss inside one layer and direction."""

    states: dict[str, Curve]
    """‖∂L/∂s_t‖ of each state s: through the outputs, the later steps, and what the same step makes of it."""
    entering: Curve
    """The gradient that comes from above at step t, before any of it has gone through time."""
    reach: float
    """Steps from the beginning of the recursion to where the gradient enters: mean, weighted by its norm. The loss can
    use a memory of up to so many steps."""
    shares: dict[str, Floats]
    """‖[∂L/∂W]_t‖ (T,) for each weight W: what its use at step t adds to its gradient."""
    gradients: dict[str, float]
    """‖∂L/∂W‖: the norm of the sum of these shares."""


@dataclass(frozen=True, eq=False)
class Memory:
    """What the output of a layer holds of its states so many steps ago."""

    gain: Floats
    """(T,) by lag k: the mean of ‖∂h_t/∂s_{t−k}‖_F/√H over the ends t and the sequences; 1 at lag 0."""
    error: Floats
    """(T,) the standard error of `gain` as its share, from the vectors that were drawn; 0 where all were taken."""
    steps: int
    """Effective memory: the largest k up to which the gain stays above 1 %."""
    whole: bool
    """True where it stays above to the end of the data: the memory is `steps` or more."""
    rate: float
    """The gain's factor per step, fitted over all lags: below 1 it decays, above 1 it grows."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """What a state brings into a map of the cell: a block of columns, or a per-unit weight as a diagonal."""

    map: str
    vector: str
    singular_values: Floats
    eigenvalues: Floats
    """(n, 2): real and imaginary parts; (0, 2) for a block that is not square."""
    radius: float
    """The spectral radius, max |λ|; NaN for a block that is not square."""


@dataclass(frozen=True, eq=False)
class Jacobian:
    """J_t = ∂s_t/∂s_{t−1} of all states as one vector, at P places of the data."""

    steps: Integers
    sequences: Integers
    """(P,) numbers of the batch."""
    singular_values: Floats
    """(P, N), largest first."""
    eigenvalues: Floats
    """(P, N, 2): real and imaginary parts, largest absolute value first."""
    radius: Floats
    """(P,) the spectral radius."""


@dataclass(frozen=True, eq=False)
class Lyapunov:
    """Exponents by QR (Benettin et al. 1980; Engelken et al. 2023): how fast neighbouring states part, per step."""

    exponents: Floats
    """(K,) nats a step, means over the sequences, largest first."""
    deviation: Floats
    """(K,) their standard deviations over the sequences."""
    steps: int
    """Steps that were counted, after those in which the vectors turn to their directions."""


@dataclass(frozen=True, eq=False)
class Activity:
    """A gate, a state or another named value of the cell over the data."""

    name: str
    kind: str
    """sigmoid, tanh, relu, or empty for a value without ends."""
    state: bool
    mean: Floats
    """(H,), as the rest."""
    variance: Floats
    low: Floats
    """The share of values within 0.05 of the lower end (relu: of those that are 0)."""
    high: Floats
    """... of the upper end."""
    slope: Floats
    """The mean derivative of the function at the values."""
    steepest: float
    """The largest derivative that the function has: 0.25 for sigmoid, 1 for tanh and relu."""
    dead: Integers
    """Units whose variance is below 1e-6."""
    keeps: str
    """"high" or "low": the end at which this gate leaves the old state as it is, so that standing there is memory."""
    values: Singles
    """(T, S, H) of the sequences shown; NaN beyond a length."""

    @property
    def saturated(self) -> float:
        """The share of values near an end, but for the end that keeps the state; NaN for a value without two ends."""
        if self.kind not in ("sigmoid", "tanh"):
            return float("nan")
        ends = {"low": self.low, "high": self.high}
        return float(sum(share.mean() for end, share in ends.items() if end != self.keeps))


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """S[t, s] = ‖∂y_t/∂x_s‖_F from a network's input to its output, mean over the sequences."""

    steps: Integers
    """(E,) the steps t."""
    map: Floats
    """(E, T)."""
    error: Floats
    """(E, T) its standard error as its share, from the vectors that were drawn; 0 where all were taken."""
    span: int
    """The largest lag t − s whose mean is above 1 % of the largest mean of all lags."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer in one direction."""

    number: int
    direction: str
    cell: str
    units: int
    """H, of the output."""
    flow: Flow
    memory: Memory
    matrices: tuple[Matrix, ...]
    jacobian: Jacobian
    lyapunov: Lyapunov
    activity: tuple[Activity, ...]

    @property
    def title(self) -> str:
        """As it is called in sentences."""
        return f"layer {self.number} ({self.direction})"


@dataclass(frozen=True, eq=False)
class Network:
    """One `Recurrent` of the model."""

    name: str
    lengths: Integers
    """(B,)."""
    shown: Integers
    """(S,) the sequences of the batch whose values are kept."""
    symbols: tuple[tuple[str, ...], ...]
    """What stands at each step of the sequences shown; empty where that is not known."""
    input: Curve
    """‖∂L/∂x_t‖."""
    sensitivity: Sensitivity
    layers: tuple[Layer, ...]
    inputs: Singles = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))
    """(T, S, K) the first channels of the network's input in the sequences shown, where no symbols stand for it."""


@dataclass(frozen=True, eq=False)
class Learning:
    """One layer and direction while the network learned: N looks at a fixed batch, P steps of it, K lags."""

    network: str
    number: int
    direction: str
    at: Integers
    """(N,) the steps of training."""
    loss: Floats
    """(N,) of the batch."""
    steps: Integers
    """(P,)."""
    gradient: Floats
    """(N, P) the mean of ‖∂L/∂h_t‖ over the batch."""
    lags: Integers
    """(K,)."""
    gain: Floats
    """(N, K) as `Memory.gain`."""
    memory: Integers
    """(N,) the effective memory."""
    rate: Floats
    """(N,) as `Memory.rate`."""

    @property
    def title(self) -> str:
        """As it is called in sentences."""
        return f"layer {self.number} ({self.direction})"


@dataclass(frozen=True)
class Verdict:
    """A sentence, the rule behind it and the number that it was held against."""

    rule: str
    where: str
    sick: bool
    sentence: str
    value: float
    threshold: float
    advice: str = ""
    change: dict[str, Any] = field(default_factory=dict)
    """The advice as options by name, such as {"cell": "lstm"} or {"chrono": 200}."""
