"""From a row of a finished comparison to an ordinary model folder with a model card."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from unlearnbench.data.tables import public_name
from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.execution.compare import MANIFEST, written_leaderboard
from unlearnbench.models.loading import model_folder, weight_files
from unlearnbench.records.cells import CellKey, CellResult
from unlearnbench.records.leaderboard import Row
from unlearnbench.records.recipe import BASELINE, CHECKPOINT
from unlearnbench.reports.formatting import figure, said, span
from unlearnbench.runs.folder import RunFolder, weights_hash
from unlearnbench.system.files import HASH_CHARS, Memory, default_cache, hash_files

CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An unlearned model as its scores describe it.

    Attributes:
        variant: the row.
        seed: of the job.
        cells: the scores of its very weights.
        source: of the base model.
        row: of the table that was written last, over all seeds; None where there is none.
        base: likewise of the untouched model.
    """

    variant: str
    seed: int
    cells: Sequence[CellResult]
    source: str
    row: Row | None
    base: Row | None


@dataclass(frozen=True, kw_only=True)
class Candidate(Scored):
    """An unlearned model that can be written out.

    Attributes:
        delta: folder of its delta.
        manifest: of the delta.
    """

    delta: Path
    manifest: Mapping[str, Any]


def find(folder: Path, variant: str, seed: int | None) -> Candidate:
    """What `variant` of the comparison in `folder` left behind.

    Args:
        folder: of the comparison.
        variant: the row's name.
        seed: which of its seeds; None: the first whose weights are kept.

    Raises:
        UsageError: there is no such row or seed, or its weights are not kept.
    """
    run = RunFolder(folder)
    for scored in _scored(run, variant, seed):
        weights = {cell.provenance.get("weights") for cell in scored.cells}
        for delta in sorted((folder / "deltas").glob(f"*/seed-{scored.seed}-*")):
            manifest = run.read_manifest(delta)
            if manifest is not None and manifest["job"]["variant"] == variant and manifest["weights"] in weights:
                return Candidate(**vars(scored), delta=delta, manifest=manifest)
    raise UsageError(
        f"The weights of '{variant}' are not in {folder}: they were not kept (--keep-deltas), or it is not finished; "
        "run the comparison again with --keep-deltas all."
    )


def describe(folder: Path, variant: str, seed: int | None) -> Scored:
    """What `variant` of the comparison in `folder` scored, whether or not its weights were kept.

    Raises:
        UsageError: there is no such row or seed, or nothing of it is finished.
    """
    for scored in _scored(RunFolder(folder), variant, seed):
        if scored.cells:
            return scored
    raise UsageError(f"Nothing of '{variant}' is finished in {folder}; run the comparison again.")


def _scored(run: RunFolder, variant: str, seed: int | None) -> Iterator[Scored]:
    """The seeds of a row, or the one that is wanted."""
    if not run.root.is_dir():
        raise UsageError(f"There is no folder {run.root}; `unlearnbench compare` makes one, by default under runs/.")
    plan = run.read_json(MANIFEST)
    rows = {row["variant"]: row for row in plan["rows"]}
    if variant not in rows:
        raise unknown_name("row", variant, rows)
    row = rows[variant]
    if row["method"] in (BASELINE, CHECKPOINT):
        raise UsageError(f"'{variant}' changed no weights; there is nothing to export beyond the model that it names.")
    if seed is not None and seed not in row["seeds"]:
        raise UsageError(f"'{variant}' did not run with seed {seed}; it has: {', '.join(map(str, row['seeds']))}.")
    try:
        table = {one.variant: one for one in written_leaderboard(run.root).rows}
    except (UsageError, ValidationError):
        table = {}
    facts: dict[str, Any] = {"source": str(plan["recipe"]["model"]), "row": table.get(variant), "base": table.get(BASELINE)}
    for own in [seed] if seed is not None else row["seeds"]:
        yield Scored(variant=variant, seed=own, cells=_cells(run, row, own), **facts)


def _cells(run: RunFolder, row: Mapping[str, Any], seed: int) -> list[CellResult]:
    found: list[CellResult] = []
    for name, identity in row["cells"].items():
        benchmark, _, number = name.removeprefix(f"{row['variant']}/").rpartition("/")
        if int(number) != seed:
            continue
        cell = run.read_cell(CellKey(variant=row["variant"], benchmark=benchmark, seed=seed), identity)
        if cell is not None and cell.status == "done":
            found.append(cell)
    return found


def export(candidate: Candidate, out: Path, base: str | None = None) -> None:
    """Write base and delta as one model: safetensors, config, tokenizer and model card. All of it, or nothing.

    Args:
        candidate: from `find`.
        out: a folder that does not exist yet, or is empty.
        base: source of the base model, where it is not where it was.

    Raises:
        UsageError: `out` is taken, or the base model is not the one that the delta was made from.
    """
    from unlearnbench.models.restorable import LoadedModel, resolve_device

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already; name a folder that does not.")
    source = base or candidate.source
    own = hash_files(weight_files(model_folder(source)), Memory(default_cache() / "memory.json"))
    if own != candidate.manifest["base"]:
        raise UsageError(
            f"The delta of '{candidate.variant}' belongs to another base model: it was made from weights "
            f"{candidate.manifest['base'][:HASH_CHARS]}, and {source} has {own[:HASH_CHARS]}."
        )
    stored = RunFolder(candidate.delta.parents[2]).read_delta(candidate.delta)
    if stored is None or weights_hash(own, candidate.manifest["dtype"], stored[0]) != candidate.manifest["weights"]:
        raise UsageError(f"The delta in {candidate.delta} is damaged; run the comparison again.")
    loaded = LoadedModel(source, candidate.manifest["dtype"], resolve_device("cpu"))
    loaded.apply(stored[0])
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=".export-"))
    try:
        loaded.model.save_pretrained(temporary)
        loaded.tokenizer.save_pretrained(temporary)
        (temporary / CARD).write_text(card(candidate), encoding="utf-8")
        temporary.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(temporary, out)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def card(candidate: Scored) -> str:
    """The model card: what was done to which model, with which data, what it scores and what that means."""
    facts = candidate.cells[0].provenance
    name = public_name(candidate.source)
    head = {"base_model": name, "library_name": "transformers", "tags": ["unlearning", "unlearnbench", facts["method"]]}
    options = {**facts["method_options"], **(facts["budget"] or {}), **(facts.get("trainer") or {}), "seed": candidate.seed}
    named = facts.get("corpora", {})
    topics = [
        f"| {_cell(topic)} | {side} | {_cell(named[topic][side]) if topic in named else ''} | `{sums[side]}` |"
        for topic, sums in facts["topics"].items()
        for side in ("forget", "retain")
    ]
    scores = [row for cell in candidate.cells for row in _scores(cell)]
    provenance = {
        "base weights": facts["base_weights"],
        "unlearned weights": facts["weights"],
        "method": f"{facts['method']}, {facts['method_distribution']}, source {facts['method_source']}",
        "dtype": facts["dtype"],
        "device": facts.get("device"),
        "torch": facts.get("torch"),
        "transformers": facts.get("transformers"),
        "unlearnbench": facts["unlearnbench"],
        "written": facts["written"],
    }
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
            "",
            f"# {_cell(name)} after {_cell(candidate.variant)}",
            "",
            f"The model `{name}` after unlearning with the method `{facts['method']}`, written by unlearnbench. Unlearning was",
            "measured with the benchmarks below and with nothing else: what they do not ask may still be there.",
            "",
            "## Settings",
            "",
            "| option | value |",
            "|---|---|",
            *(f"| {_cell(option)} | `{_cell(value)}` |" for option, value in options.items()),
            "",
            "## Data",
            "",
            "| topic | side | corpus | sha256 of its rows |",
            "|---|---|---|---|",
            *topics,
            "",
            "## Scores",
            "",
            "| benchmark | part | score | items |",
            "|---|---|---|---|",
            *scores,
            "",
            *_verdict(candidate),
            "## Provenance",
            "",
            "| | |",
            "|---|---|",
            *(f"| {label} | {_cell(value)} |" for label, value in provenance.items() if value is not None),
            "",
        ]
    )


def _verdict(candidate: Scored) -> list[str]:
    """The row of the table over all seeds: what it forgot and kept against the base, and the verdict with its evidence."""
    row, base = candidate.row, candidate.base
    if row is None or row.summary is None:
        return []
    summary = row.summary
    shares = {
        "F, share of the forget knowledge that is gone": summary.forget,
        "K, share of the retain knowledge left": summary.keep,
    }
    shares["S, their harmonic mean"] = summary.score
    lines = ["## Verdict", "", f"`{row.verdict or row.status}`, over {len(row.seeds)} seed{'s' if len(row.seeds) > 1 else ''}:"]
    lines += [f"- {_cell(said(one))}" for one in row.evidence]
    lines += ["", "| | value | 95% interval | base |", "|---|---|---|---|"]
    lines += [f"| {name} | {figure(one.value)} | {span(one) or '-'} | |" for name, one in shares.items()]
    for title, one in row.columns.items():
        known = base.columns.get(title) if base else None
        lines.append(
            f"| {_cell(title)} | {figure(one.value)} | {span(one) or '-'} | {figure(known.value if known else None)} |"
        )
    return [*lines, ""]


def _scores(cell: CellResult) -> list[str]:
    """A benchmark's rows: all items, then each part where there are several."""
    assert cell.value is not None
    parts = [(part, score.value, score.n) for part, score in cell.parts.items()] if len(cell.parts) > 1 else []
    found = [("all", cell.value, cell.n), *parts]
    return [f"| {_cell(cell.key.benchmark)} | {_cell(part)} | {value:.4f} | {n} |" for part, value, n in found]


def _cell(value: object) -> str:
    """Text that cannot break a table or become markup."""
    return str(value).replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("\n", " ")
