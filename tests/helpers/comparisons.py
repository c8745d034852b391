"""Comparisons without a model: cells and items with the answers that a test wants."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.records.cells import CellKey, CellResult, Cost, Metric, PartScore
from unlearnbench.records.manifest import Manifest, ManifestBenchmark, ManifestRow

LETTERS = 4


def accuracy(name: str, parts: Sequence[str], topics: Mapping[str, list[str]] | None = None, chance: float = 0.25):
    """A multiple-choice benchmark; parts that a topic claims are to be forgotten, of `wmdp` the others count nowhere."""
    metric = Metric(role="forget" if name == "wmdp" else "retain", chance=chance)
    claimed = [part for own in (topics or {}).values() for part in own]
    return ManifestBenchmark(name=name, metric=metric, parts=list(parts), forget_parts=claimed, topics=dict(topics or {}))


def rating(name: str, parts: Sequence[str]):
    metric = Metric(name="rating by rules", role="retain", chance=1.0, unit="points", note="rules")
    return ManifestBenchmark(name=name, metric=metric, parts=list(parts), forget_parts=[], topics={})


def answered(shares: Mapping[str, float], n: int, seed: int | str = 0, letter: int | None = None) -> Outcomes:
    """Questions of several parts with exactly this share of right answers each, or all answered with one letter."""
    ids, parts, scores, choices, answers = [], [], [], [], []
    for part, share in shares.items():
        rng = np.random.default_rng(zlib.crc32(f"{part} {seed}".encode()))
        right = np.zeros(n, dtype=bool)
        right[rng.permutation(n)[: round(share * n)]] = True
        key = np.arange(n) % LETTERS  # every letter is right equally often
        chosen = np.where(right, key, (key + rng.integers(1, LETTERS, n)) % LETTERS)
        if letter is not None:
            chosen = np.full(n, letter)
        ids += [f"{part}/{number}" for number in range(n)]
        parts += [part] * n
        scores.append(chosen == key)
        choices.append(chosen)
        answers.append(key)
    return Outcomes(
        ids=tuple(ids),
        parts=tuple(parts),
        scores=np.concatenate(scores).astype(np.float32),
        choices=np.concatenate(choices).astype(np.int8),
        answers=np.concatenate(answers).astype(np.int8),
    )


def of_scores(scores: Mapping[str, np.ndarray], turns: int = 1, degenerate: np.ndarray | None = None) -> Outcomes:
    """Items with these scores; `turns` consecutive ones belong to one conversation."""
    ids = [
        f"{p}/{i // turns}/turn-{i % turns}" if turns > 1 else f"{p}/{i}" for p, own in scores.items() for i in range(len(own))
    ]
    whole = np.concatenate(list(scores.values())).astype(np.float32)
    none = np.full(len(whole), -1, dtype=np.int8)
    parts = tuple(part for part, own in scores.items() for _ in own)
    return Outcomes(ids=tuple(ids), parts=parts, scores=whole, choices=none, answers=none, degenerate=degenerate)


def comparison(
    heads: Sequence[ManifestBenchmark],
    rows: Mapping[str, Mapping[str, Outcomes | list[Outcomes]]],
    methods: Mapping[str, str] | None = None,
):
    """Manifest, cells and items of rows; a list of outcomes is one of each seed."""
    lines, cells, items = [], {}, {}
    for variant, columns in rows.items():
        by_benchmark = {name: own if isinstance(own, list) else [own] for name, own in columns.items()}
        seeds = list(range(max(len(own) for own in by_benchmark.values())))
        keys = [CellKey(variant=variant, benchmark=name, seed=seed) for name in by_benchmark for seed in seeds]
        method = (methods or {}).get(variant, variant)
        lines.append(ManifestRow(variant=variant, method=method, hash="h", seeds=seeds, cells={str(key): "i" for key in keys}))
        for key in keys:
            outcomes = by_benchmark[key.benchmark][key.seed]
            items[str(key)] = outcomes
            cells[str(key)] = cell(key, outcomes)
    return Manifest(recipe={"name": "test", "model": "m"}, benchmarks=list(heads), rows=lines), cells, items


def cell(key: CellKey, outcomes: Outcomes, **changes) -> CellResult:
    there = np.isfinite(outcomes.scores)
    parts = {
        part: PartScore(value=round(float(outcomes.scores[own].mean()), 6), n=int(own.sum()))
        for part in dict.fromkeys(outcomes.parts)
        if (own := outcomes.in_parts((part,)) & there).any()
    }
    facts = {
        "key": key,
        "identity": "i",
        "status": "done",
        "value": round(float(outcomes.scores[there].mean()), 6),
        "n": int(there.sum()),
        "asked": len(there),
        "parts": parts,
        "cost": Cost(unlearn_seconds=3.0, evaluate_seconds=1.0),
    }
    return CellResult(**{**facts, **changes})
