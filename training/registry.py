"""The only module that talks to MLflow, which is a catalogue here and never a loader.

MLflow mirrors what the workspace already holds: one run per model folder, one registered model per task, and the alias ``champion``
where the ledger has it. ``mirror`` brings MLflow up to date from the folders and the ledger, so what could not be reached today is
caught up by the next command.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retain.files import write_json
from retain.workspace import Workspace
from training.card import Card
from training.intervals import Interval
from training.package import champion, folders, read_card
from training.pictures import pictures
from training.sheet import sheet

ALIAS = "champion"
ID_TAG = "retain.model_id"
REPORT = "report.html"
SEARCH_TAG = "retain.search"
TRIAL_TAG = "retain.trial"
_PARENT = "mlflow.parentRunId"
"""By this tag MLflow's page shows a run inside another."""


@dataclass(frozen=True)
class Mirrored:
    """What MLflow knows after a mirror."""

    logged: int
    """Models that got a run just now."""
    champion: str | None
    problem: str = ""
    """Why MLflow could not be reached; empty when all went well."""


@dataclass(frozen=True)
class Tried:
    """One trial of a search."""

    number: int
    settings: dict[str, Any]
    value: float | None
    """The primary metric; None where it could not be judged."""
    windows: tuple[float, ...]
    """The same, window by window."""


@dataclass(frozen=True)
class Search:
    """A search for settings, as MLflow shows it: one run, with a run inside for each trial."""

    task: str
    title: str
    study: str
    primary: str
    tried: tuple[Tried, ...]
    best: int
    gain: Interval
    """Of the best over the settings that stood, on the test window."""


def mirror(workspace: Workspace, task: str) -> Mirrored:
    """Bring MLflow up to date with the model folders and the champion of one task; never raises because of MLflow."""
    target = champion(workspace, task)
    try:
        workspace.mlruns.mkdir(parents=True, exist_ok=True)
        client, errors = _client(workspace)
    except OSError as error:
        return Mirrored(0, None, f"MLflow's database below {workspace.mlruns} cannot be opened ({error.strerror or error})")
    logged = 0
    try:
        experiment = _experiment(client, workspace, task)
        known = _runs(client, experiment)
        for folder in folders(workspace, task):
            if folder.name not in known:
                known[folder.name] = _log(client, experiment, read_card(folder), folder)
                logged += 1
        if target is not None and target.name in known:
            _alias(client, f"retain-{task}", target.name, known[target.name])
    except errors as error:
        return Mirrored(logged, None, f"MLflow could not be reached ({_first_line(error)})")
    return Mirrored(logged, None if target is None else target.name)


def mirror_search(workspace: Workspace, search: Search) -> Mirrored:
    """Tell MLflow of the trials that it does not know yet; never raises because of MLflow."""
    try:
        workspace.mlruns.mkdir(parents=True, exist_ok=True)
        client, errors = _client(workspace)
    except OSError as error:
        return Mirrored(0, None, f"MLflow's database below {workspace.mlruns} cannot be opened ({error.strerror or error})")
    logged = 0
    try:
        experiment, at = _experiment(client, workspace, search.task), int(workspace.now().timestamp() * 1000)
        parent = _search_run(client, experiment, search, at)
        found = client.search_runs([experiment], filter_string=f"tags.`{_PARENT}` = '{parent}'", max_results=10_000)
        known = {run.data.tags.get(TRIAL_TAG) for run in found}
        for tried in search.tried:
            if str(tried.number) not in known:
                _log_trial(client, experiment, parent, search, tried, at)
                logged += 1
    except errors as error:
        return Mirrored(logged, None, f"MLflow could not be reached ({_first_line(error)})")
    return Mirrored(logged, None)


def uri(workspace: Workspace) -> str:
    """Where MLflow keeps its catalogue; give it to ``mlflow ui --backend-store-uri``."""
    return f"sqlite:///{(workspace.mlruns / 'mlflow.db').resolve()}"


def _client(workspace: Workspace) -> tuple[Any, tuple[type[Exception], ...]]:
    """An MLflow client and the errors it may raise; silent, offline, and without asking for git."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # What MLflow's imports say about pydantic and others is theirs to mend.
        warnings.simplefilter("ignore")
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
        from sqlalchemy.exc import SQLAlchemyError

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # A database that cannot be written is told in one line by us.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        with (workspace.mlruns / "mlflow.db").open("ab"):
            pass
        try:
            client = MlflowClient(tracking_uri=uri(workspace), registry_uri=uri(workspace))
        except (MlflowException, SQLAlchemyError) as error:
            raise OSError(_first_line(error)) from error
    return client, (MlflowException, SQLAlchemyError, OSError)


def _experiment(client: Any, workspace: Workspace, task: str) -> str:
    found = client.get_experiment_by_name(f"retain-{task}")
    if found is not None:
        return str(found.experiment_id)
    root = (workspace.mlruns / "artifacts").resolve()
    root.mkdir(parents=True, exist_ok=True)
    return str(client.create_experiment(f"retain-{task}", artifact_location=(root / task).as_uri()))


def _runs(client: Any, experiment: str) -> dict[str, str]:
    """Model id to run id of every finished run."""
    found: dict[str, str] = {}
    token: str | None = None
    while True:
        page = client.search_runs([experiment], filter_string="attributes.status = 'FINISHED'", max_results=1000, page_token=token)
        found.update({run.data.tags[ID_TAG]: run.info.run_id for run in page if ID_TAG in run.data.tags})
        token = page.token
        if not token:
            return found


def _log(client: Any, experiment: str, card: Card, folder: Path) -> str:
    from mlflow.entities import Metric, Param, RunTag

    at = int(card.moment.timestamp() * 1000)
    run = client.create_run(experiment, start_time=at, run_name=card.title)
    run_id = str(run.info.run_id)
    params = [Param(name, str(value)[:6000]) for name, value in parameters(card).items()]
    tags = [RunTag(name, str(value)[:5000]) for name, value in labels(card).items()]
    values = [Metric(name, value, at, 0) for name, value in figures(card).items()]
    client.log_batch(run_id, metrics=values, params=params, tags=tags)
    client.log_artifacts(run_id, str(folder), "model")
    with tempfile.TemporaryDirectory() as name:
        for file, content in pictures(card).items():
            (Path(name) / file).write_bytes(content)
        write_json(Path(name) / "curves.json", {key: curve.model_dump(mode="json") for key, curve in card.curves.items()})
        client.log_artifacts(run_id, name, "pictures")
    client.log_text(run_id, sheet(card), REPORT)
    client.set_terminated(run_id, status="FINISHED", end_time=at)
    return run_id


def _search_run(client: Any, experiment: str, search: Search, at: int) -> str:
    """The run of a search, made where it is new; its figures are those of today."""
    found = client.search_runs([experiment], filter_string=f"tags.`{SEARCH_TAG}` = '{search.study}'")
    tags = {SEARCH_TAG: search.study, "retain.model": search.title}
    run = found[0] if found else client.create_run(experiment, start_time=at, run_name=f"tune {search.title}", tags=tags)
    gain = {"gain_on_test": search.gain.value, "gain_on_test_low": search.gain.low, "gain_on_test_high": search.gain.high}
    best = next(tried for tried in search.tried if tried.number == search.best)
    for name, value in {**gain, f"best_{_name(search.primary)}": best.value or 0.0, "trials": float(len(search.tried))}.items():
        client.log_metric(run.info.run_id, name, value, at, 0)
    client.set_terminated(run.info.run_id, status="FINISHED", end_time=at)
    return str(run.info.run_id)


def _log_trial(client: Any, experiment: str, parent: str, search: Search, tried: Tried, at: int) -> None:
    from mlflow.entities import Metric, Param

    tags = {_PARENT: parent, TRIAL_TAG: str(tried.number)}
    run_id = client.create_run(experiment, start_time=at, run_name=f"{search.title} trial {tried.number}", tags=tags).info.run_id
    values = [] if tried.value is None else [Metric(_name(search.primary), tried.value, at, 0)]
    values += [Metric(f"{_name(search.primary)}_by_window", value, at, step) for step, value in enumerate(tried.windows)]
    client.log_batch(run_id, metrics=values, params=[Param(name, str(value)) for name, value in tried.settings.items()])
    client.set_terminated(run_id, status="FINISHED" if tried.value is not None else "FAILED", end_time=at)


def _name(metric: str) -> str:
    """A metric as MLflow can call it."""
    return metric.replace("@", "_at_")


def _alias(client: Any, name: str, model_id: str, run_id: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException:
        client.create_registered_model(name, description="Champions of retain. The promotion ledger of the workspace is the truth.")
    versions = {version.tags.get(ID_TAG): version.version for version in client.search_model_versions(f"name = '{name}'")}
    if model_id not in versions:
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        versions[model_id] = client.create_model_version(name, source=source, run_id=run_id, tags={ID_TAG: model_id}).version
    client.set_registered_model_alias(name, ALIAS, versions[model_id])


def parameters(card: Card) -> dict[str, Any]:
    """What a run was asked to do."""
    result: dict[str, Any] = {}
    for prefix, spec in (("task", card.task_spec), ("model", card.model_spec), ("baseline", card.baseline_spec)):
        result |= {f"{prefix}.{key}": value for key, value in _flat(spec)}
    for name in ("train", "valid", "test", "final"):
        result[f"cutoffs.{name}"] = " ".join(moment.isoformat() for moment in getattr(card.windows, name))
    return result | {"horizon_days": card.horizon_days, "seed": card.seed, "training_rows": card.training_rows, "test_rows": card.test_rows}


def labels(card: Card) -> dict[str, Any]:
    """What pins a run: ids, digests, versions."""
    return {
        ID_TAG: card.model_id,
        "retain.task": card.task,
        "retain.primary": card.primary,
        "retain.data_digest": card.data_digest,
        "retain.features_digest": card.features_digest,
        "retain.code_version": card.code_version,
        "retain.commit": card.commit,
        "retain.synthetic": str(card.synthetic).lower(),
        "retain.simple": str(card.is_simple).lower(),
        "retain.windows": card.windows.words,
    }


def figures(card: Card) -> dict[str, float]:
    """Metrics with their intervals, beside the baseline's."""
    result: dict[str, float] = {}
    for raw, measure in card.metrics.items():
        name = _name(raw)
        result |= {name: measure.value, f"{name}_low": measure.low, f"{name}_high": measure.high}
        result |= {f"baseline_{name}": measure.baseline, f"baseline_{name}_low": measure.baseline_low, f"baseline_{name}_high": measure.baseline_high}
        result |= {f"gain_{name}": measure.gain, f"gain_{name}_low": measure.gain_low, f"gain_{name}_high": measure.gain_high}
    return result


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _flat(spec: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in spec.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return rows
