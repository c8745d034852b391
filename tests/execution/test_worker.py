"""A worker does what it was asked to do, or says why it cannot: what changed since the plan is never kept under its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unlearnbench.data.sources import sandbox_folder
from unlearnbench.execution.context import job_context
from unlearnbench.execution.messages import MessagePipe
from unlearnbench.execution.processes import Worker
from unlearnbench.planning.preflight import prepare
from unlearnbench.planning.request import Request
from unlearnbench.plugins.registry import load_extensions
from unlearnbench.records.recipe import Recipe


@pytest.fixture
def planned(tmp_path: Path, tiny_folder: Path):
    """A comparison of the base alone on questions of the test's own, as a parent leaves it for its workers."""
    questions = tmp_path / "wmdp"
    shutil.copytree(sandbox_folder() / "data" / "wmdp", questions)
    recipe = Recipe(name="r", model=str(tiny_folder), benchmarks={"wmdp": {"source": str(questions)}}, limit=1)
    comparison = prepare(Request(recipe=recipe, out=tmp_path / "run", cache=tmp_path / "cache", device="cpu"))
    comparison.run.write_text("recipe.yaml", recipe.to_yaml())
    return comparison, questions


def messages_of(comparison) -> list[dict]:
    context = job_context(comparison, MessagePipe(None), load_extensions()[0].hook)
    (plan,) = comparison.jobs
    with Worker(plan, context, plan.due) as worker:
        said = list(worker.messages())
        worker.wait()
    return said


def test_a_worker_leaves_the_cells_that_were_ordered(planned):
    comparison, _ = planned
    (plan,) = comparison.jobs
    assert [one["kind"] for one in messages_of(comparison)][-1] == "cell"
    assert comparison.run.read_cell(plan.key("wmdp"), plan.cells["wmdp"]).status == "done"


def test_questions_that_changed_since_the_plan_are_not_answered(planned):
    """The job's identity covers no question: only those of the cells tell."""
    comparison, questions = planned
    file = next(questions.glob("wmdp-bio/*.jsonl"))
    file.write_text(file.read_text().replace("?", "??", 1))
    (last,) = [one for one in messages_of(comparison) if one["kind"] == "error"]
    assert "changed after the comparison began" in last["reason"]
    assert not list(comparison.run.root.rglob("cells/**/*.json"))
