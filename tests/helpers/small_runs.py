"""Folders of comparisons that nobody ran, for the browser to open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from unlearnbench.records.cells import CellKey, CellResult, Cost, Metric, PartScore
from unlearnbench.records.items import ItemResult, ItemText
from unlearnbench.records.manifest import Manifest, ManifestBenchmark, ManifestRow
from unlearnbench.reports.run_files import write_leaderboard, write_report
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import PLAN_FILE

IDENTITY = "0123456789abcdef" * 4
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=1>",
    "javascript:window.hacked=1",
    "<a href='javascript:window.hacked=1'>click</a>",
    "<!-- <script> -->",
    "&lt;b&gt; &amp; %{x} $\\int$",
    "𝔘𝔫𝔩𝔢𝔞𝔯𝔫 𝒜 ∑∞ 𝟙",
    "\u202eright to left\u202c שלום عالم",
    "line one\u2028line two\x00\x0b",
    "{{ 7 * 7 }} {% if x %} ${7*7}",
]


def hostile(number: int) -> str:
    return HOSTILE[number % len(HOSTILE)]


def small_run(folder: Path, *, bad: bool = False, seeds: int = 2, write: bool = True) -> RunFolder:
    """Three rows on thirty questions and four conversations; with `bad` every name and text is hostile."""
    run = RunFolder(folder)
    names = ["none", *((HOSTILE[0], HOSTILE[1], HOSTILE[4]) if bad else ("rmu", "scrub", "ssd"))]
    parts = [HOSTILE[2], "virology", "physics"] if bad else ["anatomy", "virology", "physics"]
    topic = HOSTILE[3] if bad else "bio"
    choice = ManifestBenchmark(
        name="mmlu", metric=Metric(role="retain", chance=0.25), parts=parts, forget_parts=[], topics={}, data="d" * 64,
        groups={"near domains": ["virology"]},
    )  # fmt: skip
    forget = ManifestBenchmark(
        name="wmdp", metric=Metric(role="forget", chance=0.25), parts=[topic], forget_parts=[topic], topics={topic: [topic]},
        data="d" * 64,
    )  # fmt: skip
    talk = ManifestBenchmark(
        name="mt_bench", metric=Metric(name="rating", role="retain", chance=1.0, unit="points", note="rules"),
        parts=["stem", "writing"], forget_parts=[], topics={}, data="d" * 64,
    )  # fmt: skip
    heads, rows = [forget, choice, talk], []
    for place, name in enumerate(names):
        own = range(1 if name == "none" else seeds)
        keys = [CellKey(variant=name, benchmark=head.name, seed=seed) for head in heads for seed in own]
        rows.append(
            ManifestRow(variant=name, method=name, hash="h", seeds=list(own), cells={str(key): IDENTITY for key in keys})
        )
        for key in keys:
            head = next(head for head in heads if head.name == key.benchmark)
            items = talks(place, bad) if head is talk else answers(head, place, key.seed)
            run.write_cell(cell(key, head, items, bad), items)
        if name != "none":
            log(run, name, bad)
    for head in heads:
        run.write_texts(head.name, head.data, texts(head, bad))
    recipe = {"name": hostile(1) if bad else "small", "model": hostile(0) if bad else "a/model", "benchmarks": {}}
    run.write_text(PLAN_FILE, Manifest(recipe=recipe, benchmarks=heads, rows=rows).model_dump_json())
    run.write_text("command.txt", f"unlearnbench compare {hostile(1) if bad else '--methods rmu'}\n")
    if write:
        write_leaderboard(run)
        write_report(run)
    return run


def answers(head: ManifestBenchmark, place: int, seed: int) -> list[ItemResult]:
    """The base knows everything, later rows less and less of what is to be forgotten."""
    rng = np.random.default_rng([place, seed, len(head.name)])
    wrong = place * (0.22 if head.name == "wmdp" else 0.08)
    items = []
    for part in head.parts:
        for number in range(30):
            answer = number % 4
            choice = answer if rng.random() >= wrong else int(answer + 1 + rng.integers(3)) % 4
            logprobs = tuple(-0.25 if option == choice else -2.0 - option for option in range(4))
            score = float(choice == answer)
            items.append(
                ItemResult(id=f"{part}/{number}", part=part, score=score, choice=choice, answer=answer, logprobs=logprobs)
            )
    return items


def talks(place: int, bad: bool) -> list[ItemResult]:
    megabyte = "<script>window.hacked=1</script> " * 32_000
    return [
        ItemResult(
            id=f"{number}/turn-{turn}",
            part="stem" if number % 2 else "writing",
            score=10.0 - place - 0.5 * (number % 3),
            text=(megabyte if place == 2 and number == 0 else hostile(number + turn))
            if bad
            else f"answer {place} {number} {turn}",
        )
        for number in range(8)
        for turn in (1, 2)
    ]


def texts(head: ManifestBenchmark, bad: bool) -> list[ItemText]:
    if head.name == "mt_bench":
        names = [f"{number}/turn-{turn}" for number in range(8) for turn in (1, 2)]
        return [ItemText(id=n, text=hostile(i) if bad else f"Ask {n}", reference=hostile(i)) for i, n in enumerate(names)]
    names = [f"{part}/{number}" for part in head.parts for number in range(30)]
    return [
        ItemText(
            id=name,
            text=hostile(place) if bad else f"Question {name}?",
            options=tuple(hostile(place + option) if bad else f"option {option}" for option in range(4)),
        )
        for place, name in enumerate(names)
    ]


def cell(key: CellKey, head: ManifestBenchmark, items: Sequence[ItemResult], bad: bool) -> CellResult:
    own = {part: [item.score for item in items if item.part == part] for part in head.parts}
    facts: Mapping[str, object] = {
        "method": hostile(5) if bad else key.variant,
        "dtype": "float32",
        "device": hostile(2) if bad else "CPU",
        "base_weights": "w" * 64,
        "weights": "v" * 64,
        "data": "d" * 64,
        "method_options": {"lr": hostile(6) if bad else 0.1},
        "written": "2026-01-01T00:00:00+00:00",
    }
    return CellResult(
        key=key,
        identity=IDENTITY,
        status="done",
        metric=head.metric,
        value=round(sum(item.score for item in items) / len(items), 6),
        n=len(items),
        parts={part: PartScore(value=round(sum(scores) / len(scores), 6), n=len(scores)) for part, scores in own.items()},
        cost=Cost(unlearn_seconds=3.0 + len(key.variant), evaluate_seconds=1.0, peak_bytes=600_000_000),
        provenance=dict(facts),
    )


def log(run: RunFolder, variant: str, bad: bool) -> None:
    from unlearnbench.runs.folder import folder_name

    name = "<b>loss</b>" if bad else "loss"
    lines = [f"{update},{name},{5 / (update + 1)}" for update in range(40)]
    run.write_text(
        f"logs/{folder_name(variant)}/seed-0-{'0' * 16}/metrics.csv", "\n".join(["update,name,value", *lines]) + "\n"
    )


def options(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(" ".join(words[7 * number : 7 * number + 7]) for number in range(4))


def big_run(folder: Path, variants: int = 20) -> RunFolder:
    """Twenty rows of 17,000 items with questions as long as those of WMDP and MMLU."""
    from speed import make_run

    make_run.main(folder, variants, 1)
    run = RunFolder(folder)
    manifest = Manifest.model_validate_json((folder / PLAN_FILE).read_text())
    heads = [head.model_copy(update={"data": "d" * 64}) for head in manifest.benchmarks]
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("etaoinshrdlucmfwyp"), rng.integers(2, 10))) for _ in range(6000)])
    often = 1 / np.arange(1, len(words) + 1)
    for head in heads:
        parts = make_run.PARTS[head.name]
        names = [f"{part}/{number}" for part, n in parts.items() for number in range(n)]
        if head.name == "mt_bench":
            names = [f"{part}/{number // 2}/turn-{number % 2 + 1}" for part, n in parts.items() for number in range(n)]
        drawn = rng.choice(words, (len(names), 72), p=often / often.sum())  # about 450 characters, the mean of both
        pairs = zip(names, drawn, strict=True)
        run.write_texts(
            head.name, head.data, [ItemText(id=n, text=" ".join(w[:44]), options=options(w[44:])) for n, w in pairs]
        )
    run.write_text(PLAN_FILE, manifest.model_copy(update={"benchmarks": heads}).model_dump_json())
    write_leaderboard(run)
    write_report(run)
    return run
