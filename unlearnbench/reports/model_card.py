"""The model card of an unlearned model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from unlearnbench.data.sources import public_name
from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import Row
from unlearnbench.reports.attacks import clipped
from unlearnbench.reports.formatting import figure, in_words, percent, span

CARD = "README.md"


@dataclass(frozen=True, kw_only=True)
class Scored:
    """An unlearned model as its scores describe it.

    Attributes:
        variant: row of the table.
        seed: seed of the job.
        cells: scores of exactly these weights.
        source: source of the base model.
        row: row of the table that was written last, over all seeds; None where there is none.
        base: row of the untouched model in that table.
        level: level of the table's intervals.
    """

    variant: str
    seed: int
    cells: Sequence[CellResult]
    source: str
    row: Row | None
    base: Row | None
    level: float = 0.95


def card(candidate: Scored) -> str:
    """Write the model card: the method and its settings, the model, the data, the scores and their meaning."""
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
    """Return the row of the table over all seeds: its F and K against the base, and the verdict with its evidence."""
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
    lines += [f"- {_cell(in_words(evidence))}" for evidence in row.evidence]
    lines += ["", f"| | value | {percent(candidate.level)} interval | base |", "|---|---|---|---|"]
    lines += [f"| {name} | {figure(share.value)} | {span(share) or '-'} | |" for name, share in shares.items()]
    for title, estimate in row.columns.items():
        known = base.columns.get(title) if base else None
        value, before = figure(estimate.value), figure(known.value if known else None)
        lines.append(f"| {_cell(title)} | {value} | {span(estimate) or '-'} | {before} |")
    return [*lines, "", *_attacks(row)]


def _attacks(row: Row) -> list[str]:
    """Return what attacks brought back: each with its R, or that none was run."""
    if not row.attacks:
        return ["No attack was run: what the benchmarks no longer find may be hidden.", ""]
    lines = ["R is the share of what seemed gone that came back; no attack shows that nothing is left.", ""]
    lines += ["| attack | R | interval | F' |", "|---|---|---|---|"]
    for label, result in row.attacks.items():
        recovered, gone = clipped(result.recovered), result.gone
        value, after = figure(recovered.value if recovered else None), figure(gone.value if gone else None)
        lines.append(f"| {_cell(label)} | {value} | {span(recovered) or '-'} | {after} |")
    return [*lines, ""]


def _scores(cell: CellResult) -> list[str]:
    """Return a benchmark's rows: all items, then each part where there are several."""
    assert cell.value is not None
    parts = [(part, score.value, score.n) for part, score in cell.parts.items()] if len(cell.parts) > 1 else []
    found = [("all", cell.value, cell.n), *parts]
    lines = [(cell.key.benchmark, part, value, n) for part, value, n in found]
    measured = ((name, score.value, score.n) for name, score in cell.measures.items() if score.value is not None)
    lines += [(f"{cell.key.benchmark}:{name}", "all", value, n) for name, value, n in measured]
    return [f"| {_cell(name)} | {_cell(part)} | {value:.4f} | {n} |" for name, part, value, n in lines]


def _cell(value: object) -> str:
    """Return text that cannot break a table or become markup."""
    return str(value).replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("\n", " ")
