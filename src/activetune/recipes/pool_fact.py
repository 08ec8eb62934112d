"""FACT with the pool: labels tune the backbone, its features propagate them over the pool, and a student learns that.

The recipe is self-training in stages, after each of which the network can be the model:

    full        the whole network learns the labels, from a linear probe on
    pool        the network stays and is the teacher: the labels propagate over the pool by its features, and a linear
                head on it learns the pseudo-labels
    student 1   the whole network goes on, on the labels and the most certain pseudo-labels
    pool 1      as ``pool``, by the student's features
    ...         so on, for as many students as ``turns``

``training/self_training.py`` has their order, ``training/label_propagation.py`` the equations of pseudo-labels,
``training/pool_regression.py`` those of the head, and ``training/pseudo_labels.py`` those of the student. ``full`` is
FACT's, with its probe; the head of stage ``pool`` stands where FACT has a light head that learns from the labels alone.

"Revisiting Semi-Supervised Learning in the Era of Foundation Models" (NeurIPS 2025, arXiv 2503.09707) finds that
pseudo-labels of finetuned models are most of what images without a label give; where they have an ensemble of teachers,
we have one, and the graph. Propagation by the network's own features, again and again, is Iscen et al., "Label
Propagation for Deep Semi-supervised Learning", CVPR 2019; there it comes after every epoch, here after every student.

Each stage can be worse than the one before it, for instance on a pool of foreign images. A pilot runs all of them
without a fifth of the labels, and tells by these after which one to stop, and how far a pseudo-label's certainty can be
relied on. The pool helps nearly always, so it takes proof to leave it out; a student does not (experiments/pool): it is
kept where the pilot finds it no worse than its teacher, and where labels are too few for a pilot none is trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.base.config import check_settings, field_defaults, off_default
from activetune.base.errors import UsageError
from activetune.base.printing import counted, told_numbers
from activetune.base.progress import note
from activetune.base.settings import changed, flatten
from activetune.data.labels import in_order
from activetune.data.splits import pilot_part
from activetune.evaluation.estimate import estimate_by
from activetune.evaluation.metrics import Measured, told_score
from activetune.evaluation.statistics import surely_positive
from activetune.networks.network import CLASSIFICATION
from activetune.training.job import Job, Outcome
from activetune.training.phases import pilot
from activetune.training.pool_regression import PoolLearning
from activetune.training.probe_phase import FIRST_PROBE, Probe
from activetune.training.pseudo_labels import PseudoLabelling, fit_calibration
from activetune.training.recipe import Recipe
from activetune.training.self_training import PILOT_MOST, SelfTraining, Stage, Student, stages_of
from activetune.training.settings import Training
from activetune.training.timing import FORWARD, seconds_an_image

LEAST_PSEUDO_LABELS = 100  # below which a student is not worth its time
PILOT_LEAST = 20  # items left out, below which they tell nothing
OF_STUDENTS = (  # settings
    *("minutes", "student_epochs", "student_lr", "student_augment"),
    *("pseudo_labels", "pseudo_share", "pseudo_with", "pseudo_even", "calibrated", "labelled_share"),
)


@dataclass(frozen=True)
class PoolFact(Recipe):
    """Probe, full finetuning, a head that learns from the pool, and students of it.

    Attributes:
        training: of the phase ``full``, and of the students but for what is theirs.
        probe: the start of the phase ``full``. pool: how a head learns from the pool; at most ``pool_most`` of its
            images are looked at. pseudo: what a student learns beside the labels.
        turns: students, one after the other, where a pilot can judge them; 0 trains none.
        student: how each of them is trained.
        minutes: the time that all of it may take, about; it decides how many pseudo-labels there are, or that no
            student is trained. 0 sets no limit.
        pilot: run everything without a fifth of the labels first, where these are enough, to tell where to stop; off,
            the last stage is the model.
    """

    uses_pool: ClassVar[bool] = True
    only_tasks: ClassVar[tuple[str, ...]] = (CLASSIFICATION,)
    only_head: ClassVar[str] = "linear"

    training: Training = Training(lr=3e-4, layer_decay=0.75)
    probe: Probe = FIRST_PROBE
    pool: PoolLearning = PoolLearning(alphas=(0.8,), probe_shares=(0.3,))
    pseudo: PseudoLabelling = PseudoLabelling()
    turns: int = 1
    student: Student = Student()
    minutes: float = 0.0
    pilot: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            "pool_fact",
            ("turns", self.turns, 0, 100),
            ("minutes", self.minutes, 0, np.inf),
        )
        lists = {"alphas": self.pool.alphas, "probe_share": self.pool.probe_shares}
        for name, given in {**lists, "interpolation": self.training.interpolation}.items():
            if len(given) > 1:
                raise UsageError(
                    f"pool_fact: {name} can't be {told_numbers(given)}; give one: labelled items are memorised by the "
                    "tuned backbone, so nothing is left to choose it by"
                )
        if self.training.patience:
            raise UsageError(
                "pool_fact: patience ends a training by its validation, and no label is held out here; leave it out, "
                "or give fewer epochs"
            )
        idle = [] if self.turns else off_default(self, OF_STUDENTS)
        if idle:
            told = f"{idle[0]}={flatten(self)[idle[0]]}"
            raise UsageError(f"pool_fact: turns=0 trains no student, whose setting {told} is; leave one of them out")

    def hold_out(self, strata: IntArray, seed: int) -> IntArray:
        """See :class:`Recipe`; nothing is held out, as the pilot chooses."""
        return NO_INDICES

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        if self.turns and not _unlabelled(job):
            note("every image of the pool has a label, so no student is trained", job.quiet)
            return self.without_student().run(job)
        if self.turns and self._lacks_pilot(job):
            note("no student is trained, as there are too few labels for a pilot to judge it", job.quiet)
            return self.without_student().run(job)
        if self.minutes:
            an_image = job.once("timing", lambda: {"seconds": seconds_an_image(job)})["seconds"]
            return self.within(self.minutes, job, an_image).run(job)
        if self._lacks_pilot(job):
            note(f"no pilot: {_too_few(len(job.labels))}; the pool's answers are trusted", job.quiet)
        left_out = self.left_out(job)
        judged = self._pilot(job, left_out) if len(left_out) else _Judgement(len(self.stages) - 1)
        kept = self.stages[: judged.last + 1]
        found = self._self_training(job, kept, exponents=judged.exponents)
        found.run()
        figures = {**judged.figures, "stage": kept[-1].name}
        of_probe = found.phases.figures["probe"].pop("estimate", None)
        if of_probe is not None and "estimate" not in figures:  # the pilot's is nearer to the model
            figures["estimate"] = of_probe
        return Outcome([*judged.rows, *found.phases.history], {**figures, "phases": found.phases.figures})

    @property
    def stages(self) -> list[Stage]:
        """All of them, in their order."""
        return stages_of(self.turns)

    def _self_training(self, job: Job, stages: Sequence[Stage], **options: Any) -> SelfTraining:
        """Some of the stages on a job's labels.

        Args:
            options: the fields of :class:`SelfTraining` that are no settings.
        """
        return SelfTraining(
            job,
            stages,
            training=self.training,
            probe=self.probe,
            pool=self.pool,
            pseudo=self.pseudo,
            student=self.student,
            **options,
        )

    def without_student(self) -> PoolFact:
        """The recipe that stops after the first look at the pool."""
        usual = field_defaults(type(self))
        return changed(self, {"turns": 0, **{name: usual[name] for name in OF_STUDENTS}})

    # Time ---------------------------------------------------------------------------------------------------------

    def within(self, minutes: float, job: Job, an_image: float) -> PoolFact:
        """The recipe with as many pseudo-labels as there is time for, and without a limit.

        Args:
            an_image: seconds per image in training.
        """
        count = self.affordable(minutes, job, an_image)
        if not count:
            note(f"{minutes:g} minutes are too short for a student; none is trained", job.quiet)
            return self.without_student()
        note(f"{count:,} pseudo-labels in {minutes:g} minutes", job.quiet)
        return replace(self, minutes=0.0, pseudo=replace(self.pseudo, count=count))

    def affordable(self, minutes: float, job: Job, an_image: float) -> int:
        """How many pseudo-labels there is time for; 0 where these are too few for a student, or labels for a pilot.

        Args:
            an_image: seconds per image in training.
        """
        if self._lacks_pilot(job):
            return 0
        images = 60 * minutes / an_image - self.work_without_students(job)
        of_a_turn = images / max(1, self.turns) - self._work_of_features(job)
        count = self.pseudo.count_within(int(of_a_turn / self._runs(job) / self.student.epochs), len(job.labels))
        certain = math.ceil(self.pseudo.share * min(_unlabelled(job), self.pool.most_unlabelled))
        return 0 if count < LEAST_PSEUDO_LABELS else min(count, self.pseudo.count, certain)

    def work_without_students(self, job: Job) -> float:
        """The work of all stages but the students', the pilot's too, in images that are trained on."""
        return self._runs(job) * self.training.epochs * len(job.labels) + self._work_of_features(job)

    def _work_of_features(self, job: Job) -> float:
        """The work of looking once at the pool, the pilot's too, in images that are trained on."""
        most = min(self.pool.most_unlabelled, len(job.teaching))
        return FORWARD * (most + (min(most, PILOT_MOST) if self._runs(job) > 1 else 0))

    def _runs(self, job: Job) -> int:
        """How often all stages run: once more for the pilot, where there is one."""
        return 2 if len(self.left_out(job)) else 1

    # The pilot ----------------------------------------------------------------------------------------------------

    def left_out(self, job: Job) -> IntArray:
        """The items that the pilot leaves out; none where it is not wanted, or where they are too few."""
        return pilot_part(job.strata, job.seed, least=PILOT_LEAST) if self.pilot else NO_INDICES

    def _lacks_pilot(self, job: Job) -> bool:
        """Whether a pilot is wanted, but labels are too few for it."""
        return self.pilot and not len(self.left_out(job))

    def _pilot(self, job: Job, left_out: IntArray) -> _Judgement:
        """Run all stages without some items, and judge them by these."""
        kept = np.setdiff1d(np.arange(len(job.labels)), left_out)
        ids, judged = ([job.labels.ids[row] for row in rows] for rows in (kept, left_out))
        with pilot(job, left_out, labels=in_order(job.labels, ids), pool=job.pool.subset(ids)) as run:
            found = self._self_training(run.job, self.stages, judged=judged)
            found.run()
        truth = job.targets[left_out]
        exponents = {
            name: fit_calibration(
                pseudo.certainty_N, (pseudo.classes_N == truth).astype(float), len(job.labels.classes)
            )
            for name, pseudo in found.judged_pseudo_labels.items()
        }
        measured = [job.measure(logits, truth) for logits in found.judged_logits]
        last = stage_to_keep([one.credit_N for one in measured])
        values = {stage.name: round(one.value, 4) for stage, one in zip(self.stages, measured, strict=True)}
        note(f"pilot: {_told_values(job, values)}; the model is that of stage {self.stages[last].name}", job.quiet)
        figures = {"pilot": {**run.figures, "stages": values, "exponents": exponents}}
        figures |= _estimate(job, measured[last], run.by)
        return _Judgement(last, exponents, run.rows(found.phases.history), figures)


@dataclass(frozen=True)
class _Judgement:
    """What a pilot has found.

    Attributes:
        last: the number of the stage to stop after.
        exponents: by stage that learns from the pool, gamma of ``training/pseudo_labels.py``; none without a pilot.
        rows: its history. figures: for the manifest.
    """

    last: int
    exponents: Mapping[str, float] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


def _too_few(labels: int) -> str:
    """Why none of so many labels are left out."""
    return f"a fifth of {counted(labels, 'label')}, taken from classes that have two or more, is under {PILOT_LEAST}"


def _unlabelled(job: Job) -> int:
    return len(job.teaching) - len(job.labels)


def stage_to_keep(credit_of_stages: Sequence[FloatArray]) -> int:
    """The pool, unless the network before it is above it by more than two standard errors; then the best student of it.

    By one standard error a pilot of 20 items leaves the pool out too often (experiments/LOG.md). A student is kept
    where it is no worse than the stage that it would replace.

    Args:
        credit_of_stages: of each, two at least, (V,) what each item's answer counts, 0 where it is wrong;
            V is 2 at least.

    Returns:
        The number of the stage.
    """
    full, pool = 0, 1
    kept = full if surely_positive(credit_of_stages[full] - credit_of_stages[pool]) else pool
    for stage in range(2, len(credit_of_stages)):
        if credit_of_stages[stage].mean() >= credit_of_stages[kept].mean():
            kept = stage
    return kept


def _told_values(job: Job, values: Mapping[str, float]) -> str:
    metric = job.task.primary
    return ", ".join(f"{name} {told_score(metric, value, 1)}" for name, value in values.items())


def _estimate(job: Job, found: Measured, by: str) -> dict[str, Any]:
    options = {"of": "the trained network", "by": by, "chose": "the stage", "metric": job.task.primary}
    return estimate_by(found, job.labels.classes, **options)
