"""The derivation of each row's F, K, S, rank and verdict: the formulas with the table's own numbers in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unlearnbench.leaderboard.shares import is_whole
from unlearnbench.records.cells import Reduction
from unlearnbench.records.leaderboard import Estimate, Leaderboard, PairTest, Row, TopicInfo
from unlearnbench.records.manifest import BASELINE
from unlearnbench.reports.attacks import FORMULAS as ATTACKED
from unlearnbench.reports.attacks import attack_lines
from unlearnbench.reports.formatting import RANK_NAMES, estimate_of, figure, in_words, percent, span

MOST_PAIRS = 12  # of a row: with more, leaderboard.json has them
FORMULAS = """\
F = mean over topics of clip(1 - |score - ideal| / |base - ideal|, 0, 1); the ideal is {ideal}
K = minimum over what is to be kept of clip((score - chance) / (base - chance), 0, 1)
S = 2 F K / (F + K)
A topic or benchmark on which the base is not significantly above {floor} (one-sided, {alpha}) counts in neither.
Intervals: {level}, {resamples:,} resamples of the items within parts; from five seeds on with their variance, by Student's t.
Ranks: 1 + the number of rows significantly better in {by}: paired on the same resamples, z from their standard error, read as
t, Holm over all pairs, {alpha}. McNemar: exact, on the right and wrong answers of rows with one seed, Holm over all pairs.
Verdicts, the first that applies: failed, diverged, collapsed (K near chance, one letter for nearly everything that was to be
kept, or no language), inverted (significantly beyond the ideal on forget), no-effect (F's interval includes 0), forgot-damaged
(K's interval wholly below 1 - {margin}), forgot. The first three are not ranked."""
REACHES = """
Reaches the reference: on every topic (score - reference) / (base - reference) lies between -{within} and {within}, by two
one-sided tests at {alpha} each, paired on the same resamples: an interval at {equivalence} wholly inside."""


def render(board: Leaderboard) -> str:
    """Return the formulas, then every row."""
    rows = ["\n  ".join(row_lines(row, board)) for row in board.rows if row.variant != BASELINE]
    base = next((row for row in board.rows if row.variant == BASELINE), None)
    if base is not None and (figures_of_base := _figures(base)):
        rows = ["\n  ".join([f"{BASELINE} (base)", *figures_of_base]), *rows]
    title = f"{board.recipe['name']}: {board.recipe['model']}"
    return "\n\n".join([title, formulas(board), *([board.unranked] if board.unranked else []), *rows])


def formulas(board: Leaderboard) -> str:
    """Return the formulas with the table's settings in them."""
    settings = board.settings
    by = RANK_NAMES.get(settings.rank_by, settings.rank_by)
    level, alpha = percent(settings.level), percent(1 - settings.level)
    names = " and ".join(board.reference)
    parts = {
        "ideal": f"what {names} scores, the reference" if names else "chance, for want of a reference",
        "floor": "the ideal (a benchmark to be kept: above chance)" if names else "chance",
        "within": figure(settings.reference_margin),
        "equivalence": percent(1 - 2 * (1 - settings.level)),
    }
    text = FORMULAS + (REACHES if names else "")
    margin = figure(settings.damage_margin)
    filled = text.format(resamples=settings.resamples, by=by, margin=margin, level=level, alpha=alpha, **parts)
    return "\n".join([filled.rstrip("\n"), *([ATTACKED] if board.attacks else []), *_measures(board)])


REDUCTIONS: dict[Reduction, str] = {
    "mean": "mean over the items",
    "harmonic": "harmonic mean of the parts' means",
    "auc": "probability that a value lies above one of {against} (AUC)",
    "ks": "Kolmogorov-Smirnov statistic against the reference's items",
    "ks-log-p": "base-10 logarithm of the p value of a Kolmogorov-Smirnov test against the reference's items",
    "difference": "mean less the reference's mean",
    "relative-auc": "AUC against {against}, less the reference's AUC A, over A",
}


def _measures(board: Leaderboard) -> Iterator[str]:
    """Yield the recipe of each measure of a benchmark that has several."""
    for info in board.benchmarks:
        if info.measure is not None:
            measure = info.measure
            made = REDUCTIONS[measure.reduction].format(against=", ".join(measure.against))
            parts = f" in {', '.join(measure.parts)}" if measure.parts else ""
            counts = "" if measure.primary else "; counts neither in F nor in K"
            yield f"{info.name}: {made} of {', '.join(measure.values)}{parts}{counts}."


def row_lines(row: Row, board: Leaderboard) -> list[str]:
    """Return the derivation of one row's place and verdict, line by line; the first names the row."""
    base = next((candidate for candidate in board.rows if candidate.variant == BASELINE), None)
    place = "not ranked" if row.rank is None else f"rank {row.rank}"
    lines = [f"{row.variant}: {place}, {row.verdict or row.status}"]
    if row.summary is not None and base is not None:
        lines += [*_forget(row, base, board), *_keep(row, base, board), *_both(row)]
    lines += _figures(row)
    lines += attack_lines(row, board)
    lines += [f"verdict: {in_words(evidence)}" for evidence in row.evidence]
    return [*lines, *_rivals(row, board.pairs)]


def _forget(row: Row, base: Row, board: Leaderboard) -> list[str]:
    assert row.summary is not None
    shares = row.summary.topics
    terms = [_gone(topic, row, base, board, shares[topic.name]) for topic in board.topics if topic.name in shares]
    return [*terms, f"F = mean of {_list(shares)} = {_with_span(row.summary.forget)}", *_reaching(row)] if terms else []


def _reaching(row: Row) -> list[str]:
    """Return the row's distance from the reference on each topic."""
    assert row.summary is not None
    if row.summary.reaches is None or row.verdict == "reference":
        return []
    listed = ", ".join(f"{topic} {_with_span(distance)}" for topic, distance in row.summary.distances.items())
    return [f"{'reaches' if row.summary.reaches else 'does not reach'} the reference: {listed}"]


def _gone(topic: TopicInfo, row: Row, base: Row, board: Leaderboard, share: float) -> str:
    """Return one topic's share; the calculation where one benchmark measures it."""
    benchmarks = list(dict.fromkeys(part.partition("/")[0] for part in topic.parts))
    if len(benchmarks) > 1:
        return f"{topic.name}: mean over {', '.join(benchmarks)} = {figure(share)}"
    parts = [part.partition("/")[2] for part in topic.parts]
    info = next(info for info in board.benchmarks if info.name == benchmarks[0])
    score, known = (figure(_mean_over(each, benchmarks[0], parts, whole=is_whole(info)), info.unit) for each in (row, base))
    ideal = figure(info.chance if topic.ideal is None else topic.ideal, info.unit)
    return f"{topic.name}: 1 - |{score} - {ideal}| / |{known} - {ideal}| = {figure(share)}"


def _mean_over(row: Row, benchmark: str, parts: Sequence[str], *, whole: bool) -> float | None:
    """Return a row's mean score over parts; for a measure that is no mean, its figure."""
    score = row.scores.get(benchmark)
    if whole:
        return score.value if score else None
    means = [score.parts[part] for part in parts if part in score.parts] if score else []
    items = sum(mean.n or 0 for mean in means)
    return sum((mean.value or 0.0) * (mean.n or 0) for mean in means) / items if items else None


def _keep(row: Row, base: Row, board: Leaderboard) -> list[str]:
    assert row.summary is not None
    units = {info.name: info.unit for info in board.benchmarks}
    lines: list[str] = []
    for column in board.columns:
        if column.title in row.summary.kept:
            unit = units[column.benchmark]
            score, known = (_value(estimate_of(source, column), unit) for source in (row, base))
            chance, share = figure(column.chance, unit), figure(row.summary.kept[column.title])
            lines.append(f"{column.title}: ({score} - {chance}) / ({known} - {chance}) = {share}")
    return [*lines, f"K = minimum of {_list(row.summary.kept)} = {_with_span(row.summary.keep)}"] if lines else []


def _both(row: Row) -> list[str]:
    assert row.summary is not None
    forget, keep, both = row.summary.forget, row.summary.keep, row.summary.score
    if forget.value is None or keep.value is None:
        return []
    F, K = figure(forget.value), figure(keep.value)  # noqa: N806 - as in the formula
    return [f"S = 2 x {F} x {K} / ({F} + {K}) = {_with_span(both)}"]


def _figures(row: Row) -> list[str]:
    """Return the figures that benchmarks report beside their scores."""
    found = {name: score.figures for name, score in row.scores.items() if score.figures}
    return [
        f"{name}: {', '.join(f'{_words(word)} {figure(value)}' for word, value in figures.items())}"
        for name, figures in found.items()
    ]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _rivals(row: Row, pairs: Sequence[PairTest]) -> list[str]:
    """Return the rows that the row beats, loses to and draws with, then the raw columns; names only where there are many."""
    of_row = [pair for pair in pairs if row.variant in pair.rows]
    if len(of_row) <= MOST_PAIRS:
        return [_rival(row, pair) for pair in of_row]
    groups: dict[str, list[str]] = {}
    for pair in of_row:
        if pair.difference is not None:
            groups.setdefault(_outcome(row, pair), []).append(_other(row, pair))
    return [f"{outcome}: {', '.join(names)}" for outcome, names in sorted(groups.items())]


def _rival(row: Row, pair: PairTest) -> str:
    raw = "; ".join(f"McNemar on {column}: p {p:.2g}" for column, p in pair.mcnemar.items())
    if pair.difference is None or pair.low is None or pair.high is None:
        return f"against {_other(row, pair)}: {raw}"
    first = pair.rows[0] == row.variant
    low, high = (pair.low, pair.high) if first else (-pair.high, -pair.low)
    difference = figure(pair.difference if first else -pair.difference)
    sentence = (
        f"{_outcome(row, pair)} {_other(row, pair)}: difference {difference} ({figure(low)}–{figure(high)}), p {pair.p:.2g}"
    )
    return f"{sentence}; {raw}" if raw else sentence


def _outcome(row: Row, pair: PairTest) -> str:
    return "better than" if pair.better == row.variant else "worse than" if pair.better else "not separable from"


def _other(row: Row, pair: PairTest) -> str:
    return pair.rows[1] if pair.rows[0] == row.variant else pair.rows[0]


def _list(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {figure(share)}" for name, share in shares.items())


def _value(estimate: Estimate | None, unit: str) -> str:
    return figure(estimate.value if estimate else None, unit)


def _with_span(estimate: Estimate) -> str:
    spread = span(estimate)
    return f"{figure(estimate.value)} ({spread})" if spread else figure(estimate.value)
