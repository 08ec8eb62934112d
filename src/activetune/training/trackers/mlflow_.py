"""A run of MLflow in a SQLite file: ``mlflow ui --backend-store-uri sqlite:///OUT/tracking/mlflow/mlflow.db``."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from activetune.training.trackers._tracker import PROJECT, Tracker

# MLflow reports its own use unless this is set before it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

_RECORDS = itertools.count()  # of this process
LONGEST, AT_ONCE = 500, 100  # signs of a parameter, and parameters of a batch, that every version takes


@dataclass
class MLflow(Tracker):
    """Metrics and parameters of one run, through the client alone: MLflow's global state stays as it is."""

    package: ClassVar[str] = "mlflow"

    def begin(self) -> None:
        """See :class:`Tracker`."""
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        place = self.folder.absolute()
        # MLflow keeps the store of an address, and so its open file, for as long as the process lives. A record that is
        # begun anew in this process, its old file removed, needs another spelling of the address.
        spelling = "./" * next(_RECORDS)
        self._client: Any = MlflowClient(tracking_uri=f"sqlite:///{place}/{spelling}mlflow.db")
        files = (place / "artifacts").as_uri()
        experiment = self._client.create_experiment(PROJECT, artifact_location=files)
        self._run = self._client.create_run(experiment, run_name=self.name).info.run_id
        params = [Param(name, str(value)[:LONGEST]) for name, value in self.settings.items()]
        for start in range(0, len(params), AT_ONCE):
            self._client.log_batch(self._run, params=params[start : start + AT_ONCE])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)  # milliseconds
        self._client.log_batch(self._run, [Metric(name, value, now, step) for name, value in values.items()])

    def end(self, scores: Mapping[str, float], *, finished: bool) -> None:
        """See :class:`Tracker`."""
        self.log(0, scores)
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")
