"""What a training is told of elsewhere: loggers by name and from Python, which watch and change nothing."""

from __future__ import annotations

import importlib.util
import random
import sqlite3
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file

from unlearnbench.errors import UsageError
from unlearnbench.execution.compare import execute
from unlearnbench.execution.place import Execution
from unlearnbench.execution.reporter import Silent
from unlearnbench.planning.checks import TRACKERS
from unlearnbench.planning.limits import Limits
from unlearnbench.planning.preflight import prepare
from unlearnbench.planning.request import Request
from unlearnbench.records.recipe import Recipe, Topic, TrainerOptions

pytestmark = pytest.mark.filterwarnings("ignore")  # of the trackers and Lightning among themselves
# its answers are drawn update by update
ROW = {"llmu": {"lr": 1e-3, "answers": 1, "steps": 3, "batch_size": 2, "max_length": 64, "adapter": "lora", "rank": 2}}


@pytest.fixture
def run(tiny_folder, tmp_path):
    """Train one small row under a name; returns its delta and the comparison's folder."""

    def run(name: str, how: Execution | None = None, **trainer) -> tuple[dict[str, torch.Tensor], Path]:
        recipe = Recipe(
            name=name,
            model=str(tiny_folder),
            topics={"bio": Topic(forget="sandbox:corpora:bio-forget", retain="sandbox:corpora:retain", parts=["wmdp/bio"])},
            benchmarks={"wmdp": {"source": "sandbox:wmdp"}},
            methods=ROW,
            dtype="float32",
            limit=1,
            trainer=TrainerOptions(**trainer),
        )
        comparison = prepare(Request(recipe=recipe, out=tmp_path / name, cache=tmp_path / "cache", device="cpu"))
        results = list(execute(comparison, Silent(), how))
        assert [result.error for result in results] == [None, None]
        (delta,) = (tmp_path / name).rglob("delta.safetensors")
        return load_file(delta), tmp_path / name

    return run


class Meddling(CSVLogger):
    """A logger that draws random numbers itself, as some do for the names of their runs."""

    def log_metrics(self, metrics, step=None) -> None:
        torch.rand(3), random.random()
        super().log_metrics(metrics, step)


def test_a_logger_from_python_gets_what_is_logged_and_changes_nothing(run, tmp_path):
    told = []

    def loggers(job):
        told.append((job.variant, job.seed))
        return [Meddling(tmp_path / "elsewhere", name=job.variant)]

    plain, without = run("plain")
    watched, folder = run("watched", Execution(loggers=loggers))
    assert told == [("llmu", 0)]
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)
    logged = (tmp_path / "elsewhere" / "llmu" / "version_0" / "metrics.csv").read_text()
    assert "random" in logged.splitlines()[0]
    assert len(logged.splitlines()) == 4  # three updates
    jobs = [sorted(path.name for path in (place / "deltas" / "llmu").iterdir()) for place in (without, folder)]
    assert jobs[0] == jobs[1]  # the same identity


def test_loggers_from_python_cannot_follow_into_other_processes(run, tmp_path):
    how = Execution(loggers=lambda job: [], executor="isolated", limits=Limits())
    with pytest.raises(UsageError, match="the hook unlearnbench_trainer_loggers"):
        run("far", how)
    assert not (tmp_path / "far").exists()


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_that_is_missing_is_named_with_its_extra(run, tmp_path, name):
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(UsageError) as error:
        run("missing", logger=name)
    said = f"trainer.logger is {name}, which is not installed: `pip install 'unlearnbench[{name}]'`, or use csv."
    assert str(error.value) == said
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_writes_below_the_run_and_changes_nothing(run, name, monkeypatch):
    pytest.importorskip(name, reason=f"{name} is not installed: pip install 'unlearnbench[{name}]'")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    plain, _ = run("plain")
    watched, folder = run("watched", logger=name)
    assert all(torch.equal(plain[key], watched[key]) for key in plain)
    (job,) = (folder / "logs" / "llmu").iterdir()
    assert (job / "metrics.csv").is_file()
    if name == "mlflow":
        with sqlite3.connect(folder / "logs" / "mlflow.db") as database:
            steps = database.execute("select distinct step from metrics order by step").fetchall()
        assert [step for (step,) in steps] == [0, 1, 2]
        assert not Path("mlruns").exists()
    else:
        assert list(job.rglob({"tensorboard": "events.out.tfevents.*", "wandb": "run-*.wandb"}[name]))
