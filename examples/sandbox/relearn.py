"""Train unlearned models for ten updates on what they were made to forget.

    unlearnbench compare --out RUN --keep-deltas all
    python -m examples.sandbox.relearn RUN OUT

Every model of RUN, the one that never knew the hazards among them, is trained ten updates further on the forget corpora, all
with the same settings, and asked WMDP before and after. What the model that never knew learns in them is new to it; what
another row scores beyond that was still there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from examples.settings import run
from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.records.leaderboard import Leaderboard, Row, Score
from unlearnbench.records.manifest import BASELINE, CHECKPOINT
from unlearnbench.records.recipe import Recipe
from unlearnbench.reports.export import export, find

RELEARN = "relearn"
SETTINGS = {
    "method": "fine-tune-retain",
    "lr": 1.0e-3,
    "steps": 10,
    "batch_size": 8,
    "max_length": 160,
    "accumulate": 1,
}


def main() -> None:
    """Relearn what each row of a run forgot, then print the WMDP scores before and after."""
    parser = argparse.ArgumentParser(description="Train unlearned models ten updates on what they forgot.")
    parser.add_argument("run", type=Path, help="folder of a comparison on the sandbox that kept its deltas")
    parser.add_argument("out", type=Path, help="folder to write models and comparisons into")
    arguments = parser.parse_args()
    board = read_leaderboard(arguments.run, in_passing=True)
    print("| model | wmdp | after ten updates |\n|---|---|---|")
    for name, model in models_of(board, arguments.run, arguments.out / "models"):
        table = run(recipe_for(model), arguments.out / "runs" / name)
        before, after = (score_of(table, row) for row in (BASELINE, RELEARN))
        print(f"| {name} | {shown(before)} | {shown(after)} |", flush=True)


def models_of(board: Leaderboard, folder: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Yield each row and its model: as a source where it was one, else written below `out`; of seeds the first."""
    for row in board.rows:
        if row.variant == BASELINE:
            yield row.variant, board.recipe["model"]
        elif row.method == CHECKPOINT:
            yield row.variant, board.recipe["checkpoints"][row.variant]
        elif row.status == "done":
            yield row.variant, str(written(row, folder, out / row.variant))


def written(row: Row, folder: Path, model: Path) -> Path:
    """Return the folder of a row's model, which an earlier call may have made."""
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        export(find(folder, row.variant, None), model, None)
    return model


def recipe_for(model: str) -> Recipe:
    """Return the recipe: ten updates of further training on the forget corpora, and WMDP."""
    sandbox = load_recipe("sandbox")
    return Recipe(
        name="relearning",
        model=model,
        dtype=sandbox.dtype,
        topics={name: topic.model_copy(update={"retain": topic.forget}) for name, topic in sandbox.topics.items()},
        benchmarks={"wmdp": sandbox.benchmarks["wmdp"]},
        methods={RELEARN: SETTINGS},
    )


def score_of(board: Leaderboard, variant: str) -> Score:
    """Return the WMDP score of a row."""
    return next(row for row in board.rows if row.variant == variant).scores["wmdp"]


def shown(score: Score) -> str:
    """Return a score with its interval."""
    return f"{score.value:.3f} ({score.low:.3f}-{score.high:.3f})"


if __name__ == "__main__":
    main()
