"""FACT with the pool: what labels have taught the backbone answers to the rest of the pool, and a student learns that.

Phases ``probe`` and ``full`` are FACT's, on the labels alone. Then features of the pool by the tuned backbone join its
items in a graph, labels spread over it, and a linear head learns the answers (``training/pool_regression.py``): phase
``pool``, where FACT has a light head that learns from the labels alone. A student then trains the whole network on the
labels and on the surest of the pool's answers (``training/pseudo_labels.py``), and phase ``pool`` comes again.

"Revisiting Semi-Supervised Learning in the Era of Foundation Models" (NeurIPS 2025, arXiv 2503.09707) finds that
pseudo-labels of finetuned models are most of what images without a label give; where they have an ensemble of teachers,
the graph is ours.

Each stage can be worse than the one before it, for instance on a pool of foreign images. A pilot runs all of them
without a fifth of the labels and tells by these after which one to stop. The pool helps nearly always, so it takes
proof to leave it out; a student does not (experiments/pool): it is kept where the pilot finds it no worse than its
teacher, and where labels are too few for a pilot none is trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np

from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.base.config import check_settings, field_defaults, off_default
from activetune.base.errors import UsageError
from activetune.base.printing import counted, told_numbers
from activetune.base.progress import note
from activetune.base.ranks import from_first
from activetune.base.settings import changed, flatten
from activetune.data.labels import in_order
from activetune.data.splits import pilot_part
from activetune.evaluation.estimate import estimate_by
from activetune.evaluation.metrics import Measured, told_score
from activetune.evaluation.statistics import surely_positive
from activetune.networks.network import CLASSIFICATION
from activetune.networks.regression import LinearHead
from activetune.training.job import Job, Outcome
from activetune.training.loop import course_of, fit, train
from activetune.training.phases import Phases, pilot
from activetune.training.pool_regression import Answers, PoolLearning, PoolRegression, told_pool, unlabelled
from activetune.training.probe_phase import FIRST_PROBE, Probe, embedded, run_probe
from activetune.training.pseudo_labels import PseudoLabels, reliance
from activetune.training.recipe import Recipe
from activetune.training.settings import Training
from activetune.training.timing import FORWARD, seconds_an_image

WORTHWHILE = 100  # pseudo-labels, below which a student is not worth its time
LEAST = 20  # items left out, below which they tell nothing
OF_STUDENTS = (
    *("minutes", "student_epochs", "student_lr", "student_augment"),
    *("pseudo_labels", "pseudo_share", "pseudo_with", "pseudo_even", "calibrated", "labelled_share"),
)
PILOT_MOST = 5_000  # images of the pool that the pilot looks at: it is to tell whether they help, not to learn them all


@dataclass(frozen=True)
class PoolFact(Recipe):
    """Probe, full finetuning, a head that learns from the pool, and students of it.

    Attributes:
        training: of the phase ``full``, and of the students but for what is theirs.
        probe: the start of the phase ``full``. pool: how a head learns from the pool; at most ``most`` of its images
            are looked at. pseudo: what a student learns beside the labels.
        turns: students, one after the other, where a pilot can judge them; 0 trains none.
        student_epochs: passes over labels and pseudo-labels. student_lr: a student's peak learning rate.
        student_augment: what a student's images are varied by beside crops and flips, as ``augment`` names it; stronger
            than its teacher's, so that it learns more than these answers (experiments/pool).
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
    pool: PoolLearning = PoolLearning(alphas=(0.8,), shares=(0.3,))
    pseudo: PseudoLabels = PseudoLabels()
    turns: int = 1
    student_epochs: int = 6
    student_lr: float = 3e-4
    student_augment: Literal["none", "trivial", "rand"] = "rand"
    minutes: float = 0.0
    pilot: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            "pool_fact",
            ("turns", self.turns, 0, 100),
            ("student_epochs", self.student_epochs, 1, np.inf),
            ("student_lr", self.student_lr, 1e-12, np.inf),
            ("minutes", self.minutes, 0, np.inf),
        )
        lists = {"alphas": self.pool.alphas, "probe_share": self.pool.shares}
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
        if self.turns and not self._judges(job):
            note("no student is trained, as there are too few labels for a pilot to judge it", job.quiet)
            return self.without_student().run(job)
        if self.minutes:
            an_image = job.once("timing", lambda: {"seconds": seconds_an_image(job)})["seconds"]
            return self.within(self.minutes, job, an_image).run(job)
        left_out = self.left_out(job)
        if not self._judges(job):
            note(f"no pilot: {_too_few(len(job.labels))}; the pool's answers are trusted", job.quiet)
        rows: list[Mapping[str, Any]] = []
        figures: dict[str, Any] = {}
        last = len(self.names) - 1
        exponents: Mapping[str, float] = {}
        if len(left_out):
            rows, figures, last, exponents = self._pilot(job, left_out)
        stages = _Stages(self, job, last, exponents=exponents)
        stages.run()
        figures["stage"] = self.names[last]
        of_probe = stages.phases.figures["probe"].pop("estimate", None)
        if of_probe is not None and "estimate" not in figures:  # the pilot's is nearer to the model
            figures["estimate"] = of_probe
        return Outcome([*rows, *stages.phases.history], {**figures, "phases": stages.phases.figures})

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
        """How many pseudo-labels there is time for; 0 where these are too few for a student, or labels for a pilot."""
        if not self._judges(job):
            return 0
        images = 60 * minutes / an_image - self.without_students(job)
        each = images / max(1, self.turns) - self._looks(job)
        count = self.pseudo.within(int(each / self._runs(job) / self.student_epochs), len(job.labels))
        there = math.ceil(self.pseudo.share * min(_unlabelled(job), self.pool.most))
        return 0 if count < WORTHWHILE else min(count, self.pseudo.count, there)

    def without_student(self) -> PoolFact:
        """The recipe that stops after the first look at the pool."""
        usual = field_defaults(type(self))
        return changed(self, {"turns": 0, **{name: usual[name] for name in OF_STUDENTS}})

    def without_students(self, job: Job) -> float:
        """The work of all other stages, the pilot's too, in images that are trained on."""
        return self._runs(job) * self.training.epochs * len(job.labels) + self._looks(job)

    def _looks(self, job: Job) -> float:
        """The work of one look at the pool, the pilot's too, in images that are trained on."""
        most = min(self.pool.most, len(job.teaching))
        return FORWARD * (most + (min(most, PILOT_MOST) if self._runs(job) > 1 else 0))

    def _runs(self, job: Job) -> int:
        return 2 if len(self.left_out(job)) else 1

    @property
    def names(self) -> list[str]:
        """The stages that a network can stop after."""
        turns = [f"{phase} {turn}" for turn in range(1, self.turns + 1) for phase in ("student", "pool")]
        return ["full", "pool", *turns]

    def left_out(self, job: Job) -> IntArray:
        """The items that the pilot leaves out; none where it is not wanted, or where they are too few."""
        return pilot_part(job.strata, job.seed, least=LEAST) if self.pilot else NO_INDICES

    def _judges(self, job: Job) -> bool:
        """Whether a pilot tells what to trust, or all is to be trusted."""
        return not self.pilot or len(self.left_out(job)) > 0

    def _pilot(
        self, job: Job, left_out: IntArray
    ) -> tuple[list[Mapping[str, Any]], dict[str, Any], int, Mapping[str, float]]:
        """Run all stages without some items.

        Returns:
            Rows of the history, figures, the stage to stop after, and :func:`reliance` on the pool's answers by stage.
        """
        kept = np.setdiff1d(np.arange(len(job.labels)), left_out)
        ids, judged = ([job.labels.ids[row] for row in rows] for rows in (kept, left_out))
        with pilot(job, left_out, labels=in_order(job.labels, ids), pool=job.pool.subset(ids)) as run:
            stages = _Stages(self, run.job, len(self.names) - 1, judged)
            stages.run()
        truth = job.targets[left_out]
        exponents = {
            name: reliance(answers.sure_N, (answers.classes_N == truth).astype(float), len(job.labels.classes))
            for name, answers in stages.judged_answers.items()
        }
        found = [job.measure(logits, truth) for logits in stages.logits]
        last = stage_to_keep([one.credit_N for one in found])
        told = {name: round(one.value, 4) for name, one in zip(self.names, found, strict=True)}
        note(f"pilot: {_told(job, told)}; the model is that of stage {self.names[last]}", job.quiet)
        rows = run.rows(stages.phases.history)
        of_pilot = {**run.figures, "stages": told, "exponents": exponents}
        return rows, {"pilot": of_pilot, **_estimate(job, found[last], run.by)}, last, exponents


def _too_few(labels: int) -> str:
    """Why none of so many labels are left out."""
    return f"a fifth of {counted(labels, 'label')}, taken from classes that have two or more, is under {LEAST}"


def _unlabelled(job: Job) -> int:
    return len(job.teaching) - len(job.labels)


def stage_to_keep(right: Sequence[FloatArray]) -> int:
    """The pool, unless the network before it is above it by more than two standard errors; then the best student of it.

    By one standard error a pilot of 20 items leaves the pool out too often (experiments/LOG.md). A student is kept
    where it is no worse than the stage that it would replace.

    Args:
        right: by stage, two at least, (V,) what each item's answer counts, 0 where it is wrong; V is 2 at least.
    """
    kept = 0 if surely_positive(right[0] - right[1]) else 1
    for stage in range(2, len(right)):
        if right[stage].mean() >= right[kept].mean():
            kept = stage
    return kept


def _told(job: Job, values: Mapping[str, float]) -> str:
    metric = job.task.primary
    return ", ".join(f"{name} {told_score(metric, value, 1)}" for name, value in values.items())


def _estimate(job: Job, found: Measured, by: str) -> dict[str, Any]:
    options = {"of": "the trained network", "by": by, "chose": "the stage", "metric": job.task.primary}
    return estimate_by(found, job.labels.classes, **options)


@dataclass
class _Stages:
    """The stages on a job's labels, one after the other.

    Attributes:
        last: the number of the stage to stop after. judged: ids of items whose answers are kept from all stages.
        exponents: by stage that learns from the pool, of :func:`likely_right`; none in a pilot, which tells them.
        logits: by stage, (V, C) of the judged items. judged_answers: the pool's, to these. phases: those that have run.
    """

    recipe: PoolFact
    job: Job
    last: int
    judged: Sequence[str] = ()
    exponents: Mapping[str, float] = field(default_factory=dict)
    logits: list[FloatArray] = field(default_factory=list)
    judged_answers: dict[str, Answers] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)

    def __post_init__(self) -> None:
        """Choose the images of the pool that are looked at."""
        own = {*self.job.labels.ids, *self.judged}
        others = [item for item in self.job.teaching if item not in own]
        rng = np.random.default_rng([self.job.seed, 29])
        most = min(self.recipe.pool.most, PILOT_MOST if self.judged else len(others))
        drawn = np.sort(rng.permutation(len(others))[:most]).tolist()
        self.ids = [*self.job.labels.ids, *(others[number] for number in drawn), *self.judged]

    def run(self) -> None:
        """Train the network; it ends with the head of the last stage."""
        job, training = self.job, self.recipe.training
        self.phases.run("probe", lambda: run_probe(job, self.recipe.probe, training.imbalance, training.crops))
        self.phases.run("full", lambda: train(job, training, phase="full"))
        for stage in range(self.last + 1):
            name = self.recipe.names[stage]
            if stage % 2:
                self.phases.run(name, partial(self._learn_from_pool, name))
            elif stage:
                self.phases.run(name, partial(self._teach, name))
            if self.judged or stage < self.last:
                self._look(stage)

    def _look(self, stage: int) -> None:
        """Features by the network of an even stage, and what the stage answers to the judged items."""
        if not stage % 2:
            self.embeddings = from_first(lambda: embedded(self.job, self.ids, use_cache=False))
        if self.judged:
            rows = [self.embeddings.position[item] for item in self.judged]
            head = LinearHead.read_from(self.job.network.classifier())
            self.logits.append(head.logits(self.embeddings.features_ND[rows]))

    def _learn_from_pool(self, name: str) -> Outcome:
        """Put a head on the network that has learned the pool's answers."""
        job, options, imbalance = self.job, self.recipe.pool, self.recipe.training.imbalance

        def learned() -> tuple[LinearHead, Answers]:
            features_ND = np.asarray(self.embeddings.features_ND, dtype=np.float32)
            positions_L = np.asarray([self.embeddings.position[item] for item in job.labels.ids])
            first, every = LinearHead.read_from(job.network.classifier()), np.arange(len(job.labels))
            regression = PoolRegression(
                features_ND, positions_L, job.targets, len(job.labels.classes), options, imbalance, seed=job.seed
            )
            answers = regression.answers(every, first, options.alphas[0], options.shares[0])
            return regression.second(answers, every), answers

        head, self.answers = from_first(learned)
        self.exponent = self.exponents.get(name)
        if self.judged:
            rows = np.asarray([self.embeddings.position[item] for item in self.judged])
            self.judged_answers[name] = Answers(self.answers.classes_N[rows], self.answers.sure_N[rows])
        head.write_to(job.network.classifier())
        counts = (len(self.embeddings), len(job.labels), options.most)
        note(told_pool(*counts), job.quiet)
        return Outcome([], {"images": len(self.embeddings), "unlabelled": unlabelled(*counts)})

    def _teach(self, name: str) -> Outcome:
        """Train the network on the labels and on the pool's answers."""
        job, recipe = self.job, self.recipe
        known = {*job.labels.ids, *self.judged}
        free = np.asarray([row for row, item in enumerate(self.embeddings.ids) if item not in known], dtype=np.int64)
        features_ND, head = self.embeddings.features_ND, LinearHead.read_from(job.network.classifier())
        drawn = from_first(
            lambda: recipe.pseudo.drawn(self.answers, free, job.seed, features_ND=features_ND, head=head)
        )
        crops = replace(recipe.training.crops, augment=recipe.student_augment)
        options = replace(recipe.training, epochs=recipe.student_epochs, lr=recipe.student_lr, crops=crops)
        stream = recipe.pseudo.stream(job, self.embeddings.ids, self.answers, drawn, options, exponent=self.exponent)
        note(f"{name}: {counted(len(job.labels), 'label')}, {counted(len(drawn), 'pseudo-label')}", job.quiet)
        course = course_of(stream, options)
        course.rate = "student_lr"
        done = fit(job, [stream], course, options, phase=name)
        return replace(done, figures={**done.figures, "pseudo_labels": len(drawn)})
