"""What a row cost, as columns of every report."""

from __future__ import annotations

import csv
import io

import pytest
from helpers.small_runs import small_run

from unlearnbench.leaderboard.build import _cost
from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.records.cells import CellKey, CellResult, Cost
from unlearnbench.records.costs import COST_COLUMNS, COSTS
from unlearnbench.records.leaderboard import Leaderboard, RowCost
from unlearnbench.reports.html.table import lay_out
from unlearnbench.reports.text import Choices, render

CPU = ["unlearn", "evaluate", "memory", "trained", "tokens"]
GPU = ["unlearn", "evaluate", "memory", "GPU memory", "trained", "tokens"]


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> Leaderboard:
    return read_leaderboard(small_run(tmp_path_factory.mktemp("costs") / "run", write=False).root)


def with_costs(board: Leaderboard, **costs: int) -> Leaderboard:
    rows = [row.model_copy(update={"cost": row.cost.model_copy(update=costs)}) for row in board.rows]
    return board.model_copy(update={"rows": rows})


def test_every_cost_is_a_column(board):
    """That of the GPU where one was used."""
    assert Choices().grid(board).names[-len(CPU) :] == CPU
    used = with_costs(board, peak_gpu_bytes=5_900_000_000, trained_parameters=147_456, tokens=1_250_000)
    grid = Choices().grid(used)
    assert grid.names[-len(GPU) :] == GPU
    assert grid.lines[1].cells[-4:] == ["600 MB", "5.9 GB", "147,456", "1.2 M"]
    heads = [head["title"] for head in lay_out(used)["heads"]]
    assert heads[-len(GPU) :] == GPU
    row = lay_out(used)["bodies"][1][1][0]["cells"]
    assert [cell.text for cell in row[-4:]] == ["600 MB", "5.9 GB", "147,456", "1.2 M"]
    chance = lay_out(used)["bodies"][2][1][0]["cells"]
    assert len(chance) == len(row) == len(heads)
    assert "GPU memory" not in [head["title"] for head in lay_out(board)["heads"]]


def test_looks_at_a_training_are_a_cost(board):
    """Where somebody looked; seconds that no other column counts."""
    looked = with_costs(board, look_seconds=12.5)
    grid = Choices().grid(looked)
    assert grid.names[-len(CPU) - 1 :] == ["unlearn", "looks", "evaluate", "memory", "trained", "tokens"]
    assert grid.lines[1].cells[grid.names.index("looks")] == "12.5 s"
    assert list(csv.DictReader(io.StringIO(render([looked], "csv"))))[1]["look_seconds"] == "12.5"
    assert [head["hint"] for head in lay_out(looked)["heads"] if head["title"] == "looks"] == [COST_COLUMNS["looks"].hint]


def test_every_figure_of_a_cost_is_declared_and_reaches_the_row():
    """Two seeds of two benchmarks: the job's counts once per seed, the cell's adds up, of memory the largest counts."""
    assert {figure.field for figure in COSTS if figure.over != "table"} == set(Cost.model_fields)
    assert {figure.field for figure in COSTS} == set(RowCost.model_fields) - {"shared_by"}
    cells = []
    for seed in (0, 1):
        job = {"unlearn_seconds": 10.0 + seed, "reused_seconds": 2.0, "look_seconds": 4.0 + seed}
        for place, benchmark in enumerate(("mmlu", "wmdp")):
            cost = Cost(**job, evaluate_seconds=3.0, peak_bytes=100 + place, peak_gpu_bytes=7, trained_parameters=5, tokens=9)
            key = CellKey(variant="rmu", benchmark=benchmark, seed=seed)
            cells.append(CellResult(key=key, identity="i", status="done", cost=cost))
    assert _cost(cells) == RowCost(
        unlearn_seconds=10.5,
        reused_seconds=2.0,
        look_seconds=4.5,
        evaluate_seconds=6.0,
        peak_bytes=101,
        peak_gpu_bytes=7,
        trained_parameters=5,
        tokens=9,
    )
    assert _cost([]) == RowCost()


def test_costs_for_other_programs(board):
    used = with_costs(board, peak_gpu_bytes=5_900_000_000, trained_parameters=147_456, tokens=1_250_000)
    row = list(csv.DictReader(io.StringIO(render([used], "csv"))))[1]
    names = ("peak_bytes", "peak_gpu_bytes", "trained_parameters", "tokens")
    assert [row[name] for name in names] == ["600000000", "5900000000", "147456", "1250000"]


def test_the_cheapest_comes_first(board):
    by = Choices(sort="unlearn", columns=["variant", "unlearn"]).grid(board)
    seconds = [line.order[1] for line in by.lines if line.kind == "row"]
    assert seconds == sorted(seconds)


def test_a_chosen_column_is_there(board):
    """Even where nothing has it."""
    assert Choices(columns=["variant", "GPU memory"]).grid(board).lines[1].cells[1] == "-"
