"""Write the folder of a comparison that nobody ran: `make_run.py FOLDER VARIANTS SEEDS`, 17,000 items for each seed.

The sizes are those of WMDP (1,273 + 1,987), MMLU (57 subjects, 13,600 questions here) and MT-Bench (80 conversations).
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from unlearnbench.records.cells import CellKey, CellResult, Cost, Metric, PartScore
from unlearnbench.records.manifest import Manifest, ManifestBenchmark, ManifestRow
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import PLAN_FILE
from unlearnbench.system.files import write_atomic

MMLU = {f"subject-{number:02}": 238 + number % 3 for number in range(57)}
PARTS = {"wmdp": {"bio": 1273, "cyber": 1987}, "mmlu": MMLU, "mt_bench": {f"kind-{number}": 20 for number in range(8)}}
WORDS = np.array([f"{first}{second}" for first in ("lo", "mi", "ta", "re") for second in ("ka", "nu", "ster", "fel", "dor")])


def heads() -> list[ManifestBenchmark]:
    """The three benchmarks as a plan has them."""
    topics = {"bio": ["bio"], "cyber": ["cyber"]}
    choice = {"wmdp": Metric(role="forget", chance=0.25), "mmlu": Metric(role="retain", chance=0.25)}
    rating = Metric(name="rating", role="retain", chance=1.0, unit="points", note="rules")
    return [
        ManifestBenchmark(
            name=name,
            metric=choice.get(name, rating),
            parts=list(parts),
            forget_parts=list(parts) if name == "wmdp" else [],
            topics=topics if name == "wmdp" else {},
        )
        for name, parts in PARTS.items()
    ]


def items(benchmark: str, skill: float, rng: np.random.Generator) -> pyarrow.Table:
    """One cell's items: hard and easy questions, answered with the given skill."""
    parts = [part for part, n in PARTS[benchmark].items() for _ in range(n)]
    n = len(parts)
    ease = np.random.default_rng(n).normal(size=n)  # the same questions for every cell
    answers = np.random.default_rng(n + 1).integers(4, size=n)
    right = rng.random(n) < np.clip(skill + 0.15 * ease, 0.02, 0.98)
    rated = benchmark == "mt_bench"
    number = np.concatenate([np.arange(size) for size in PARTS[benchmark].values()])
    names = [f"{part}/{i // 2}/turn-{i % 2 + 1}" if rated else f"{part}/{i}" for part, i in zip(parts, number, strict=True)]
    chosen = np.where(right, answers, (answers + 1 + rng.integers(3, size=n)) % 4) if not rated else answers
    nothing = pyarrow.nulls(n, pyarrow.int32())
    columns: dict[str, object] = {
        "id": names,
        "part": parts,
        "score": np.clip(10 * skill + 1 + ease, 1, 10) if rated else right.astype(float),
        "choice": nothing if rated else chosen.astype(np.int32),
        "answer": nothing if rated else answers.astype(np.int32),
        "logprobs": [[]] * n if rated else logprobs(chosen).tolist(),
        "tokens": np.full(n, 100, dtype=np.int32),
        "truncated": np.zeros(n, dtype=bool),
        "text": [" ".join(rng.choice(WORDS, 200)) for _ in range(n)] if rated else [""] * n,
    }
    return pyarrow.table(columns)


def logprobs(chosen: np.ndarray) -> np.ndarray:
    """(N, 4) nats, of which the chosen option's are highest."""
    values = -3 * np.random.default_rng(chosen).random((len(chosen), 4)) - 0.7
    values[np.arange(len(chosen)), chosen] = -0.5 * np.random.default_rng(chosen[::-1]).random(len(chosen))
    return values


def main(folder: Path, variants: int, seeds: int) -> None:
    """Write plan and cells; rows differ in how much they forget and keep, and every seed differs a little."""
    run, rng = RunFolder(folder), np.random.default_rng(0)
    names = ["none", *(f"variant-{number:03}" for number in range(variants))]
    rows: list[ManifestRow] = []
    for place, name in enumerate(names):
        own = range(1 if name == "none" else seeds)
        keys = [CellKey(variant=name, benchmark=benchmark, seed=seed) for benchmark in PARTS for seed in own]
        rows.append(
            ManifestRow(variant=name, method=name, hash="h", seeds=list(own), cells={str(key): "i" * 16 for key in keys})
        )
        for key in keys:
            lost = 0.0 if name == "none" else (0.3 if key.benchmark == "wmdp" else 0.1) * place / variants + rng.normal() * 0.01
            write_cell(run, key, items(key.benchmark, 0.6 - lost, rng))
    manifest = Manifest(recipe={"name": "synthetic", "model": "none"}, benchmarks=heads(), rows=rows)
    run.write_text(PLAN_FILE, manifest.model_dump_json())


def write_cell(run: RunFolder, key: CellKey, table: pyarrow.Table) -> None:
    """A finished cell as a comparison leaves it."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    write_atomic(run.items_path(key, "i" * 16), buffer.getvalue())
    scores, parts = table["score"].to_numpy(), np.array(table["part"].to_pylist())
    by_part = {
        part: PartScore(value=round(float(scores[parts == part].mean()), 6), n=int((parts == part).sum()))
        for part in PARTS[key.benchmark]
    }
    value = round(float(scores.mean()), 6)
    result = CellResult(key=key, identity="i" * 16, status="done", value=value, n=len(scores), parts=by_part, cost=Cost())
    write_atomic(run.cell_path(key, "i" * 16), result.model_dump_json().encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
