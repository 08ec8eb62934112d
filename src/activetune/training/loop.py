"""The one training loop: batches of streams through the whole network, on accelerate, in one process or several.

Every random choice follows from the seed and from where in the training it is made, never from what ran before:

- the stream of a step from (seed, step), the order of an epoch and each item's crop and flip from (seed, epoch, item);
- dropout and stochastic depth from (seed, step, rank), set before a step: torch's global state.

So a run that goes on from a checkpoint is the uninterrupted run, whatever the number of decoding workers. There is one
after each epoch, and where a signal ends the run, one of the steps up to there.
Several processes share each batch (``batches.py``) and count it as a whole: the loss is divided by the whole batch's
weight, gradients are added up, validation is gathered, the first process alone writes. Their weights are those of one
process up to rounding; where units are dropped at random they differ, as each process draws for its own items, and
batch norms see the whole batch on GPUs alone, where they are synchronised. The steps themselves: ``steps.py``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from activetune.base.interrupts import signals_wait
from activetune.base.launch import OthersEnded
from activetune.base.progress import note, progress
from activetune.evaluation.estimate import estimate_by
from activetune.evaluation.metrics import Measured, told_score
from activetune.networks.regression import best_trial
from activetune.training.job import Job, Outcome
from activetune.training.network_state import between, copied, take_up, trained_state
from activetune.training.output import Checkpoint
from activetune.training.settings import Optimisation, Training
from activetune.training.steps import Steps
from activetune.training.streams import Course, Stream, stream_of
from activetune.training.validation import has_stalled, is_better, validated


@dataclass(frozen=True)
class InterpolationTrial(Measured):
    """How well a network between two others did on held-out items.

    Attributes:
        interpolation: its place on the line from the start of the training, 0, to its end, 1.
    """

    interpolation: float = field(kw_only=True)


def train(job: Job, options: Training, *, phase: str, stop_after: int | None = None) -> Outcome:
    """Train those of ``job.network``'s weights that want a gradient, on the items that are not held out.

    Args:
        phase: the name of this training in the history and in the checkpoint's file name.
        stop_after: epochs after which to stop, on the schedule of all ``options.epochs``.
    """
    stream = stream_of(job, options)
    return fit(job, [stream], course_of(stream, options), options, phase=phase, stop_after=stop_after)


def course_of(stream: Stream, options: Training) -> Course:
    """So many epochs of a stream's batches, the learning rate rising over the first."""
    steps = stream.batches.count
    warmup = int(min(options.warmup_epochs, options.epochs / 2) * steps)
    return Course(steps, options.epochs, warmup=warmup, patience=options.patience)


def fit(
    job: Job,
    streams: Sequence[Stream],
    course: Course,
    options: Optimisation,
    *,
    phase: str,
    stop_after: int | None = None,
) -> Outcome:
    """Train the job's network on batches of streams, along a course.

    With held-out items in the first stream the best epoch by their primary metric is kept, otherwise the last one, and
    then the best interpolation; with ``ema`` it is the averaged weights that are validated and kept.

    Args:
        job: the network, the runtime, the seed, and the folder of the checkpoint. streams: at least one.
        phase, stop_after: see :func:`train`.

    Raises:
        NotFinite: a loss, weight or output is no longer a finite number; the last checkpoint stays.
    """
    run = _Run(job, streams, course, options, phase)
    last = min(course.epochs, stop_after or course.epochs)
    label = course.label or phase
    with progress(course.until(last), label, unit="steps", done=run.done, quiet=job.quiet) as meter:
        while run.epoch < last and not run.stalled:
            with run.kept_on_signals():
                row = run.one_epoch(meter.advance)
                run.save()
            job.track(run.history)
            metric = run.measured.removeprefix("val_")
            found = f", validation {told_score(metric, row[run.measured], 1)}" if run.measured in row else ""
            note(f"{label}: {course.told(run.epoch, last)}, loss {row['train_loss']:.4f}{found}", job.quiet)
    return run.finish()


class _Run:
    """The state of one training run.

    Attributes:
        spent: seconds that runs before this one have spent on the epoch that they did not finish.
    """

    def __init__(self, job: Job, streams: Sequence[Stream], course: Course, options: Optimisation, phase: str):
        self.job, self.streams, self.course, self.options, self.phase = job, streams, course, options, phase
        self.epoch, self.spent = 0, 0.0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.start = None if options.interpolation == (1.0,) else copied(trained_state(job.network))
        self.measured = streams[0].task.column
        self.steps = Steps(job, streams, course, options, phase)
        self.checkpoint = Checkpoint.of(job, streams, options, phase)
        if job.resume:
            self._restore()

    @property
    def done(self) -> int:
        """Steps that were made."""
        return self.course.until(self.epoch) + sum(one.steps for one in self.steps.told)

    # An epoch -----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def kept_on_signals(self) -> Iterator[None]:
        """An epoch; where a signal ends it, its steps up to there are kept, to be gone on with."""
        epoch, rows, started = self.epoch, len(self.history), time.perf_counter()
        try:
            yield
        except (KeyboardInterrupt, OthersEnded):
            if self.steps.whole:
                if len(self.history) > rows:  # it was over, and was about to be saved
                    self._begin_anew()
                else:
                    self.epoch = epoch
                    self.spent += time.perf_counter() - started
                with signals_wait(launched=self.steps.world > 1):
                    self._write()
                label, total = self.course.label or self.phase, self.course.total
                note(f"{label}: the state after step {self.done:,} of {total:,} is kept", self.job.quiet)
            raise

    def one_epoch(self, advance: Callable[[], None]) -> dict[str, Any]:
        """Train for an epoch and validate; returns the row of the history."""
        started = time.perf_counter()
        loss = self.steps.epoch(self.epoch, advance)
        self.epoch += 1
        row: dict[str, Any] = {
            "phase": self.phase,
            "epoch": self.epoch,
            "lr": self.steps.rate,
            "train_loss": loss,
            **self.steps.parts,
            **self.course.columns(),
        }
        row["seconds"] = round(self.spent + time.perf_counter() - started, 3)
        if len(self.streams[0].held_out):
            started = time.perf_counter()
            found = self._validate(self.steps.averaged())
            row[self.measured], row["val_loss"] = found.value, found.loss
            row |= {f"val_{name}": value for name, value in found.beside.items()}
            if is_better(found, self.best):
                state = copied(self.steps.averaged_state())
                told = self._estimate(found, "the epoch that is kept")
                best = {"value": found.value, "loss": found.loss, "epoch": self.epoch, "state": state}
                self.best = {**best, **told}
            row["val_seconds"] = round(time.perf_counter() - started, 3)
        self.history.append(row)
        return row

    # Validation ---------------------------------------------------------------------------------------------------

    def _validate(self, network: nn.Module) -> Measured:
        """Scores on the held-out items of the first stream."""
        settings, runtime = self.job.backbone.settings, self.job.runtime
        about = f"after epoch {self.epoch} ({self.phase})", self.steps.remedy
        return validated(network, self.streams[0], settings, runtime, about=about)

    @property
    def stalled(self) -> bool:
        """Whether validation says that training should end."""
        return has_stalled(self.history, self.course.patience)

    # The end, and the checkpoint ----------------------------------------------------------------------------------

    def finish(self) -> Outcome:
        """Put the kept weights into the network."""
        figures: dict[str, Any] = {"kept_epoch": self.epoch}
        state = self.steps.averaged_state()
        if self.best is not None:
            state = self.best["state"]
            figures = {"kept_epoch": self.best["epoch"], self.measured: self.best["value"], "chosen_by": "validation"}
            figures |= {"estimate": self.best["estimate"]} if "estimate" in self.best else {}
        network = self.job.network
        figures["trainable_parameters"] = sum(value.numel() for value in network.parameters() if value.requires_grad)
        take_up(network, state)
        if self.start is not None:
            figures |= self._interpolate(self.start, copied(state))
        self.steps.release()
        return Outcome(self.history, figures)

    def _interpolate(self, start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> dict[str, Any]:
        """Put the network on the line between two states, at the best place by the validation part."""
        network = self.job.network
        trials: list[InterpolationTrial] = []
        for place in self.options.interpolation:
            take_up(network, between(start, end, place))
            if len(self.options.interpolation) == 1 or not len(self.streams[0].held_out):
                return {"interpolation": place}
            trials.append(InterpolationTrial(**vars(self._validate(network)), interpolation=place))
        best = best_trial(trials, by="smoothed")
        self.history += [
            {
                "phase": self.phase,
                "interpolation": trial.interpolation,
                self.measured: trial.value,
                "val_loss": trial.loss,
                "smoothed": round(trial.smoothed, 5),
            }
            for trial in trials
        ]
        take_up(network, between(start, end, best.interpolation))
        told = self._estimate(best, "the epoch that is kept, with the place between start and end,")
        return {"interpolation": best.interpolation, self.measured: best.value, **told}

    def _estimate(self, measured: Measured, chose: str) -> dict[str, Any]:
        """The figure that a validation gives for the model that it was made of."""
        by = "a held-out validation part"
        stream = self.streams[0]
        options = {"of": "the trained network", "by": by, "chose": chose, "metric": stream.task.primary}
        return estimate_by(measured, stream.labels.classes, **options)

    def save(self) -> None:
        """Write the checkpoint in one step: whenever the process dies, the last complete one is there."""
        self._begin_anew()
        self._write()

    def _begin_anew(self) -> None:
        """The epoch is over: the next one has neither taken time nor told anything yet."""
        self.spent = 0.0
        self.steps.begin_anew()

    def _write(self) -> None:
        if self.steps.rank:
            return
        own = {"epoch": self.epoch, "history": self.history, "best": self.best, "spent": self.spent}
        self.checkpoint.save({**own, "course": self.course.state(), **self.steps.state()})

    def _restore(self) -> None:
        content = self.checkpoint.load()
        if content is None:
            return
        self.steps.restore(content)
        self.epoch, self.history, self.best = content["epoch"], content["history"], content["best"]
        self.spent = content.get("spent", 0.0)  # earlier versions did not count it
        self.course.restore(content["course"])
        self.job.track(self.history)
        told = self.course.told(self.epoch, self.course.epochs)
        if any(one.steps for one in self.steps.told):
            told = f"step {self.done:,} of {self.course.total:,}"
        note(f"{self.course.label or self.phase}: going on after {told}", self.job.quiet)
