"""Self-training in stages: a network learns labels, propagates them over its pool, and learns what it has propagated.

A stage trains the network or leaves it as it is:

    full        trains it on the labels, with the linear probe on its features as the start
    pool        leaves it: its features join the pool in a graph, its head has the share lambda of the pseudo-labels
                (``label_propagation.py``), and a new head learns these (``pool_regression.py``); that is the teacher
    student     trains it further, from the teacher's weights, on labels and pseudo-labels (``pseudo_labels.py``)

Teacher and student are one network, one after the other: "self-training", as Lee's pseudo-labels (ICML workshop 2013)
and Iscen et al. (CVPR 2019) have it. Those make new pseudo-labels in every step or epoch, we once a student.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import ClassVar, Literal

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.printing import counted
from activetune.base.progress import note
from activetune.base.ranks import from_first
from activetune.base.settings import Settings
from activetune.features.artefact import Embeddings
from activetune.networks.regression import LinearHead
from activetune.training.job import Job, Outcome
from activetune.training.label_propagation import PseudoLabels
from activetune.training.loop import course_of, fit, train
from activetune.training.phases import Phases
from activetune.training.pool_regression import PoolLearning, PoolRegression, told_pool, unlabelled
from activetune.training.probe_phase import Probe, embedded, run_probe
from activetune.training.pseudo_labels import PseudoLabelling
from activetune.training.settings import Training

PILOT_MOST = 5_000  # images of the pool that a pilot looks at: it is to tell whether they help, not to learn them all
StageKind = Literal["full", "pool", "student"]


@dataclass(frozen=True)
class Stage:
    """What the recipe does between two states of the network.

    Attributes:
        name: in manifest, history and checkpoints: ``full``, ``pool``, ``student 1``, ``pool 1``, ...
        kind: ``full`` trains the network on the labels, ``student`` on labels and pseudo-labels; ``pool`` makes
            pseudo-labels and puts a head on the network that has learned them.
    """

    name: str
    kind: StageKind

    @property
    def trains_network(self) -> bool:
        """Whether features are others after it."""
        return self.kind != "pool"


def stages_of(turns: int) -> list[Stage]:
    """All stages with so many students, in their order.

    >>> [stage.name for stage in stages_of(1)]
    ['full', 'pool', 'student 1', 'pool 1']
    """
    later = [
        stage
        for turn in range(1, turns + 1)
        for stage in (Stage(f"student {turn}", "student"), Stage(f"pool {turn}", "pool"))
    ]
    return [Stage("full", "full"), Stage("pool", "pool"), *later]


@dataclass(frozen=True)
class Student(Settings):
    """How a student is trained, where that differs from the stage ``full``.

    Attributes:
        epochs: passes over labels and pseudo-labels.
        lr: peak learning rate.
        augment: what images are varied by beside crops and flips, as ``augment`` of a training names it; more than for
            the teacher, so that a student learns more than its answers (experiments/pool).
    """

    flat_names: ClassVar[Mapping[str, str]] = {
        "epochs": "student_epochs",
        "lr": "student_lr",
        "augment": "student_augment",
    }

    epochs: int = 6
    lr: float = 3e-4
    augment: Literal["none", "trivial", "rand"] = "rand"

    def __post_init__(self) -> None:
        check_settings("pool_fact", ("student_epochs", self.epochs, 1, np.inf), ("student_lr", self.lr, 1e-12, np.inf))


@dataclass(frozen=True)
class Teacher:
    """What a student learns from.

    Attributes:
        embeddings: of the images that are looked at, by the network.
        pseudo_labels: of these images, in their order.
        head: of the network, which has learned the pseudo-labels.
        exponent: gamma, which calibrates their certainty; None where no pilot has told it.
    """

    embeddings: Embeddings
    pseudo_labels: PseudoLabels
    head: LinearHead
    exponent: float | None


@dataclass
class SelfTraining:
    """Stages on a job's labels, one after the other; each of them changes the job's network.

    Attributes:
        stages: those that run, in their order.
        training: of the stage ``full``, and of students but for what is theirs. probe: its start.
        pool: how a head learns from the pool. pseudo: what a student learns beside the labels.
        student: how it is trained.
        judged: ids of items that are kept from all stages, and answered after each.
        exponents: by name of a pool stage, gamma of ``pseudo_labels.py``; none without a pilot, and in one.
        judged_logits: by stage, (V, C) of the judged items.
        judged_pseudo_labels: of the judged items, by name of the stage that made them.
        phases: those that have run: the probe, then the stages.
    """

    job: Job
    stages: Sequence[Stage]
    training: Training
    probe: Probe
    pool: PoolLearning
    pseudo: PseudoLabelling
    student: Student
    judged: Sequence[str] = ()
    exponents: Mapping[str, float] = field(default_factory=dict)
    judged_logits: list[FloatArray] = field(default_factory=list)
    judged_pseudo_labels: dict[str, PseudoLabels] = field(default_factory=dict)
    phases: Phases = field(default_factory=Phases)

    @cached_property
    def looked_at(self) -> list[str]:
        """Ids of the images that labels propagate over: the labelled ones, others of the pool, and the judged ones."""
        own = {*self.job.labels.ids, *self.judged}
        others = [item for item in self.job.teaching if item not in own]
        rng = np.random.default_rng([self.job.seed, 29])
        most = min(self.pool.most_unlabelled, PILOT_MOST if self.judged else len(others))
        drawn = np.sort(rng.permutation(len(others))[:most]).tolist()
        return [*self.job.labels.ids, *(others[number] for number in drawn), *self.judged]

    def run(self) -> None:
        """Train the network; it ends with the head of the last stage."""
        job, training = self.job, self.training
        self.phases.run("probe", lambda: run_probe(job, self.probe, training.imbalance, training.crops))
        embeddings: Embeddings | None = None
        teacher: Teacher | None = None
        for stage in self.stages:
            if stage.kind == "full":
                self.phases.run(stage.name, partial(train, job, training, phase=stage.name))
            elif stage.kind == "pool":
                assert embeddings is not None  # by the stage before, which has trained the network
                teacher = self.phases.run_for(stage.name, partial(self._learn_from_pool, stage, embeddings))
            else:
                assert teacher is not None  # by the stage before, which has learned from the pool
                self.phases.run(stage.name, partial(self._train_student, stage, teacher))
            if stage.trains_network and (self.judged or stage != self.stages[-1]):
                embeddings = self._compute_features()
            if self.judged:
                assert embeddings is not None
                self.judged_logits.append(self._judged_logits(embeddings))

    def _compute_features(self) -> Embeddings:
        """Features of the images that are looked at, by the network as it is."""
        return from_first(lambda: embedded(self.job, self.looked_at, use_cache=False))

    def _judged_rows(self, embeddings: Embeddings) -> IntArray:
        return np.asarray([embeddings.position[item] for item in self.judged], dtype=np.int64)

    def _judged_logits(self, embeddings: Embeddings) -> FloatArray:
        """(V, C) what the network's head answers to the judged items."""
        head = LinearHead.read_from(self.job.network.classifier())
        return head.logits(embeddings.features_ND[self._judged_rows(embeddings)])

    def _learn_from_pool(self, stage: Stage, embeddings: Embeddings) -> tuple[Outcome, Teacher]:
        """Make pseudo-labels, and put a head on the network that has learned them."""
        job, options = self.job, self.pool
        head, pseudo_labels = from_first(lambda: self._pool_probe(embeddings))
        head.write_to(job.network.classifier())
        if self.judged:
            self.judged_pseudo_labels[stage.name] = pseudo_labels.at(self._judged_rows(embeddings))
        counts = (len(embeddings), len(job.labels), options.most_unlabelled)
        note(told_pool(*counts), job.quiet)
        outcome = Outcome([], {"images": len(embeddings), "unlabelled": unlabelled(*counts)})
        return outcome, Teacher(embeddings, pseudo_labels, head, self.exponents.get(stage.name))

    def _pool_probe(self, embeddings: Embeddings) -> tuple[LinearHead, PseudoLabels]:
        """The head, and the pseudo-labels that it has learned; the network's own head takes the label probe's place."""
        job, options, imbalance = self.job, self.pool, self.training.imbalance
        features_ND = np.asarray(embeddings.features_ND, dtype=np.float32)
        positions_L = np.asarray([embeddings.position[item] for item in job.labels.ids])
        own_head, every = LinearHead.read_from(job.network.classifier()), np.arange(len(job.labels))
        regression = PoolRegression(
            features_ND, positions_L, job.targets, len(job.labels.classes), options, imbalance, seed=job.seed
        )
        (alpha,), (probe_share,) = options.alphas, options.probe_shares
        pseudo_labels = regression.propagation.pseudo_label(every, own_head, alpha, probe_share)
        return regression.fit_pool_probe(pseudo_labels, every), pseudo_labels

    def _train_student(self, stage: Stage, teacher: Teacher) -> Outcome:
        """Train the network on the labels and on the teacher's pseudo-labels."""
        job, student, embeddings = self.job, self.student, teacher.embeddings
        known = {*job.labels.ids, *self.judged}
        free = np.asarray([row for row, item in enumerate(embeddings.ids) if item not in known], dtype=np.int64)
        drawn = from_first(
            lambda: self.pseudo.draw(
                teacher.pseudo_labels, free, job.seed, features_ND=embeddings.features_ND, head=teacher.head
            )
        )
        crops = replace(self.training.crops, augment=student.augment)
        options = replace(self.training, epochs=student.epochs, lr=student.lr, crops=crops)
        stream = self.pseudo.stream(
            job, embeddings.ids, teacher.pseudo_labels, drawn, options, exponent=teacher.exponent
        )
        note(f"{stage.name}: {counted(len(job.labels), 'label')}, {counted(len(drawn), 'pseudo-label')}", job.quiet)
        course = course_of(stream, options)
        course.rate = "student_lr"
        done = fit(job, [stream], course, options, phase=stage.name)
        return replace(done, figures={**done.figures, "pseudo_labels": len(drawn)})
