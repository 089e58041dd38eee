"""What the estimators share: options as attributes, fit through the training loop, one-file models."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

import elman
from elman import cells
from elman.cells import TracedCell
from elman.diagnosis import Probe
from elman.errors import DataError, ElmanError, ModelFileError, OptionError, did_you_mean
from elman.models import restoring
from elman.models.large import room
from elman.models.options import REGULARISERS, EstimatorOptions, fields
from elman.nn import Recurrent
from elman.nn.init import chrono_
from elman.nn.noise import Regularisers
from elman.nn.recurrent import Layer
from elman.runtime import document, model_file
from elman.training.loop import Trainee, fit
from elman.training.options import Summary, TrainingOptions
from elman.training.progress import Progress

Lesson: TypeAlias = "tuple[Trainee, Iterable[np.ndarray | str]]"
TRAINING = tuple(f.name for f in dataclasses.fields(TrainingOptions))


@dataclasses.dataclass(kw_only=True, eq=False)
class Estimator(EstimatorOptions, ABC):
    """An estimator keeps its options as they are given; `fit` learns, `save` writes one file, `load` reads it."""

    task: ClassVar[str]
    networks: ClassVar[tuple[str, ...]] = ("recurrent",)
    """The parts of `module_` whose layers have the cells of the option `cell`."""

    # -- options, in scikit-learn's manner -----------------------------------------------------------------------------
    @classmethod
    def option_names(cls) -> list[str]:
        """Every option of this estimator."""
        return [f.name for f in dataclasses.fields(cls) if f.init]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The options by name."""
        return {name: getattr(self, name) for name in self.option_names()}

    def set_params(self, **options: Any) -> Self:
        """Change options by name; OptionError for an unknown one."""
        for name, value in options.items():
            if name not in self.option_names():
                raise OptionError(
                    f"{type(self).__name__} has no option {name!r}{did_you_mean(name, self.option_names())}"
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {f.name: f.default for f in dataclasses.fields(self) if f.init}
        changed = [f"{n}={v!r}" for n, v in self.get_params().items() if defaults[n] is not v and defaults[n] != v]
        return f"{type(self).__name__}({', '.join(changed)})"

    def training_options(self) -> TrainingOptions:
        """The options of the loop, checked."""
        return TrainingOptions(**{name: getattr(self, name) for name in TRAINING})

    def check(self) -> None:
        """Raises OptionError for options that cannot work, before anything is read or built."""
        self._check_whole("hidden_size", "num_layers", "batch_size")
        self._check_whole("chrono", least=3, optional=True)
        if self.num_layers >= document.MAX_LAYERS:  # the letters of a tagger have one more
            raise OptionError(f"--num-layers must be below {document.MAX_LAYERS:,}, not {self.num_layers:,}")
        self._check_share("dropout", "valid_fraction", *(name for name in REGULARISERS if name != "zoneout"))
        for field in fields(type(self)):
            value, kind = getattr(self, field.name), str(field.type)
            if kind.startswith("bool") and type(value) is not bool and not (value is None and "None" in kind):
                raise OptionError(f"--{field.name.replace('_', '-')} must be true or false, not {value!r}")
        each = [self.cell] if isinstance(self.cell, str) or not isinstance(self.cell, Sequence) else self.cell
        regularisers = Regularisers(**{name: getattr(self, name) for name in REGULARISERS})
        regularisers.check([cells.named(one).program for one in each])
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise OptionError(f"--device {self.device!r} cannot be used: {str(error).splitlines()[0]}") from None
        self.training_options()

    def _check_whole(self, *names: str, least: int = 1, optional: bool = False) -> None:
        """OptionError unless these options are whole numbers, or None where that is allowed."""
        for name in names:
            value = getattr(self, name)
            if not (value is None and optional) and (type(value) is not int or value < least):
                none = ", or none" if optional else ""
                flag = name.replace("_", "-")
                raise OptionError(f"--{flag} must be a whole number, {least} or more{none}, not {value!r}")

    def _check_share(self, *names: str) -> None:
        """OptionError unless these options are numbers from 0 to below 1."""
        for name in names:
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < 1:
                raise OptionError(f"--{name.replace('_', '-')} must be a number from 0 to below 1, not {value!r}")

    def _check_amount(self, *names: str) -> None:
        """OptionError unless these options are finite numbers, 0 or more."""
        for name in names:
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise OptionError(f"--{name.replace('_', '-')} must be a number, 0 or more, not {value!r}")

    def _check_sizes(self, name: str) -> None:
        """OptionError unless the option is a list of whole numbers, 1 or more, and not longer than a file may say."""
        value = getattr(self, name)
        if not isinstance(value, list | tuple) or any(type(size) is not int or size < 1 for size in value):
            raise OptionError(f"--{name.replace('_', '-')} must be whole numbers such as 64,32, not {value!r}")
        if len(value) > document.MAX_LAYERS:
            raise OptionError(
                f"--{name.replace('_', '-')} has {len(value):,} layers; at most {document.MAX_LAYERS:,} are allowed"
            )

    # -- training ------------------------------------------------------------------------------------------------------
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        valid: Any = None,
        folder: Path | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        """Learn from X, and targets y where the task has any; what they may be, the class says.

        valid: the same, (X, y) where there are two, that decides which weights are kept; default: `valid_fraction` of
        the data. folder, resume, progress: see `elman.training.fit`.
        """
        self.check()
        self.__dict__.pop("module_", None)
        with ExitStack() as stack:
            trainee, data = self._learn(X, y, valid, lambda: stack.enter_context(room(folder)))
            self._train(trainee, data, folder, resume, progress)
        return self

    def _learn(self, X: Any, y: Any, valid: Any, place: Callable[[], Path]) -> Lesson:
        """Read the data and build `module_`: what the loop trains, and what the data are known by when a run is
        resumed. place: makes a folder for what is too large for memory; it lasts as long as the training. A child has
        this, or a `fit` of its own."""
        raise NotImplementedError

    def _train(
        self,
        trainee: Trainee,
        data: Iterable[np.ndarray | str],
        folder: Path | None,
        resume: bool,
        progress: Progress | None,
    ) -> Summary:
        """Run the loop; the module is then in evaluation mode, with the best weights."""
        fingerprint = {
            "task": self.task,
            "data": digest(data),
            "vocabularies": digest([json.dumps(self._vocabularies())]),
            **{n: _plain(v) for n, v in self.get_params().items() if n not in TRAINING},
            "cell": [layer.program.name for layer in restoring.layers_of(trainee.module)],
        }
        options = self.training_options()
        try:
            self.summary_ = fit(
                trainee, options, folder=folder, resume=resume, fingerprint=fingerprint, progress=progress
            )
        finally:
            self.module_.eval()  # also after Ctrl-C or a loss that is NaN
        return self.summary_

    @abstractmethod
    def to_judge(self, X: Any, y: Any = None) -> Any:
        """The data as `evaluate` is given them, read for it and checked: DataError for whatever it would refuse."""

    # -- diagnosis -----------------------------------------------------------------------------------------------------
    def probe(self, X: Any, y: Any = None, *, sequences: int = 16, steps: int = 256) -> Probe:
        """Up to so many sequences of the data, and steps of a text, with the loss on them: what `elman.diagnose`
        looks at. The data as `evaluate` takes them."""
        self._need_fit()
        loss, symbols = self._sample(X, y, sequences, steps)
        training = {"clip_norm": self.clip_norm, "lr": self.lr, **self._truncation()}
        if "summary_" in self.__dict__:
            training["clipped"] = self.summary_.clipped
        named = symbols if isinstance(symbols, Mapping) else {"recurrent": symbols}
        return Probe(self.module_, loss, named, training, type(self).__name__)

    @abstractmethod
    def _sample(
        self, X: Any, y: Any, sequences: int, steps: int
    ) -> tuple[Callable[[], Tensor], Sequence[Sequence[str]] | Mapping[str, Sequence[Sequence[str]]]]:
        """(the loss on the first sequences of the data, what stands at each step of each of them, where that is known;
        by network where there are several). Random numbers for regularisers alone: it is called in evaluation mode."""

    def _truncation(self) -> dict[str, Any]:
        """After how many steps training cuts the gradient, where it does: {"bptt": steps}."""
        return {}

    def _seeded(self) -> Any:
        """A context in which fresh weights depend on the seed alone, and the global generator is left as it was."""
        return _Seeded(self.seed)

    # -- the model file ------------------------------------------------------------------------------------------------
    module_: nn.Module = dataclasses.field(init=False, repr=False)
    summary_: Summary = dataclasses.field(init=False, repr=False)

    @property
    def fitted(self) -> bool:
        """True once `fit` or `load` has given it weights."""
        return "module_" in self.__dict__

    def _need_fit(self) -> None:
        if not self.fitted:
            raise OptionError(f"this {type(self).__name__} has no weights yet: call fit, or load a model file")

    @abstractmethod
    def _vocabularies(self) -> dict[str, Any]:
        """What the model file keeps of the data: vocabularies by name, as plain data."""

    @abstractmethod
    def _restore(self, doc: document.Document) -> None:
        """Build `module_` and all that belongs to it from a document, with its weights still on the meta device."""

    def _layer_options(self) -> dict[str, Any]:
        """What every recurrent layer of the network takes."""
        return {name: getattr(self, name) for name in ("dropout", "residual", *REGULARISERS)}

    def _recurrent(
        self, input_size: int, hidden_size: int | Sequence[int] | None = None, *, bidirectional: bool = False
    ) -> Recurrent:
        """New recurrent layers as the options say."""
        recurrent = Recurrent(
            self.cell, input_size, hidden_size or self.hidden_size, self.num_layers, bidirectional=bidirectional,
            **self._layer_options(),
        )  # fmt: skip
        if self.chrono is not None:
            chrono_(recurrent, self.chrono)
        return recurrent

    def recurrent_layers(self, network: str) -> list[Layer]:
        """The layers of one of `networks`, lowest first."""
        return restoring.layers_of(self.module_.get_submodule(network))

    def _recurrent_from(
        self, doc: document.Document, input_size: int | None, sizes: Sequence[int] | None = None
    ) -> Recurrent:
        """The network "recurrent" of a document, when it is the one that the options describe; sizes: the units of each
        layer where they are not all hidden_size."""
        return restoring.recurrent_from(
            doc, "recurrent", input_size=input_size, hidden_size=sizes or self.hidden_size,
            num_layers=self.num_layers, bidirectional=getattr(self, "bidirectional", False), **self._layer_options(),
        )  # fmt: skip

    def _scaling(self) -> dict[str, list[float]]:
        return {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as one file, whole or not at all. Raises ModelFileError where it cannot be written."""
        self._need_fit()
        networks = {
            name: tuple(restoring.layer_document(layer, module.residual) for layer in restoring.layers_of(module))
            for name, module in self.module_.named_children()
            if isinstance(module, Recurrent)
        }
        options = {n: _plain(v) for n, v in self.get_params().items() if n != "cell"}
        options["cell"] = [layer.program.name for layer in restoring.layers_of(self.module_)]
        training = dataclasses.asdict(self.summary_) if "summary_" in self.__dict__ else {}
        doc = document.Document(
            format=document.FORMAT, elman=elman.__version__, task=self.task, networks=networks, options=options,
            vocabularies=self._vocabularies(), scaling=self._scaling(), training=training,
        )  # fmt: skip
        model_file.save(path, doc, {n: p.detach().cpu().numpy() for n, p in self.module_.named_parameters()})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The estimator of a model file, ready to predict. Raises ModelFileError for any file that is not one."""
        return cls.restored(path, *model_file.load(path, task=cls.task))

    @classmethod
    def restored(cls, path: str | os.PathLike[str], doc: document.Document, tensors: Mapping[str, np.ndarray]) -> Self:
        """The estimator of a document and its tensors, as `elman.runtime.load` reads them from `path`."""
        try:
            estimator = cls(**restoring.options_from(doc))
            estimator.cell = [TracedCell(layer.cell) for layer in doc.networks.get(cls.networks[0], ())]
            estimator.check()
            with torch.device("meta"):  # where a claim of any size costs nothing
                estimator._restore(doc)
            restoring.set_weights(estimator.module_, tensors)
            if set(doc.networks) != {n for n, m in estimator.module_.named_children() if isinstance(m, Recurrent)}:
                raise DataError("there is a network that is not part of the model")
            programs = [[layer.program for layer in estimator.recurrent_layers(name)] for name in cls.networks]
            if any(own != programs[0] for own in programs):
                raise DataError(f"the networks {' and '.join(cls.networks)} have different cells")
            estimator.cell = [TracedCell(program) for program in programs[0]]
            if summary := restoring.summary_from(doc):
                estimator.summary_ = summary
        except (ElmanError, TypeError, ValueError, KeyError, OverflowError, RuntimeError) as error:
            raise ModelFileError(
                f"cannot load {os.fspath(path)!r}: its parts do not fit together ({document.short(error)})"
            ) from None
        estimator.module_.eval()
        return estimator


class _Seeded:
    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __enter__(self) -> None:
        self.state = torch.get_rng_state()
        torch.manual_seed(self.seed)

    def __exit__(self, *_: object) -> None:
        torch.set_rng_state(self.state)


def digest(parts: Iterable[np.ndarray | str]) -> str:
    """The identity of the data: a run may be resumed on the same data only."""
    total = hashlib.sha256()
    for part in parts:
        array = np.frombuffer(part.encode("utf-8", "surrogatepass"), np.uint8) if isinstance(part, str) else part
        total.update(str((array.dtype, array.shape)).encode())
        total.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return total.hexdigest()[:16]


def _plain(value: Any) -> Any:
    """An option as plain data for fingerprints and model files."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return [f"{k}={v}" for k, v in value.items()]
    if isinstance(value, Sequence):
        return [_plain(v) for v in value]
    return getattr(value, "name", str(value))


def initial_embedding(count: int, size: int) -> nn.Embedding:
    """Small normal weights; none on the meta device, where torch would import its compiler only to fill nothing."""
    if torch.get_default_device().type == "meta":
        return nn.Embedding(count, size, _weight=torch.empty(count, size))
    embedding = nn.Embedding(count, size)
    nn.init.normal_(embedding.weight, std=0.1)
    return embedding


def initial_linear(linear: nn.Linear) -> nn.Linear:
    """Glorot weights and zero biases, as the recurrent layers' inputs have."""
    nn.init.xavier_uniform_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear


def as_tensor(array: np.ndarray, like: Tensor) -> Tensor:
    """A numpy array on the device of `like`."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.device)


@torch.no_grad()
def set_vectors(embedding: nn.Embedding, vectors: np.ndarray) -> None:
    """The vectors (V, D) of a file, but for rows of zeros: words that the file does not have keep their own."""
    found = as_tensor(vectors, embedding.weight)
    embedding.weight.copy_(torch.where((found != 0).any(1, keepdim=True), found, embedding.weight))
