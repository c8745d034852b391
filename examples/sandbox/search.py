"""Search the settings of a recipe, each method in a process of its own, and gather every trial in one file.

    python -m examples.sandbox.search RUNS --recipe examples/sandbox/room/recipe.yaml --trials 16 --jobs 2

The same command goes on where the last one stopped. A method whose trials in `--known` are those of this search, all of them,
is not searched again, on another machine either.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.records.tuning import Tuning
from unlearnbench.runs.reading import TRIALS, TUNING
from unlearnbench.tuning.search import TUNED, tuned_recipe


def main() -> None:
    """Run the search of every method that is asked for, and gather the trials."""
    parser = argparse.ArgumentParser(description="Search the settings of a recipe, method by method.")
    parser.add_argument("runs", type=Path, help="folder of the searches, one folder for each method")
    parser.add_argument("methods", nargs="*", help="rows of the recipe; by default all")
    parser.add_argument("--recipe", default="sandbox", help="a shipped recipe's name, or the path of a YAML file")
    parser.add_argument("--known", type=Path, help="trials.json of an earlier search")
    parser.add_argument("--trials", type=int, default=16, help="trials of each method")
    parser.add_argument("--jobs", type=int, default=2, help="methods that are searched at a time")
    given = parser.parse_args()
    with ThreadPoolExecutor(given.jobs) as pool:
        asked = given.methods or list(load_recipe(given.recipe).methods)
        searches = {pool.submit(search, name, given.recipe, given.runs, given.trials, given.known): name for name in asked}
        for done in as_completed(searches):
            done.result()
            gather(given.recipe, given.runs)
            print(f"{searches[done]}: searched", flush=True)


def search(row: str, recipe: str, runs: Path, trials: int, known: Path | None) -> None:
    """Search one row's settings in a process of its own, beginning with the trials that are known."""
    out = runs / row
    begin_with(known, row, out / TUNING / TRIALS)
    place = ["--out", str(out), "--cache", str(runs / "cache")]
    command = [sys.executable, "-m", "unlearnbench", "tune", row, "--recipe", recipe, "--trials", str(trials), *place]
    log = out / "log.txt"
    with log.open("w", encoding="utf-8") as written:
        finished = subprocess.run(command, stdout=written, stderr=subprocess.STDOUT)
    if finished.returncode:
        raise SystemExit(f"The search of {row} stopped; see {log}.")


def begin_with(known: Path | None, row: str, file: Path) -> None:
    """Put the known trials of a row where its search looks for those of an earlier run."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if known is not None and not file.exists():
        kept = Tuning.model_validate_json(known.read_text(encoding="utf-8"))
        mine = kept.model_copy(update={"rows": [searched for searched in kept.rows if searched.row == row]})
        if mine.rows:
            file.write_text(mine.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")


def gather(recipe: str, runs: Path) -> None:
    """Write the searches so far as one, in the recipe's order, and the comparison with what they chose."""
    whole = load_recipe(recipe)
    files = [file for row in whole.methods if (file := runs / row / TUNING / TRIALS).exists()]
    searches = [Tuning.model_validate_json(file.read_text(encoding="utf-8")) for file in files]
    found = searches[-1].model_copy(update={"rows": [row for searched in searches for row in searched.rows]})
    (runs / TUNED).write_text(tuned_recipe(whole, found).to_yaml(), encoding="utf-8")
    (runs / TRIALS).write_text(found.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
