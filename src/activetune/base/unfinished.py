"""The output folder of a stage that takes long, while it works there: what marks it unfinished, and who may go on.

Until the stage is done the folder holds ``run.json``, which says by a digest what the run is made from, and
``.unfinished/`` for what a run that was cut off goes on with. The manifest comes last and both go, so a folder is
finished, or unfinished work of one run, or none of ours.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from activetune.base.artefact import MANIFEST, holds, prepare_folder
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import read_json, remove, write_json
from activetune.base.progress import note
from activetune.base.ranks import is_first
from activetune.base.run import Run

WORK, RUN = ".unfinished", "run.json"


@dataclass(frozen=True)
class Output:
    """What a stage makes in its folder.

    Attributes:
        kind: of its manifest. called: how a note speaks of it. files: that it owns, folders too; with
            :data:`WORK` and :data:`RUN`. inputs: what a run is made from, in words.
        second_stage: of a run in two stages, the folders in :data:`WORK` that the second one works in.
    """

    kind: str
    called: str
    files: Sequence[str]
    inputs: str
    second_stage: Sequence[str] = ()

    def is_there(self, folder: Path, this: str, run: Run, *, first_stage: str = "") -> bool:
        """Whether the folder holds what a run would make; if not, it is made ready to work in.

        Args:
            this: digest of what the run is made from. first_stage: the same of its first stage alone, whose unfinished
                work a run goes on with that has other settings in the second one; empty: a run has no stages.

        Raises:
            UsageError: the folder holds something else, or unfinished work that the run may not go on with.
        """
        if run.resume and not run.overwrite and holds(folder, self.kind, {"run": this}):
            clear(folder)
            note(f"{folder} holds this {self.called} already, finished", run.quiet)
            return True
        self._open(folder, {"run": this, **({"first_stage": first_stage} if first_stage else {})}, run)
        return False

    def _open(self, folder: Path, made_from: Mapping[str, str], run: Run) -> None:
        """Empty the folder of an earlier result, or take up the work of the same run, cut off earlier."""
        unfinished = (folder / RUN).is_file() and not (folder / MANIFEST).is_file()
        if unfinished and not run.overwrite:
            if not run.resume:
                raise UsageError(
                    f"{folder} holds an unfinished run; go on with --resume or start again with --overwrite"
                )
            found = read_json(folder / RUN)
            if found.get("run") != made_from["run"]:
                self._begin_second_stage_again(folder, found, made_from, run)
        else:
            prepare_folder(folder, self.kind, self.files, overwrite=run.overwrite)
            write_json(folder / RUN, made_from)
        (folder / WORK).mkdir(exist_ok=True)

    def _begin_second_stage_again(
        self, folder: Path, found: Mapping[str, str], made_from: Mapping[str, str], run: Run
    ) -> None:
        """Keep what the first stage has made, where the run differs from the unfinished one in the second alone."""
        if "first_stage" not in made_from or found.get("first_stage") != made_from["first_stage"]:
            raise UsageError(
                f"{folder} holds an unfinished run with another {self.inputs}; "
                "give the same ones to go on with --resume, or --overwrite to start again"
            )
        note(f"{folder}: stage 1 is kept; stage 2 has other settings and begins again", run.quiet)
        for name in self.second_stage:
            remove(folder / WORK / name)
        write_json(folder / RUN, made_from)


def clear(folder: Path) -> None:
    """Remove what an unfinished run alone needs."""
    (folder / RUN).unlink(missing_ok=True)
    shutil.rmtree(folder / WORK, ignore_errors=True)


@contextmanager
def withdrawing(folder: Path, files: Sequence[str]) -> Iterator[None]:
    """Leave no trace of a run that is refused in here before it has kept anything.

    Args:
        files: that it has written by then, folders too.
    """
    try:
        yield
    except ActivetuneError:
        if is_first() and not any(path.is_file() for path in (folder / WORK).rglob("*")):
            for name in (WORK, RUN, *files):
                remove(folder / name)
        raise
