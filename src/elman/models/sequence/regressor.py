"""Regression of whole sequences: one number from a text or from a numeric series."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from elman.data.table import Table
from elman.errors import DataError
from elman.models.inputs import place
from elman.models.options import RegressorOptions, documented
from elman.models.sequence.sequence import Rows, SequenceEstimator
from elman.runtime.document import Document

FLOAT32 = float(np.finfo(np.float32).max)


@documented
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class SequenceRegressor(RegressorOptions, SequenceEstimator):
    """One number for a whole sequence, by squared error. The numbers' mean and deviation are kept in the model.

    fit: X and targets y (lists), a Table, or a Path with the columns `input` and `target`. A large file
    (`elman.data.pieces.LARGE`) is never held whole: its numbers lie on disk meanwhile.
    """

    task: ClassVar[str] = "regress"
    targets, unit, monitor, maximize = "numbers", "values", "mse", False

    mean_: float = dataclasses.field(init=False, repr=False)
    scale_: float = dataclasses.field(init=False, repr=False)

    # -- learning ------------------------------------------------------------------------------------------------------
    def _learn_targets(self, targets: Sequence[Any], where: Table | str) -> None:
        numbers = self._numbers(targets, where)
        self.mean_, self.scale_ = float(numbers.mean()), float(numbers.std()) or 1.0

    def _numbers(self, targets: Sequence[Any], where: Table | str) -> np.ndarray:
        found = np.empty(len(targets), np.float64)
        for i, target in enumerate(targets):
            try:
                found[i] = float(target)
            except (TypeError, ValueError):
                raise DataError(
                    f"{place(where, i)}: the number is {str(target)[:60]!r}, which is none; "
                    "`elman train classify` learns labels"
                ) from None
            if not abs(found[i]) <= FLOAT32:
                raise DataError(f"{place(where, i)}: the number is {found[i]:g}; it must be one that float32 can hold")
        return found

    @property
    def _outputs(self) -> int:
        return 1

    def _loss(self, outputs: Tensor, numbers: Tensor) -> Tensor:
        """Mean squared error of outputs (B, 1) in units of the training numbers' deviation."""
        wanted = ((numbers - self.mean_) / self.scale_).to(outputs.dtype)
        return nn.functional.mse_loss(outputs[:, 0], wanted)

    # -- use -----------------------------------------------------------------------------------------------------------
    def predict(self, X: Any) -> np.ndarray:
        """The number (N,) of each sequence, in the units of the training data."""
        return self._predicted(self._read(X))

    def _predicted(self, rows: Rows) -> np.ndarray:
        return self._output(rows)[:, 0].astype(np.float64) * self.scale_ + self.mean_

    def score(self, X: Any, y: Any = None) -> float:
        """R², the share of the variance that is explained (1 is perfect, 0 is as good as the mean)."""
        return self.evaluate(X, y)["r2"]

    def _figures(self, rows: Rows, numbers: np.ndarray) -> dict[str, float]:
        """loss, as in training: the mean squared error in deviations; mse and mae, the mean squared and the mean
        absolute error in the units of the data; r2."""
        error = self._predicted(rows) - numbers
        squared, variance = float(np.mean(error**2)), float(numbers.var())
        r2 = 1 - squared / variance if variance else float(squared == 0)
        return {"loss": squared / self.scale_**2, "mse": squared, "mae": float(np.abs(error).mean()), "r2": r2}

    # -- the model file ------------------------------------------------------------------------------------------------
    def _vocabularies(self) -> dict[str, Any]:
        return super()._vocabularies() | {"numbers": {"mean": self.mean_, "scale": self.scale_}}

    def _restore(self, doc: Document) -> None:
        numbers = doc.vocabularies.get("numbers", {})
        mean, scale = numbers.get("mean"), numbers.get("scale")
        if type(mean) is not float or type(scale) is not float or not (abs(mean) <= FLOAT32 and 0 < scale <= FLOAT32):
            raise DataError("the numbers must have a mean and a scale above 0 that float32 can hold")
        self.mean_, self.scale_ = mean, scale
        super()._restore(doc)
