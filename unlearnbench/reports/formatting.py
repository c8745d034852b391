"""The cells of a leaderboard as text, shared by every report: one heading, one figure, one row at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence

from unlearnbench.records.cells import Cost
from unlearnbench.records.costs import COST_COLUMNS, CostFigure
from unlearnbench.records.leaderboard import UNRANKED, Column, Estimate, Evidence, Leaderboard, Row
from unlearnbench.records.manifest import BASELINE
from unlearnbench.reports.published import Publication
from unlearnbench.reports.units import MISSING, amount

ARROWS = {"forget": "↓", "retain": "↑", "untargeted": ""}
AFTER = ("F", "K", "S", "best", "verdict", "reaches", "seeds", *COST_COLUMNS)  # columns behind the scores
MOST_MEASURES = 6
MOST_REASONS = 3  # told in a note
RANK_NAMES = {"score": "S", "forget": "F", "keep": "K"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed: what would steer a terminal


def printable(text: str) -> str:
    """Return text that cannot steer a terminal: other people's run folders may hold anything."""
    return _CONTROL.sub("�", text.replace("\r\n", "\n"))


def percent(share: float) -> str:
    """Return a share in per cent: 95%."""
    return f"{100 * share:g}%"


def figure(value: float | None, unit: str = "fraction", digits: int = 3) -> str:
    """Return a score with so many decimals, as a fraction without its leading zero; ratings with one less."""
    if value is None:
        return MISSING
    if unit != "fraction":
        return f"{value:.{max(digits - 1, 0)}f}"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def span(estimate: Estimate | None, unit: str = "fraction", digits: int = 3) -> str:
    """Return the interval of a figure: `.294–.421`."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{figure(estimate.low, unit, digits)}–{figure(estimate.high, unit, digits)}"


def heading(column: Column, board: Leaderboard) -> str:
    """Return the column's title with the arrow that shows which way is good: `wmdp ↓`, with a reference `wmdp →.262`."""
    judged = f" ({column.note})" if column.note else ""
    info = next(info for info in board.benchmarks if info.name == column.benchmark)
    arrow = "(lower is better)" if column.role == "retain" and info.better == "lower" else ARROWS[column.role]
    if board.reference and column.ideal is not None:
        arrow = f"→{figure(column.ideal, info.unit)}"
    return f"{column.title}{judged} {arrow}".strip()


def estimate_of(row: Row, column: Column) -> Estimate | None:
    """Return a row's figure in a column, or in one part or group of it."""
    if column.title in row.columns:
        return row.columns[column.title]
    score = row.scores.get(column.benchmark)
    if score is None or not column.parts:
        return None
    return score.parts.get(column.parts[0]) or score.groups.get(column.parts[0])


def shown_columns(board: Leaderboard, *, parts: bool, measures: Sequence[str] = ()) -> list[Column]:
    """The columns of scores.

    Args:
        board: the leaderboard.
        parts: true to have each column followed by one for each of its groups and parts.
        measures: names of measures that are shown beside the primary ones, with or without the benchmark's name; `all` for
            every one.
    """
    columns = [column for column in board.columns if column.primary or _is_named(column, measures)]
    return [extra for column in columns for extra in ([column, *_parts_of(column, board)] if parts else [column])]


def secondary_measures(board: Leaderboard) -> list[str]:
    """Measures that count neither in F nor in K, as BENCHMARK:MEASURE."""
    return list(dict.fromkeys(column.benchmark for column in board.columns if not column.primary))


def _is_named(column: Column, measures: Sequence[str]) -> bool:
    return bool({"all", column.benchmark, column.benchmark.rpartition(":")[2]} & set(measures))


def sentence(board: Leaderboard) -> str:
    """Return the content of the table, and its limits, in one sentence."""
    forgotten = ", ".join(topic.name for topic in board.topics) or "nothing"
    columns = shown_columns(board, parts=False)
    kept = ", ".join(column.title for column in columns if column.role == "retain") or "nothing"
    what = (
        f"how much of {forgotten} is no longer answered and how much of {kept} still is"
        if board.topics
        else f"how the models score on {', '.join(column.title for column in columns)}"
    )
    unseen = "other questions, fine-tuning or quantisation"
    if board.attacks:
        unseen = f"other questions, or other attacks than {', '.join(attack.label for attack in board.attacks)},"
    return (
        f"This shows {what}, on these items, these seeds and this base model; it does not show that the knowledge is gone from "
        f"the weights, nor what {unseen} would bring back."
    )


def rank_text(row: Row, board: Leaderboard) -> str:
    """Return a row's rank; `=` where others share it, nothing where it has none."""
    tied = [other.rank for other in board.rows].count(row.rank) > 1
    return "" if row.rank is None else f"{row.rank}=" if tied else str(row.rank)


def judged(row: Row, column: Column) -> str:
    """Return `, 158/160 judged` where items of the whole column have no score."""
    score = row.scores.get(column.benchmark)
    if column.title != column.benchmark or score is None or not score.asked or score.scored == score.asked:
        return ""
    return f", {score.scored}/{score.asked} judged"


def row_title(variant: str, tuned: str | None = None) -> str:
    """Return a row's name as reports show it, with the label of its settings."""
    if variant == BASELINE:
        return f"{variant} (base)"
    return f"{variant} ({tuned})" if tuned else variant


def seconds(value: float | None) -> str:
    """Return a duration with one decimal."""
    return MISSING if value is None else f"{value:.1f} s"


def costs_of(row: Row) -> dict[str, tuple[str, float | None]]:
    """Return a row's costs, as shown and to sort by, for each of `COST_COLUMNS`."""
    return {title: (cost_text(figure, row.cost), figure.of(row.cost)) for title, figure in COST_COLUMNS.items()}


def cost_text(cost_figure: CostFigure, cost: Cost) -> str:
    """Return one figure of a cost, as a table shows it."""
    value = cost_figure.of(cost)
    if cost_figure.unit == "seconds":
        return seconds(value)
    if cost_figure.unit == "share":
        return MISSING if value is None else f"{100 * value:.2g}%" if value < 1 else f"{100 * value:.0f}%"
    whole = None if value is None else int(value)
    return rounded_size(whole) if cost_figure.unit == "bytes" else amount(whole)


def unmeasured(board: Leaderboard) -> set[str]:
    """Return the columns that a table leaves out, because there is no reference to reach, or no cost of the kind was
    measured.
    """
    rare = {title: figure for title, figure in COST_COLUMNS.items() if not figure.everywhere}
    missing = {title for title, figure in rare.items() if not any(figure.of(row.cost) for row in board.rows)}
    return missing if board.reference else {*missing, "reaches"}


def reaches(row: Row) -> str:
    """Return in a word whether a row reaches the reference."""
    known = row.summary.reaches if row.summary and row.verdict != "reference" else None
    return "" if known is None else "yes" if known else "no"


def rounded_size(count: int | None) -> str:
    """Return bytes as people read them: 512 MB, 5.9 GB."""
    if not count:
        return MISSING
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _parts_of(column: Column, board: Leaderboard) -> list[Column]:
    scores = [score for row in board.rows if (score := row.scores.get(column.benchmark))]
    parts = dict.fromkeys(part for score in scores for part in score.parts)
    groups = dict.fromkeys(group for score in scores for group in score.groups)
    wanted = [*groups, *parts] if column.parts is None else column.parts
    if len(wanted) < 2:
        return []
    return [column.model_copy(update={"title": f"{column.benchmark}/{part}", "parts": [part]}) for part in wanted]


def in_words(evidence: Evidence) -> str:
    """Return one piece of evidence in words: the rule, its value and what that was compared with."""
    value, threshold = (figure(x) if isinstance(x, float) else x for x in (evidence.value, evidence.threshold))
    return f"{evidence.rule}: {value} (threshold {threshold})"


def notes(board: Leaderboard) -> list[str]:
    """Return the notes that a reader needs to read the table."""
    lines = [sentence(board)]
    lines += [
        f"{_about_ideal(board)} ↑ to be kept. F is the share of forget knowledge that is gone, K the share of retain knowledge "
        "that is left, S their harmonic mean; `unlearnbench leaderboard --explain` works them out."
    ]
    lines += [*_about_intervals(board), *_about_order(board), *_about_information(board)]
    lines += [
        f"{row.variant} is {row.verdict} and not ranked: {'; '.join(in_words(evidence) for evidence in row.evidence)}."
        for row in board.rows
        if row.verdict in UNRANKED and row.status == "done"
    ]
    cut = {name: score for row in board.rows for name, score in row.scores.items() if score.truncated}
    lines += [
        f"{name}: the context was cut from the left to fit the model in {score.truncated} of {score.n} items."
        for name, score in cut.items()
    ]
    lines += [
        f"{row.variant}: {name} is the mean of {score.scored} of {score.asked} items; no score: {_reasons(score.missing)}."
        for row in board.rows
        for name, score in row.scores.items()
        if score.missing
    ]
    lines += [
        f"{row.variant}: behind {score.partial} of {score.scored} scores on {name} stand fewer ratings than were asked for; "
        "the same command asks again."
        for row in board.rows
        for name, score in row.scores.items()
        if score.partial
    ]
    lines += [*_about_judges(board), *_about_retraining(board)]
    lines += [f"{failure['status']}: {failure['cell']}: {failure['error']}" for failure in board.failures]
    return lines


def _about_ideal(board: Leaderboard) -> str:
    """Return the ideal of forget scores, and what replaces a model that never knew where there is none."""
    if not board.reference:
        return "↓ to be forgotten: close to chance is best, which stands in for the score of a model that never knew."
    names, margin = " and ".join(board.reference), percent(board.settings.reference_margin)
    alpha = percent(1 - board.settings.level)
    tune = board.recipe.get("tune", {})
    found = any(row.tuned for row in board.rows) or tune.get("spaces")  # by a search, here or before
    ideal = f"the score of {names} as the ideal" if tune.get("reference") else "chance as the ideal"
    searched = f" Settings that a search chose were chosen with {ideal}." if found else ""
    return (
        f"→ to be forgotten: best is the score of {names}, the reference, which never knew. reaches: every topic lies within "
        f"{margin} of the reference, of its distance from the base (equivalence test, {alpha}).{searched}"
    )


def _about_judges(board: Leaderboard) -> list[str]:
    """Return the spread of a judge's ratings of one answer, where it was asked several times."""
    lines: list[str] = []
    for name in dict.fromkeys(column.benchmark for column in board.columns):
        scores = [row.scores[name] for row in board.rows if name in row.scores]
        spreads = [score.figures["judge_sd"] for score in scores if "judge_sd" in score.figures]
        if spreads:
            least, most = (figure(spread, "points") for spread in (min(spreads), max(spreads)))
            extremes = least if least == most else f"{least} to {most}"
            lines.append(f"{name}: the judge's own ratings of one answer have a standard deviation of {extremes} points.")
    return lines


def _about_retraining(board: Leaderboard) -> list[str]:
    """Return the note on shares of the cost of retraining, where the reference has a record of it."""
    shared: dict[str, list[str]] = {}
    for row in board.rows:
        if row.cost.shared_by is not None:
            shared.setdefault(row.cost.shared_by, []).append(row.variant)
    if not shared:
        return []
    names = " and ".join(board.reference)
    sources = [
        *(["by seconds, on the same device"] if "seconds" in shared else []),
        *([f"by the tokens that training saw for {', '.join(shared['tokens'])}, for another device was used or no time kept"]
          if "tokens" in shared else []),
    ]  # fmt: skip
    return [f"of retraining: what unlearning cost as a share of retraining {names}, {'; '.join(sources)}."]


def publication_note(board: Leaderboard, publication: Publication | None) -> list[str]:
    """Return the nature of published rows, and why they are not to be compared digit by digit."""
    if publication is None:
        return []
    if not publication.columns & {published_key(column) for column in shown_columns(board, parts=True)}:
        has = ", ".join(sorted(publication.columns))
        return [f"No row of the {publication.title} stands below: it has {has}, and this table has none of them."]
    source = " ".join(publication.source.split())
    lines = [f"Below chance: published ({publication.title}), not run here: {source}. {_start(publication.note)}."]
    sources = [str(options.get("source", "")) for options in board.recipe.get("benchmarks", {}).values()]
    if any(source.startswith("sandbox:") for source in sources):
        lines.append("This table's own rows answer the sandbox's invented questions: the published rows are another scale.")
    return lines


def published_key(column: Column) -> str | None:
    """Return a column's key in publications: BENCHMARK or BENCHMARK/PART; None for some parts together, which none has."""
    if column.parts is None:
        return column.benchmark
    return f"{column.benchmark}/{column.parts[0]}" if len(column.parts) == 1 else None


def _start(text: str) -> str:
    return text[:1].upper() + text[1:]


def _reasons(missing: dict[str, int]) -> str:
    """Return the most frequent reasons, each with its number of items."""
    often = sorted(missing.items(), key=lambda pair: -pair[1])
    listed = [f"{count} ({reason})" for reason, count in often[:MOST_REASONS]]
    rest = sum(count for _, count in often[MOST_REASONS:])
    return ", ".join([*listed, *([f"{rest} for other reasons"] if rest else [])])


def _about_intervals(board: Leaderboard) -> list[str]:
    kinds = {row.intervals for row in board.rows} - {None}
    level = percent(board.settings.level)
    if not kinds:
        return ["Figures only: `unlearnbench leaderboard` adds intervals, verdicts and ranks."]
    if "items; these seeds" in kinds and "items and seeds" in kinds:
        few = ", ".join(row.variant for row in board.rows if row.intervals == "items; these seeds")
        return [f"{level} intervals: items and seeds, for {few} items; these seeds."]
    if "items and seeds" in kinds:
        return [f"{level} intervals: items and seeds."]
    if "items; these seeds" in kinds:
        return [f"{level} intervals: items; these seeds. What other seeds would do, five seeds and more tell."]
    return [f"{level} intervals: items."]


def _about_order(board: Leaderboard) -> list[str]:
    if board.unranked:
        return [board.unranked]
    ranked = [row for row in board.rows if row.rank is not None]
    if len(ranked) < 2:
        return []
    by = RANK_NAMES.get(board.settings.rank_by, board.settings.rank_by)
    front = [row.variant for row in ranked if row.summary and row.summary.pareto]
    return [
        f"rank: 1 + the number of rows significantly better in {by} on the same items ({percent(1 - board.settings.level)}, "
        "Holm over all pairs); = marks rows of one rank. best: share of resamples in which the row is first.",
        *([f"Nothing is better in both F and K than {', '.join(front)}."] if front else []),
    ]


def _about_information(board: Leaderboard) -> list[str]:
    dull = [topic.name for topic in board.topics if topic.informative is False]
    columns = shown_columns(board, parts=False)
    dull += [column.title for column in columns if column.role == "retain" and column.informative is False]
    lines = (
        [f"Not informative, left out of F, K and S: the base model is not above {_floor(board)} on {', '.join(dull)}."]
        if dull
        else []
    )
    aside = [column.title for column in columns if column.role == "untargeted"]
    lines += [f"Shown, not counted, for no topic claims it: {', '.join(aside)}."] if aside else []
    others = secondary_measures(board)
    more = f" and {len(others) - MOST_MEASURES} more" if len(others) > MOST_MEASURES else ""
    shown = ", ".join(others[:MOST_MEASURES]) + more
    note = f"Measured, too, and counted neither in F nor in K: {shown}; --measures all shows them."
    return lines + ([note] if others else [])


def _floor(board: Leaderboard) -> str:
    return "chance, or not above the reference," if board.reference else "chance"
