"""What stands above the recurrent layers: pooling over the steps so far, and layers without recurrence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from elman.errors import ModelFileError
from elman.runtime import claims
from elman.runtime.claims import Array, Floats
from elman.runtime.document import Document

POOLED = ("classify", "regress")
"""Tasks whose answer is about all steps so far."""


class Head:
    """From the outputs of the layers, a step each, to logits (size,)."""

    def __init__(self, document: Document, tensors: Mapping[str, Array], level: str, size: int) -> None:
        width = document.networks["recurrent"][-1].output_size
        self.size = size
        self.pooling = claims.pooling(document, level) if document.task in POOLED else "every"
        if document.task == "language-model":
            tied = "output.weight" not in tensors
            names = [("embedding.weight" if tied else "output.weight", "output.bias", size)]
        elif document.task == "label-sets":
            at = "head.visible" if document.options.get("head") == "nade" else "head.logits"
            names = [(f"{at}.weight", f"{at}.bias", size)]
        else:
            hidden = document.options.get("head_sizes", [])
            if not isinstance(hidden, list) or not all(type(units) is int and units > 0 for units in hidden):
                raise ModelFileError("the option head_sizes must be whole numbers")
            places = ((f"head.{3 * k + 1}", units) for k, units in enumerate([*hidden, size]))  # see elman.nn.Head
            names = [(f"{at}.weight", f"{at}.bias", int(units)) for at, units in places]  # type: ignore[arg-type]
        self._count, self._gathered, self._pooled = 0, np.zeros(width, np.float32), np.zeros(width, np.float32)
        self._layers: list[tuple[Floats, Floats, Floats]] = []  # the last number: where its output is made
        for weight, bias, units in names:
            shapes = ((weight, (units, width)), (bias, (units,)))
            matrix, vector = (claims.weight(tensors, name, shape) for name, shape in shapes)
            self._layers.append((matrix, vector, np.zeros(units, np.float32)))
            width = units
        if document.task == "regress":  # its last layer gives numbers in deviations from the mean
            mean, scale = claims.numbers(document)
            matrix, vector, made = self._layers[-1]
            self._layers[-1] = (matrix * np.float32(scale), vector * np.float32(scale) + np.float32(mean), made)

    def reset(self) -> None:
        """Back to before the first step."""
        self._count = 0
        self._gathered[:] = 0

    @property
    def state(self) -> list[Floats]:
        """What was gathered so far: copies."""
        return [np.array([self._count], np.float32), self._gathered.copy()]

    @state.setter
    def state(self, state: Sequence[Floats]) -> None:
        self._count = int(state[0][0])
        self._gathered[:] = state[1]

    def one(self, a: Floats, logits: Floats) -> None:
        """Write the logits after one more step with the output `a`."""
        a = self._pool(a)
        for weight, bias, made in self._layers[:-1]:
            np.matmul(weight, a, out=made)
            np.add(made, bias, out=made)
            a = np.maximum(made, 0, out=made)
        weight, bias, _ = self._layers[-1]
        np.matmul(weight, a, out=logits)
        np.add(logits, bias, out=logits)

    def _pool(self, a: Floats) -> Floats:
        self._count += 1
        if self.pooling in ("every", "last"):
            return a
        if self.pooling == "max" and self._count > 1:
            np.maximum(self._gathered, a, out=self._gathered)
        else:  # the first step, too, of "max": all gathered is zeros, which may be larger
            np.add(self._gathered, a, out=self._gathered)
        if self.pooling == "mean":
            return np.divide(self._gathered, np.float32(self._count), out=self._pooled)
        return self._gathered


class Nade(Head):
    """Logits of labels that are told one after the other (`elman.nn.label_sets.Nade`), each given that those before it
    whose logits are above 0 are in the set: the set that is drawn when nothing is left to chance."""

    def __init__(self, document: Document, tensors: Mapping[str, Array], level: str, size: int) -> None:
        super().__init__(document, tensors, level, size)
        width, units = len(self._gathered), document.options.get("head_units")
        if type(units) is not int or units < 1:
            raise ModelFileError("the option head_units must be a whole number, 1 or more")
        shapes = {"hidden.weight": (units, width), "hidden.bias": (units,), "inputs": (size, units)}
        self._weight, self._bias, self._inputs, self._outputs = (
            claims.weight(tensors, f"head.{name}", shape)
            for name, shape in (*shapes.items(), ("outputs", (size, units)))
        )

    def one(self, a: Floats, logits: Floats) -> None:
        """Write the logits after one more step with the output `a`."""
        super().one(a, logits)
        units, alone, k = self._weight @ a + self._bias, logits.copy(), 0
        while k < self.size:  # the units change at labels of the set alone
            logits[k:] = alone[k:] + self._outputs[k:] @ (0.5 + 0.5 * np.tanh(0.5 * units))
            above = np.flatnonzero(logits[k:] > 0)
            if not len(above):
                return
            k += int(above[0]) + 1
            units += self._inputs[k - 1]


def head_of(document: Document, tensors: Mapping[str, Array], level: str, size: int) -> Head:
    """What stands above the model's recurrent layers."""
    nade = document.task == "label-sets" and document.options.get("head") == "nade"
    return (Nade if nade else Head)(document, tensors, level, size)
