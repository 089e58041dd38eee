"""From a model file to an estimator: nothing that the file claims is believed, or allocated, before it is compared.

The runtime has checked the cells, the layers and the shapes of their weights. What is left are the parts that only a
task understands: options, vocabularies, scaling, and all other weights. Networks are built on the meta device, where
a claim of any size costs nothing, and get their memory once every name and shape is that of a tensor in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import msgspec
import numpy as np
import torch
from torch import nn

from elman.cells import TracedCell
from elman.compiler.regularise import without_zoneout
from elman.data.vocabulary import Vocabulary
from elman.errors import DataError
from elman.models.options import ADDED, OPTIONS, TRAINING, fields
from elman.nn import Recurrent
from elman.nn.noise import Regularisers
from elman.nn.recurrent import Layer
from elman.runtime.document import MAX_LAYERS, Document
from elman.runtime.document import Layer as LayerDocument
from elman.training.options import Summary

MADE_HERE = ("cell", "device")
"""Options that do not come from the file: the cells are programs, and where to compute is for the reader to say."""
LOOSE = ("class_weight", "zoneout")
"""Options that the estimator itself understands in the form in which the file keeps them."""


def options_from(doc: Document) -> dict[str, Any]:
    """The estimator's options, each of its type. Only options of the training may be missing, which decide nothing
    of what the model says, and those that the file is too old to have."""
    kind = OPTIONS[doc.task]
    hints = get_type_hints(kind, localns={"AnyCell": Any})
    names = {field.name: field for field in fields(kind)}
    unknown = sorted(set(doc.options) - set(names))
    if unknown:
        raise DataError(f"the option {unknown[0]!r} is unknown here; was it made by a newer elman?")
    found = {}
    for name, field in names.items():
        if name in MADE_HERE:
            continue
        if name in doc.options:
            value = doc.options[name]
            if isinstance(value, list) and len(value) > MAX_LAYERS and name not in LOOSE:
                raise DataError(f"the option {name} has {len(value):,} entries; at most {MAX_LAYERS:,} are allowed")
            found[name] = value if name in LOOSE else _convert(value, hints[name], f"the option {name}")
        elif field.metadata["group"] != TRAINING and name not in ADDED:
            raise DataError(f"the option {name} is missing")
    if isinstance(rates := found.get("zoneout"), list):  # state=rate, as the file keeps a mapping
        found["zoneout"] = {state: float(rate) for state, _, rate in (str(pair).rpartition("=") for pair in rates)}
    return found


def summary_from(doc: Document) -> Summary | None:
    """How the training went, where the file says it."""
    return _convert(doc.training, Summary, "the summary of the training") if doc.training else None


def _convert(value: Any, kind: Any, what: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise DataError(f"{what} is not what it should be: {error}") from None


def vocabulary_from(doc: Document, name: str, *specials: str) -> Vocabulary:
    """The vocabulary `name`, which must have these special tokens (unknown, start, end) and no others."""
    if name not in doc.vocabularies:
        raise DataError(f"the vocabulary {name!r} is missing")
    vocabulary = Vocabulary.from_json_data(doc.vocabularies[name])
    for special in ("unknown", "start", "end"):
        if (getattr(vocabulary, special) is not None) != (special in specials):
            raise DataError(f"the vocabulary {name!r} must have {' and '.join(specials) or 'no special'} tokens")
    return vocabulary


def scaling_from(doc: Document, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean, scale) of every channel (I), as numbers that float32 can divide by."""
    if set(doc.scaling) != {"mean", "scale"} or any(len(numbers) != channels for numbers in doc.scaling.values()):
        raise DataError(f"the scaling must have a mean and a scale for each of the {channels} channels")
    mean, scale = (np.array(doc.scaling[name], np.float64) for name in ("mean", "scale"))
    limits = np.finfo(np.float32)
    if (
        not (np.abs(mean) <= limits.max).all()
        or not ((scale >= limits.smallest_subnormal) & (scale <= limits.max)).all()
    ):
        raise DataError("the scaling must have means and scales that float32 can hold, and scales above 0")
    return mean, scale


def layer_document(layer: Layer, residual: bool) -> LayerDocument:
    """What a model file says about a layer: its cell as it is in evaluation."""
    wide = layer.output_size * len(layer.directions)
    return LayerDocument(
        cell=layer.evaluation, input_size=layer.input_size, hidden_size=layer.hidden_size,
        output_size=layer.output_size, direction=layer.direction, residual=residual and wide == layer.input_size,
    )  # fmt: skip


def layers_of(module: nn.Module) -> list[Layer]:
    """The recurrent layers inside a module, in order."""
    return [m for m in module.modules() if isinstance(m, Layer)]


def recurrent_from(
    doc: Document,
    name: str,
    *,
    input_size: int | None,
    hidden_size: int | Sequence[int],
    num_layers: int,
    bidirectional: bool,
    residual: bool = False,
    zoneout: float | Mapping[str, float] = 0.0,
    **regularisers: Any,
) -> Recurrent:
    """The network `name` of the file, when it is the one that the options describe; input_size None: any.
    hidden_size: the units of every layer, or of each."""
    layers = doc.networks.get(name)
    if layers is None:
        raise DataError(f"the network {name!r} is missing")
    sizes = [layer.hidden_size for layer in layers]
    wanted = [hidden_size] * num_layers if isinstance(hidden_size, int) else list(hidden_size)
    if sizes != wanted or input_size not in (None, layers[0].input_size):
        raise DataError(f"the network {name!r} has other sizes than the options say")
    rates = Regularisers(zoneout=zoneout).rates
    recurrent = Recurrent(
        [TracedCell(without_zoneout(layer.cell, rates(layer.cell))) for layer in layers], layers[0].input_size,
        sizes, num_layers, bidirectional=bidirectional, residual=residual, zoneout=zoneout, **regularisers,
    )  # fmt: skip
    if tuple(layer_document(layer, residual) for layer in layers_of(recurrent)) != layers:
        raise DataError(
            f"the network {name!r} has other directions or residual layers, or another zoneout, than the options say"
        )
    return recurrent


@torch.no_grad()
def set_weights(module: nn.Module, tensors: Mapping[str, np.ndarray]) -> None:
    """Give a module on the meta device the weights of a file, in memory of its own, once all of them fit."""
    wanted = dict(module.named_parameters())  # a tied matrix once, by its first name
    if odd := sorted(set(wanted) ^ set(tensors)):
        raise DataError(f"the weight {odd[0]!r} is {'missing' if odd[0] in wanted else 'not part of the network'}")
    for name, parameter in wanted.items():
        tensor = tensors[name]
        if tensor.shape != tuple(parameter.shape) or tensor.dtype.kind != "f":
            came = f"{tensor.shape} of {tensor.dtype}"
            raise DataError(f"the weight {name!r} must have the shape {tuple(parameter.shape)}, not {came}")
    real: dict[int, nn.Parameter] = {}
    for name, parameter in wanted.items():
        weight = torch.from_numpy(tensors[name]).to(parameter.dtype, copy=True)
        if not weight.isfinite().all():
            raise DataError(f"the weight {name!r} holds numbers that are not finite")
        real[id(parameter)] = nn.Parameter(weight)
    for name, parameter in list(module.named_parameters(remove_duplicate=False)):
        place, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(place), leaf, real[id(parameter)])
