"""What a row cost, as columns of every report."""

from __future__ import annotations

import csv
import io

import pytest
from helpers.small_runs import small_run

from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.records.leaderboard import Leaderboard
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
