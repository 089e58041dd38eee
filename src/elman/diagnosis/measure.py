"""`diagnose`: one probe batch through a model, and everything that is measured from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from elman.diagnosis.activity import activity
from elman.diagnosis.figures import Layer, Network
from elman.diagnosis.flow import Backward, backward, flow, input_flow
from elman.diagnosis.jacobian import lyapunov, spectra
from elman.diagnosis.memory import memory
from elman.diagnosis.places import evenly
from elman.diagnosis.recurrent import matrices
from elman.diagnosis.report import Report
from elman.diagnosis.sensitivity import sensitivity
from elman.diagnosis.trace import Recording, Trace, evaluating, gradients, recording
from elman.diagnosis.verdict import verdicts
from elman.errors import DataError, OptionError
from elman.nn import Recurrent
from elman.nn.head import last_output

SMALL = 1 << 15
"""A network is measured whole where T · N² of each layer, which is what its Jacobians hold, is no more."""

CHANNELS = 8
"""Of data without symbols so many are kept, to stand beside the units."""


@dataclass(frozen=True)
class Sampling:
    """How much is looked at; what there is less of is taken whole."""

    sequences: int = 3
    """For memory, sensitivity and Lyapunov exponents, the longest of the batch."""
    ends: int = 16
    """Steps at which the output is asked what it hangs on."""
    vectors: int = 4
    """Random vectors at each of them."""
    places: int = 6
    """Places of step Jacobians."""
    exponents: int = 16
    shown: int = 1
    """Sequences whose values are kept."""
    seed: int = 0

    @classmethod
    def whole(cls, shown: int = 1) -> Sampling:
        """Everything: exact, and dear."""
        many = 1 << 30
        return cls(sequences=many, ends=many, vectors=many, places=many, exponents=many, shown=shown)


@dataclass(frozen=True)
class Probe:
    """A batch of real data on a module: what estimators hand over for a diagnosis."""

    module: nn.Module
    loss: Callable[[], Tensor]
    """The loss on the batch, by a call of the module."""
    symbols: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """What stands at each step of each sequence, for the networks (by name) where that can be told."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """What is known of the training: clip_norm, bptt, lr, ..."""
    model: str = ""


def diagnose(
    model: Any, data: Any = None, y: Any = None, *, loss: Callable[..., Tensor] | None = None, lengths: Any = None,
    sampling: Sampling | None = None, training: Mapping[str, Any] | None = None,
) -> Report:  # fmt: skip
    """What happens to the gradient in `model` on `data`.

    model: a `Recurrent` (data: x as it takes it, a tensor or an array; lengths as it takes them; loss(output, state),
    by default the last output times a random unit vector for each sequence), any module with such layers inside (then
    loss(module, data) is needed), an estimator that was fitted (data, y: as its `evaluate` takes them) or a Probe.
    sampling: how much is looked at (default: everything where the network is small). training: clip_norm, bptt, ... of
    the training, for the verdicts. The model is left as it was. Raises DataError, OptionError.
    """
    if isinstance(model, Probe):
        return examine(model, sampling, training)
    if hasattr(model, "probe"):
        return examine(model.probe(data, y), sampling, training)
    if not isinstance(model, nn.Module):
        raise OptionError(
            "diagnose takes an elman.nn.Recurrent, a module with such layers inside, or an estimator, "
            f"not {type(model).__name__}"
        )
    if isinstance(model, Recurrent):
        probe = Probe(model, _of_layer(model, data, lengths, loss, 0 if sampling is None else sampling.seed))
    elif loss is None:
        raise OptionError("the loss is missing: give loss=, a function of (module, data) whose result is one number")
    else:
        probe = Probe(model, lambda: loss(model, data))
    return examine(probe, sampling, training)


def _of_layer(layer: Recurrent, data: Any, lengths: Any, loss: Callable[..., Tensor] | None, seed: int) -> Any:
    """The loss of a bare layer on data."""
    like = next(layer.parameters())
    x = data if isinstance(data, Tensor) else torch.from_numpy(np.array(data, np.float64))
    x = x.to(like.device, like.dtype)

    def run() -> Tensor:
        output, state = layer(x, lengths=lengths)
        if loss is not None:
            return loss(output, state)
        last = last_output(layer, state)
        generator = torch.Generator().manual_seed(seed)
        vectors = torch.randn(last.shape, generator=generator, dtype=torch.float64).to(last)
        return (last * nn.functional.normalize(vectors, dim=-1)).sum()

    return run


def examine(probe: Probe, sampling: Sampling | None = None, training: Mapping[str, Any] | None = None) -> Report:
    """The report of a probe."""
    began = time.perf_counter()
    known = dict(probe.training) | dict(training or {})
    with torch.enable_grad(), evaluating(probe.module):
        norms = _weight_norms(probe)
        with recording(probe.module) as recordings:
            loss = probe.loss()
    recordings = [one for one in recordings if one.calls]
    if not recordings:
        raise DataError("the loss runs no elman.nn.Recurrent: there is no recurrence to diagnose")
    inputs, backwards = backward(loss, recordings)
    channels = 0 if any(probe.symbols.values()) else CHANNELS  # of an embedding they would say nothing
    networks = tuple(
        _network(one, came, of, sampling, probe.symbols.get(one.name, ()), channels)
        for one, came, of in zip(recordings, inputs, backwards)
    )
    total = float(np.sqrt(sum(norm**2 for norm in norms.values())))
    name = probe.model or type(probe.module).__name__
    found = verdicts(networks, total, known)
    return Report(name, loss.item(), total, norms, known, networks, found, time.perf_counter() - began)


def _weight_norms(probe: Probe) -> dict[str, float]:
    """‖∂L/∂W‖ of every weight that training would change."""
    loss = probe.loss()
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise DataError("the loss must be one number, a tensor of one element")
    weights = {name: p for name, p in probe.module.named_parameters() if p.requires_grad}
    if not loss.requires_grad:
        return {}
    found = gradients(loss, list(weights.values()))
    return {name: float(grad.double().norm()) for name, grad in zip(weights, found)}


def _network(
    one: Recording, came: list[Tensor], of: list[Backward], sampling: Sampling | None,
    symbols: Sequence[Sequence[str]], channels: int,
) -> Network:  # fmt: skip
    """The figures of one network."""
    lengths = torch.stack(one.traces[0].running).sum(0).cpu()
    if not lengths.any():
        raise DataError(f"all sequences that reach the layer {one.name!r} are empty: there is nothing to diagnose")
    own = sampling or _sampling(one, len(lengths))
    generator = torch.Generator().manual_seed(own.seed)
    longest = lengths.argsort(descending=True, stable=True)
    rows, shown = longest[: own.sequences], longest[: own.shown]
    inputs = torch.stack([x[shown, :channels] for x in one.traces[0].x]).detach().float().cpu().numpy()
    layers = tuple(_layer(trace, back, rows, shown, own, generator) for trace, back in zip(one.traces, of))
    steps = evenly(own.ends, int(lengths.max()))
    return Network(
        one.name, lengths.numpy(), shown.numpy(), tuple(tuple(symbols[b]) for b in shown) if symbols else (),
        input_flow(one, came), sensitivity(one, rows, steps, own.vectors, generator), layers, inputs,
    )  # fmt: skip


def _layer(
    trace: Trace, back: Backward, rows: Tensor, shown: Tensor, own: Sampling, generator: torch.Generator
) -> Layer:
    running = torch.stack(trace.running)[:, rows]
    there = [place for place, t in enumerate(trace.chain) if running[t].any()]
    places = [(trace.chain[p], int(b)) for p in there for k, b in enumerate(rows) if running[trace.chain[p], k]]
    return Layer(
        trace.layer, trace.part.direction, trace.part.program.name, trace.part.state_sizes[0], flow(trace, back),
        memory(trace, rows, [there[i] for i in evenly(own.ends, len(there))], own.vectors, generator),
        matrices(trace.part), spectra(trace, [places[i] for i in evenly(own.places, len(places))]),
        lyapunov(trace, rows, own.exponents, generator), activity(trace, shown),
    )  # fmt: skip


def _sampling(one: Recording, batch: int) -> Sampling:
    """Everything of a small network, a part of a large one."""
    states = max(sum(trace.part.state_sizes) for trace in one.traces)
    return Sampling.whole() if len(one.traces[0].x) * batch * states**2 <= SMALL else Sampling()
