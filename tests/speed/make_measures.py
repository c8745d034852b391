"""Write the folder of a comparison that nobody ran: `make_measures.py FOLDER VARIANTS SEEDS`, one benchmark, eight measures.

17,000 items for each seed; TOFU's forget10 has 400 to forget and as many that were held out, and asks five more groups.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from unlearnbench.records.cells import CellKey, CellResult, Cost, Measure, Metric
from unlearnbench.records.items import ItemResult
from unlearnbench.records.manifest import Manifest, ManifestBenchmark, ManifestMeasure, ManifestRow
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import PLAN_FILE
from unlearnbench.scoring.measures import measure_score
from unlearnbench.system.files import write_atomic

PARTS = {"forget": 400, "holdout": 400, "retain": 4200, "authors": 4000, "facts": 8000}
KEPT = ["retain", "authors", "facts"]
FORGET, RETAIN = Metric(role="forget", chance=0.0), Metric(role="retain", chance=0.0)
AREA = Metric(role="forget", chance=0.5)
MEASURES = [
    Measure(name="quality", of="truth", metric=FORGET.model_copy(update={"ideal": 0.06}), parts=["forget"], reduction="ks"),
    Measure(name="rouge", metric=FORGET, parts=["forget"], primary=True),
    Measure(name="probability", of="truth", metric=FORGET, parts=["forget"]),
    Measure(name="loss_auc", of="truth", metric=AREA, parts=["forget"], against=["holdout"], reduction="auc"),
    Measure(name="privacy", of="truth", metric=FORGET, parts=["forget"], against=["holdout"], reduction="relative-auc"),
    Measure(name="utility", of="rouge", metric=RETAIN, parts=KEPT, reduction="harmonic", primary=True),
    Measure(name="kept_rouge", of="rouge", metric=RETAIN, parts=KEPT),
    Measure(name="kept_probability", of="truth", metric=RETAIN, parts=KEPT),
]
NAMES = [(part, number) for part, n in PARTS.items() for number in range(n)]
PART = np.array([part for part, _ in NAMES])


def main(folder: Path, variants: int, seeds: int) -> None:
    """Write plan and cells; later rows forget more, and every seed differs a little."""
    run = RunFolder(folder)
    rows: list[ManifestRow] = []
    for place, name in enumerate(["none", "retrain", *(f"variant-{number:03}" for number in range(variants))]):
        trained = range(1 if place < 2 else seeds)
        keys = [CellKey(variant=name, benchmark="tofu", seed=seed) for seed in trained]
        cells = {str(key): "i" * 16 for key in keys}
        rows.append(ManifestRow(variant=name, method=name, hash="h", seeds=list(trained), cells=cells))
        for key in keys:
            lost = 0.4 if name == "retrain" else 0.4 * max(place - 1, 0) / variants
            write_cell(run, key, lost, np.random.default_rng([place, key.seed]))
    run.write_text(PLAN_FILE, Manifest(recipe=recipe(), benchmarks=[head()], rows=rows).model_dump_json())


def recipe() -> dict[str, object]:
    """What a table reads of a recipe."""
    return {"name": "synthetic", "model": "none", "reference": ["retrain"]}


def head() -> ManifestBenchmark:
    """The benchmark as a plan has it."""
    topics = {"authors": ["forget"]}
    measures = [
        ManifestMeasure(
            measure=measure,
            parts=[*(measure.parts or PARTS), *measure.against],
            forget_parts=["forget"] if measure.metric.role == "forget" else [],
            topics=topics if measure.metric.role == "forget" else {},
        )
        for measure in MEASURES
    ]
    return ManifestBenchmark(
        name="tofu", metric=RETAIN, parts=list(PARTS), forget_parts=["forget"], topics=topics, measures=measures
    )


def write_cell(run: RunFolder, key: CellKey, lost: float, rng: np.random.Generator) -> None:
    """A finished cell as a comparison leaves it."""
    n = len(NAMES)
    ease = np.random.default_rng(n).normal(size=n)  # the same questions for every cell
    known = 0.6 + 0.15 * ease - np.where(PART == "forget", lost, 0)
    truth, rouge = (np.clip(known + 0.1 * rng.normal(size=n), 0.01, 1) for _ in range(2))
    nothing = pyarrow.nulls(n, pyarrow.int32())
    columns = {
        "id": [f"{part}/{number}" for part, number in NAMES],
        "part": PART.tolist(),
        "score": rouge,
        "choice": nothing,
        "answer": nothing,
        "text": [""] * n,
        "value:truth": truth,
        "value:rouge": rouge,
    }
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    write_atomic(run.items_path(key, "i" * 16), buffer.getvalue())
    items = [
        ItemResult(id="", part=part, score=0.0, values={"truth": float(truth[i]), "rouge": float(rouge[i])})
        for i, (part, _) in enumerate(NAMES)
    ]
    scores = {measure.name: score for measure in MEASURES if (score := measure_score(measure, list(PARTS), items)) is not None}
    result = CellResult(
        key=key, identity="i" * 16, status="done", value=float(rouge.mean()), n=n, measures=scores, cost=Cost()
    )  # fmt: skip
    write_atomic(run.cell_path(key, "i" * 16), result.model_dump_json().encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
