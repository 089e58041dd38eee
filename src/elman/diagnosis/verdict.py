"""Verdicts: sentences from the numbers of a report, each by a rule of the table at the end of this file.

A rule measures one figure of a layer, of one of its gates or of the training, and speaks where the figure passes its
threshold. The advice is also given as options by name; "start" is a function of `elman.nn.init` (without its "_").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from elman.diagnosis.figures import Activity, Layer, Network, Verdict
from elman.nn.init import KEEP_SIGN


@dataclass(frozen=True)
class Case:
    """What a rule looks at: a layer in its network, and perhaps one of its gates or states."""

    network: Network
    layer: Layer
    training: Mapping[str, Any]
    gradient_norm: float
    value: Activity | None = None

    @property
    def where(self) -> str:
        """In words."""
        name = f"{self.network.name}, " if self.network.name else ""
        return name + self.layer.title

    @property
    def one(self) -> Activity:
        """The gate or state."""
        assert self.value is not None
        return self.value


@dataclass(frozen=True)
class Rule:
    """`measure` gives NaN where the rule does not apply; the rule speaks where it is beyond `threshold`."""

    name: str
    about: str
    of: str
    """What is asked: each "layer", each "value" of each layer, or the "training" once."""
    measure: Callable[[Case], float]
    threshold: float
    above: bool
    sentence: Callable[[Case, float], str]
    advice: Callable[[Case], tuple[str, dict[str, Any]]]

    def verdict(self, case: Case) -> Verdict | None:
        """What the rule says of the case."""
        value = self.measure(case)
        if not (value > self.threshold if self.above else value < self.threshold):
            return None
        advice, change = self.advice(case)
        where = "the training" if self.of == "training" else case.where
        return Verdict(self.name, where, True, self.sentence(case, value), float(value), self.threshold, advice, change)


def verdicts(networks: Sequence[Network], gradient_norm: float, training: Mapping[str, Any]) -> tuple[Verdict, ...]:
    """Everything that the rules say, in their order; a layer in which the gradient neither vanishes nor explodes is
    called healthy."""
    layers = [Case(n, layer, training, gradient_norm) for n in networks for layer in n.layers]
    found = [verdict for rule in RULES for case in _cases(rule, layers) if (verdict := rule.verdict(case))]
    sick = {verdict.where for verdict in found if verdict.rule in ("vanishing", "exploding")}
    return (*found, *(_healthy(case) for case in layers if case.where not in sick))


def _cases(rule: Rule, layers: Sequence[Case]) -> Iterator[Case]:
    if rule.of == "training":  # the layer that remembers most
        yield max(layers, key=lambda case: case.layer.memory.steps)
        return
    for case in layers:
        if rule.of == "layer":
            yield case
        else:
            yield from (
                Case(case.network, case.layer, case.training, case.gradient_norm, a) for a in case.layer.activity
            )


def _healthy(case: Case) -> Verdict:
    share, top = _share_remembered(case), float(np.nanmax(case.layer.memory.gain))
    sentence = f"the gradient passes through {case.where}: {_remembers(case)}, and its gain is {top:.3g} at most"
    return Verdict("healthy", case.where, False, sentence, share, VANISHING)


def _remembers(case: Case) -> str:
    memory = case.layer.memory
    more = " or more" if memory.whole else ""
    return f"it remembers {_steps(memory.steps)}{more}, and the loss can use up to {case.layer.flow.reach:.0f}"


def _steps(count: int) -> str:
    return f"{count:,} step" if count == 1 else f"{count:,} steps"


def _share_remembered(case: Case) -> float:
    reach = case.layer.flow.reach
    return case.layer.memory.steps / reach if reach > 0 else math.nan


# -- measures ----------------------------------------------------------------------------------------------------------
def _faded(case: Case) -> float:
    return math.nan if case.layer.memory.whole else _share_remembered(case)


def _growth(case: Case) -> float:
    return float(np.nanmax(case.layer.memory.gain))


def _saturated(case: Case) -> float:
    return case.one.saturated


def _dead(case: Case) -> float:
    one = case.one
    return len(one.dead) / len(one.mean) if one.state else math.nan


def _clipped(case: Case) -> float:
    return float(case.training.get("clipped", math.nan))


def _cut(case: Case) -> float:
    bptt = case.training.get("bptt")
    return math.nan if bptt is None else case.layer.memory.steps / bptt


# -- advice ------------------------------------------------------------------------------------------------------------
def _remember_more(case: Case) -> tuple[str, dict[str, Any]]:
    layer = case.layer
    reach = max(3, round(layer.flow.reach))
    maps = {one.map for one in layer.matrices} | {one.name for one in layer.activity if one.kind == "sigmoid"}
    if any(one.keeps for one in layer.activity) and maps & set(KEEP_SIGN):
        text = f"start its gates open for {reach} steps with chrono={reach}, of a layer elman.nn.init.chrono_"
        return text, {"chrono": reach}
    radius = max((one.radius for one in layer.matrices if not math.isnan(one.radius)), default=0.0)
    if radius < 0.9:
        text = f"its spectral radius is {radius:.3g}: start it at 1 with elman.nn.init.orthogonal_, or take cell='lstm'"
        return text, {"start": "orthogonal"}
    return "take a cell with a gated memory, such as cell='lstm' or 'gru'", {"cell": "lstm"}


def _grow_less(case: Case) -> tuple[str, dict[str, Any]]:
    text = "start its recurrent matrices orthogonal with elman.nn.init.orthogonal_"
    change: dict[str, Any] = {"start": "orthogonal"}
    if case.training and case.training.get("clip_norm") is None:
        return f"{text}, and clip the gradient with clip_norm=1.0", change | {"clip_norm": 1.0}
    return text, change


def _unsaturate(case: Case) -> tuple[str, dict[str, Any]]:
    text = "start again from smaller weights with elman.nn.init.default_, and scale the inputs to variance 1"
    change: dict[str, Any] = {"start": "default"}
    if (lr := case.training.get("lr")) is not None:
        return f"{text}; if it comes back, lower the learning rate to {lr / 10:g}", change | {"lr": lr / 10}
    return text, change


def _revive(case: Case) -> tuple[str, dict[str, Any]]:
    if case.one.kind == "relu":
        text = "start again with elman.nn.init.default_ and a lower learning rate, or take cell='rnn': no tanh dies"
        return text, {"start": "default"}
    return "start again with elman.nn.init.default_; if they die again, take fewer units", {"start": "default"}


def _clip_less(case: Case) -> tuple[str, dict[str, Any]]:
    more = max(2 * float(f"{case.gradient_norm:.2g}"), 2 * float(case.training.get("clip_norm") or 0.0))
    text = f"raise clip_norm to {more:g}, so that it cuts outliers alone; here the gradient's norm is"
    return f"{text} {case.gradient_norm:.3g}", {"clip_norm": more}


def _cut_later(case: Case) -> tuple[str, dict[str, Any]]:
    steps = case.layer.memory.steps
    return f"raise bptt to {steps}, so that the gradient reaches as far as the state", {"bptt": steps}


VANISHING, EXPLODING, SATURATED, DEAD, CLIPPED = 0.25, 100.0, 0.75, 0.1, 0.95

RULES = (
    Rule(
        "vanishing", "effective memory / steps that the loss can use", "layer", _faded, VANISHING, False,
        lambda case, value: f"the gradient vanishes in {case.where}: {_remembers(case)}; "
        f"it fades by the factor {case.layer.memory.rate:.3g} a step",
        _remember_more,
    ),
    Rule(
        "exploding", "largest gain of any lag", "layer", _growth, EXPLODING, True,
        lambda case, value: f"the gradient explodes in {case.where}: it grows {value:.3g}-fold, "
        f"by the factor {case.layer.memory.rate:.3g} a step",
        _grow_less,
    ),
    Rule(
        "saturated", "share of values within 0.05 of an end, other than the end that keeps the state", "value",
        _saturated, SATURATED, True,
        lambda case, value: f"{case.one.name} is saturated in {case.where}: {value:.0%} of its values are within 0.05 "
        f"of an end; its slope is {case.one.slope.mean():.3g} in the mean and could be {case.one.steepest:g}",
        _unsaturate,
    ),
    Rule(
        "dead", "share of a state's units whose variance is below 1e-6", "value", _dead, DEAD, True,
        lambda case, value: f"{value:.0%} of the units of {case.one.name} are dead in {case.where}: "
        "they say the same at every step of the data",
        _revive,
    ),
    Rule(
        "clipping", "share of the steps whose gradient was scaled down", "training", _clipped, CLIPPED, True,
        lambda case, value: f"clipping acted on {value:.0%} of the steps: all gradients had one length",
        _clip_less,
    ),
    Rule(
        "truncation", "effective memory / bptt", "training", _cut, 1.0, True,
        lambda case, value: f"truncation is shorter than the memory: {case.where} remembers "
        f"{_steps(case.layer.memory.steps)}, and bptt cuts the gradient after {case.training['bptt']}",
        _cut_later,
    ),
)  # fmt: skip
"""The rules, in the order in which they speak."""
