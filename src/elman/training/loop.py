"""The training loop: batches in order, carried state, clipping, validation, best weights, resumable bit for bit.

A model hands itself over as a `Trainee`. Everything that decides the numbers to come is kept at step boundaries, so
that a run killed at any moment and resumed ends with the weights of the one that was not.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm

from elman.errors import ModelFileError, TrainingError
from elman.training.keeper import Keeper, Learner, identity
from elman.training.metrics import bits
from elman.training.observer import Observer
from elman.training.optimisers import averaged, learning_rate, make_optimizer, set_rate
from elman.training.options import Summary, TrainingOptions
from elman.training.pace import Pace, share_done
from elman.training.progress import Progress
from elman.training.state import Position, module_tensors, preserved_random, seed_all, set_module_tensors

LINES_PER_EPOCH, MAX_STEPS_PER_LINE = 20, 500

__all__ = ["Summary", "Trainee", "TrainingOptions", "fit"]


class Trainee(Protocol):
    """What the loop trains. It may also have `rate_factor(batch)`: by how much the learning rate of this step differs
    from the schedule's, a pure function of the batch."""

    # Read only here, so that plain attributes of any narrower type will do.
    @property
    def module(self) -> torch.nn.Module:
        """What has the weights."""
        ...

    @property
    def unit(self) -> str:
        """What is counted: 'characters', 'words', 'sequences', 'tokens'."""
        ...

    @property
    def monitor(self) -> str:
        """The validation figure that decides what is best, such as 'loss' or 'accuracy'."""
        ...

    @property
    def maximize(self) -> bool:
        """True where more of it is better."""
        ...

    def epoch(self, number: int) -> Sequence[Any]:
        """The batches of an epoch (from 0) in order: a pure function of the number, so that a resumed run can skip."""
        ...

    def loss(self, batch: Any, carry: Any) -> tuple[Tensor, int, Any]:
        """The mean loss per unit (a scalar to differentiate), the number of units, and what to carry to the next batch:
        None or nested tuples of detached tensors. `carry` is None at the start of an epoch."""
        ...

    def validate(self) -> dict[str, float]:
        """Figures on validation data ('loss' among them), {} where there is none. Called in eval mode, without grad."""
        ...


def fit(
    trainee: Trainee,
    options: TrainingOptions,
    *,
    folder: Path | None = None,
    resume: bool = False,
    fingerprint: Mapping[str, Any] = {},
    progress: Progress | None = None,
) -> Summary:
    """Train; afterwards `trainee.module` holds the best weights (the last ones where nothing is validated).

    folder: where log, checkpoints, best weights and learning curve go; resume: go on from its last checkpoint.
    fingerprint: what else must be the same when resuming (the model's options, the data's identity), as JSON.
    The global random generators are seeded with `options.seed` and put back at the end.

    Raises TrainingError where the loss, the gradient or the weights become NaN or infinite, or where the run cannot be
    resumed with these options; ModelFileError for a damaged checkpoint. Ctrl-C saves a checkpoint at the end of the
    step, then raises KeyboardInterrupt; a second Ctrl-C does not wait.
    """
    progress = progress or Progress()
    whole = {
        **fingerprint,
        **identity(options),
        "unit": trainee.unit,
        "monitor": trainee.monitor,
        "maximize": trainee.maximize,
    }
    path = None if folder is None else Path(folder)
    with ExitStack() as stack:
        learner = _learner(trainee, options)
        stack.enter_context(preserved_random(learner.device))
        stack.callback(trainee.module.train, trainee.module.training)
        keeper = Keeper(path, resume=resume, fingerprint=whole, progress=progress)
        stack.callback(keeper.close)
        seed_all(options.seed)
        at = keeper.begin(learner, options)
        return _Run(trainee, options, learner, keeper, at, progress).go(stack.enter_context(_Interrupt()))


def _learner(trainee: Trainee, options: TrainingOptions) -> Learner:
    parameters = [p for p in trainee.module.parameters() if p.requires_grad]
    if not parameters:
        raise TrainingError("the model has no weights to train (every parameter has requires_grad=False)")
    for parameter in parameters:
        parameter.grad = None
    return Learner(trainee.module, parameters, make_optimizer(parameters, options), parameters[0].device)


class _Interrupt:
    """Ctrl-C as a flag that the loop reads at step boundaries, so that the checkpoint it writes is exact."""

    def __init__(self) -> None:
        self.asked = False
        main = threading.current_thread() is threading.main_thread()
        self._ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def __enter__(self) -> _Interrupt:
        if self._ours:
            signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class _Run:
    """One call of `fit`, from the position `at`."""

    def __init__(
        self,
        trainee: Trainee,
        options: TrainingOptions,
        learner: Learner,
        keeper: Keeper,
        at: Position,
        progress: Progress,
    ) -> None:
        self.trainee, self.options, self.learner, self.keeper, self.progress = (
            trainee,
            options,
            learner,
            keeper,
            progress,
        )
        self.at, self.pace = at, Pace(options, trainee.unit, at.seconds)
        self.batches = 0  # in the epoch at hand
        self.rate = self.rate_set = math.nan
        self.rate_factor = getattr(trainee, "rate_factor", lambda batch: 1.0)
        self.unsaved, self.saved_step, self.saved_seconds, self.shown = not at.step, at.step, at.seconds, at.seconds
        self.observer = None if options.diagnose is None else self._observer(options.diagnose)

    def go(self, interrupt: _Interrupt) -> Summary:
        """Train until there is a reason to stop; what it came to."""
        summary: Summary | None = None
        self.trainee.module.train()
        self.progress.start(self.options.epochs)
        try:
            why = self._why_stop()
            while not why:
                why = self._epoch(interrupt)
            summary = self._finish(why)
        except TrainingError:
            if self.learner.best is not None:
                set_module_tensors(self.trainee.module, self.learner.best, "the best weights")
            raise
        finally:
            self.progress.stop(summary)
            self.keeper.draw()
        return summary

    def _epoch(self, interrupt: _Interrupt) -> str:
        """From the position to the end of its epoch; why training stops, '' where it does not."""
        at, options, batches = self.at, self.options, self._load_epoch()
        every = min(MAX_STEPS_PER_LINE, max(1, self.batches // LINES_PER_EPOCH))
        for index in range(at.batch, self.batches):
            self._step(batches[index])
            at.seconds = self.pace.now()
            ended = at.batch == self.batches
            if self.observer is not None and self.observer.due(at.step, at.seconds):
                self._observe(self.observer)
            why = self._why_stop(ended)
            check = bool(why) or (ended if options.validate_every is None else at.step % options.validate_every == 0)
            if check or ended or at.batch % every == 0:
                self._line(check)
                why = why or self._why_stop(ended)
            if ended:
                at.epoch, at.batch, at.epoch_loss, at.epoch_units, self.learner.carry = at.epoch + 1, 0, 0.0, 0, None
            if self._due() or interrupt.asked:
                self._checkpoint()
            if at.seconds - self.shown >= self.progress.seconds:
                self.shown = at.seconds
                self.progress.step(self.pace.report(at, self.batches, self.rate))
            if interrupt.asked:
                raise KeyboardInterrupt
            if why:
                return why
        return ""

    def _load_epoch(self) -> Sequence[Any]:
        at = self.at
        with preserved_random(self.learner.device):
            batches = self.trainee.epoch(at.epoch)
        self.batches = len(batches)
        if not self.batches:
            raise TrainingError(f"epoch {at.epoch + 1} has no batches: there is no data to train on")
        if at.batch >= self.batches:
            raise ModelFileError(
                f"the checkpoint stands at batch {at.batch} of epoch {at.epoch + 1}, which has {self.batches}"
            )
        self.pace.begin(share_done(at, self.batches, self.options))
        return batches

    def _step(self, batch: Any) -> None:
        """One step: loss, gradient, its norm, clipping, the optimiser. Counts what the log needs."""
        at, options, learner = self.at, self.options, self.learner
        self.rate = learning_rate(options, at.step, at.epoch + at.batch / self.batches, at.reductions)
        rate = self.rate * self.rate_factor(batch)
        if rate != self.rate_set:
            self.rate_set = rate
            set_rate(learner.optimizer, rate)
        loss, units, learner.carry = self.trainee.loss(batch, learner.carry)
        value = loss.item()
        if not math.isfinite(value):
            self._fail(f"the loss is {value} at step {at.step + 1}")
        loss.backward()  # type: ignore[no-untyped-call]
        total = get_total_norm([p.grad for p in learner.parameters if p.grad is not None])
        norm = total.item()
        if not math.isfinite(norm):
            self._fail(f"the gradient norm is {norm} at step {at.step + 1}, where the loss is {value:.6g}")
        clipped = options.clip_norm is not None and norm + 1e-6 > options.clip_norm  # otherwise it would multiply by 1
        if clipped and options.clip_norm is not None:
            clip_grads_with_norm_(learner.parameters, options.clip_norm, total)
        if options.clip_value is not None:
            clip_grad_value_(learner.parameters, options.clip_value)
        learner.optimizer.step()
        for parameter in learner.parameters:
            parameter.grad = None
        self.unsaved = True
        at.count(value, units, norm, clipped)
        self.pace.step(value, units, norm)

    def _observer(self, every: int) -> Observer:
        """What looks at the gradient inside the network, on the first batch of the first epoch."""
        with preserved_random(self.learner.device):
            first = self.trainee.epoch(0)[0]
        return Observer(self.trainee.module, lambda: self.trainee.loss(first, None)[0], every)

    def _observe(self, observer: Observer) -> None:
        """A line of the log about it; the time is not that of the steps."""
        began = self.pace.now()
        if found := observer.look(self.at.step, self.learner.device):
            self.keeper.log.write({"step": self.at.step, "diagnosis": found})
        self.at.seconds = self.pace.now()
        self.at.line_seconds += self.at.seconds - began
        self.pace.pause(self.at.seconds - began)
        self.pace.memory = observer.memory

    def _why_stop(self, ended: bool = False) -> str:
        """Why to stop here; `ended`: the epoch is done, but not counted yet."""
        at, options = self.at, self.options
        if at.epoch + ended >= options.epochs:
            return "epochs"
        if options.patience is not None and at.since_best >= options.patience:
            return "patience"
        return "time" if options.max_seconds is not None and at.seconds >= options.max_seconds else ""

    def _fail(self, what: str) -> NoReturn:
        norms = ", ".join(f"{norm:.3g}" for norm in self.at.norms) or "none yet"
        clip = "none" if self.options.clip_norm is None else f"{self.options.clip_norm:g}"
        raise TrainingError(
            f"{what}; the last gradient norms were {norms}: train again with a lower --lr (now {self.options.lr:g}) "
            f"or --clip-norm (now {clip}){self.keeper.failure(self.learner, self.at)}"
        )

    def _line(self, check: bool) -> None:
        """A line of the log, with validation figures where it is time to `check`."""
        at = self.at
        spent, loss = at.seconds - at.line_seconds, at.loss_sum / max(1, at.units)
        line: dict[str, Any] = {
            "step": at.step,
            "epoch": round(at.epoch + at.batch / self.batches, 6),
            "loss": loss,
            "bits": bits(loss),
            "unit": self.trainee.unit,
            "units_per_second": at.units / spent if spent > 0 else None,
            "gradient_norm": at.norm_sum / max(1, at.steps),
            "gradient_norm_max": at.norm_max,
            "lr": self.rate,
            "seconds": at.seconds,
        }
        at.train_loss = at.epoch_loss / max(1, at.epoch_units)
        if check and (figures := self._validate()):
            line["validation"] = figures
        self.keeper.log.write(line)
        at.loss_sum, at.units, at.steps, at.norm_sum, at.norm_max = 0.0, 0, 0, 0.0, 0.0
        at.line_seconds = at.seconds

    def _validate(self) -> dict[str, float]:
        """Validate, judge the figures, show them; {} where there is no validation data."""
        at, module, began = self.at, self.trainee.module, self.pace.now()
        with preserved_random(self.learner.device), averaged(self.learner.optimizer), torch.no_grad():
            module.eval()
            try:
                figures = {str(name): float(value) for name, value in self.trainee.validate().items()}
            finally:
                module.train()
            better = bool(figures) and self._judge(figures)
        at.validated_step, at.seconds = at.step, self.pace.now()
        self.pace.pause(at.seconds - began)
        if figures:
            at.last = figures
            self.progress.validated(self.pace.report(at, self.batches, self.rate, at.train_loss), figures, better)
        elif self.options.schedule == "plateau":
            self.progress.note("there is no validation data, so schedule 'plateau' leaves the learning rate as it is")
        return figures

    def _judge(self, figures: dict[str, float]) -> bool:
        """Whether these are the best figures so far; keeps the weights that gave them."""
        at, monitor = self.at, self.trainee.monitor
        if monitor not in figures:
            raise TrainingError(f"validation gives {', '.join(figures)}, but not the figure to monitor, {monitor!r}")
        value, best = figures[monitor], at.best.get(monitor)
        better = best is None or (value > best if self.trainee.maximize else value < best)
        # Of little validation data many weights make the same share right: the surer ones are better.
        tie = value == best and figures.get("loss", math.inf) < at.best.get("loss", -math.inf)
        if math.isfinite(value) and (better or tie):
            at.best, at.best_step, at.since_best, at.since_cut = figures, at.step, 0, 0
            self.learner.best = module_tensors(self.trainee.module)
            return True
        at.since_best, at.since_cut = at.since_best + 1, at.since_cut + 1
        if self.options.schedule == "plateau" and at.since_cut >= self.options.decay_every:
            at.reductions, at.since_cut = at.reductions + 1, 0
        return False

    def _due(self) -> bool:
        """Whether it is time for a checkpoint."""
        steps, at = self.options.checkpoint_steps, self.at
        if self.keeper.folder is None:
            return False
        by_steps = steps is not None and at.step - self.saved_step >= steps
        return by_steps or at.seconds - self.saved_seconds >= self.options.checkpoint_seconds

    def _checkpoint(self) -> None:
        """Save the run as it stands. Weights that are not finite are never saved: the checkpoint before stays."""
        if not math.isfinite(get_total_norm([p.detach() for p in self.learner.parameters], math.inf).item()):
            self._fail(f"the weights are not finite any more after step {self.at.step}")
        began = self.pace.now()
        self.keeper.save(self.learner, self.at)
        self.at.seconds = self.saved_seconds = self.pace.now()
        self.at.line_seconds += self.saved_seconds - began
        self.pace.pause(self.saved_seconds - began)
        self.unsaved, self.saved_step = False, self.at.step

    def _finish(self, why: str) -> Summary:
        """Save, and put the best weights into the module: the averages, where nothing was validated."""
        at, module = self.at, self.trainee.module
        if at.validated_step != at.step:  # a resumed run that has nothing left to do, for which a validation is due
            self._validate()
            self.unsaved = True
        if self.unsaved:
            self._checkpoint()
        if self.learner.best is None:
            with averaged(self.learner.optimizer):
                final = module_tensors(module)
        else:
            final = self.learner.best
        set_module_tensors(module, final, "the best weights")
        last = dict(at.last) if at.train_loss is None else {"train_loss": at.train_loss, **at.last}
        best_step = at.best_step if at.best else at.step
        return Summary(at.step, at.epoch, at.seconds, dict(at.best), best_step, last, why, at.clipped / max(1, at.step))
