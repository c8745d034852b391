"""The cost of unlearning as a share of the reference's retraining, by hand."""

from __future__ import annotations

import pytest
from helpers.comparisons import accuracy, answered, comparison

from unlearnbench.leaderboard.build import build_leaderboard
from unlearnbench.records.cells import Cost
from unlearnbench.records.leaderboard import Leaderboard, TableSettings
from unlearnbench.reports.formatting import notes
from unlearnbench.reports.text import Choices

HEADS = (accuracy("wmdp", ["bio"], {"bio": ["bio"]}), accuracy("mmlu", ["all"]))
SCORES = {"none": (0.8, 0.9), "first": (0.4, 0.9), "second": (0.4, 0.9), "rmu": (0.5, 0.9), "scrub": (0.5, 0.8)}
CPU, GPU = "x86_64 CPU", "NVIDIA H200"
# seconds, tokens, device of the training
COSTS = {"first": (200.0, 4000, CPU), "second": (100.0, 2000, CPU), "rmu": (15.0, 600, CPU), "scrub": (450.0, 9000, CPU)}


def table(costs=COSTS, *, retrained=("first", "second"), reference=("first", "second")) -> Leaderboard:
    rows = {
        name: {"wmdp": answered({"bio": bio}, 100, f"{name} w"), "mmlu": answered({"all": kept}, 100, f"{name} m")}
        for name, (bio, kept) in SCORES.items()
    }
    manifest, cells, items = comparison(HEADS, rows)
    for name, cell in cells.items():
        variant = cell.key.variant
        seconds, tokens, device = costs.get(variant, (None, None, CPU))
        facts = {"device": device}
        if variant in retrained:  # what scored it may be another machine
            facts = {"device": "another GPU", "retraining": {"environment": {"device": device}}}
        cost = Cost(unlearn_seconds=seconds, tokens=tokens, evaluate_seconds=1.0)
        cells[name] = cell.model_copy(update={"cost": cost, "provenance": facts})
    return build_leaderboard(manifest, cells, items, TableSettings(resamples=200, reference=list(reference)))


def shares(board: Leaderboard) -> dict[str, tuple[float | None, str | None]]:
    return {row.variant: (row.cost.of_retraining, row.cost.shared_by) for row in board.rows}


def test_by_seconds_on_the_same_device():
    """Of the mean of 200 and 100 seconds."""
    assert shares(table()) == {
        "none": (None, None),
        "first": (None, None),
        "second": (None, None),
        "rmu": (0.1, "seconds"),
        "scrub": (3.0, "seconds"),
    }


def test_by_tokens_on_another_device():
    """Of the mean of 4000 and 2000 tokens: for the row that was trained elsewhere only, or where the references differ."""
    board = table({**COSTS, "rmu": (1.0, 600, GPU)})
    assert (shares(board)["rmu"], shares(board)["scrub"]) == ((0.2, "tokens"), (3.0, "seconds"))
    assert any("by seconds, on the same device; by the tokens that training saw for rmu" in line for line in notes(board))
    board = table({**COSTS, "second": (1.0, 2000, GPU)})
    assert (shares(board)["rmu"], shares(board)["scrub"]) == ((0.2, "tokens"), (3.0, "tokens"))


def test_a_row_without_such_a_cost_has_no_share():
    board = table({**COSTS, "rmu": (None, None, CPU)})
    assert shares(board)["rmu"] == (None, None)
    assert shares(table({**COSTS, "rmu": (None, 300, CPU)}))["rmu"] == (0.1, "tokens")


def test_references_without_a_record_count_nowhere():
    assert shares(table(retrained=("first",)))["rmu"] == (pytest.approx(15 / 200), "seconds")


@pytest.mark.parametrize("changes", [{"retrained": ()}, {"reference": ()}, {"reference": ("rmu",)}])
def test_without_a_retrained_reference_there_is_no_column(changes):
    board = table(**changes)
    assert {share for share, _ in shares(board).values()} == {None}
    assert "of retraining" not in Choices().grid(board).names
    assert not any("of retraining" in line for line in notes(board))


def test_column_shows_per_cent():
    grid = Choices().grid(table())
    cells = {line.name: line.cells[grid.names.index("of retraining")] for line in grid.lines}
    assert cells == {"none": "-", "first": "-", "second": "-", "rmu": "10%", "scrub": "300%", "chance": ""}
