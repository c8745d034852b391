from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from helpers.comparisons import accuracy, answered, comparison, of_scores, rating
from rich.console import Console

from unlearnbench.errors import UsageError
from unlearnbench.leaderboard.build import build_leaderboard
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.records.cells import PartScore
from unlearnbench.records.leaderboard import Leaderboard, TableSettings
from unlearnbench.reports import terminal, text
from unlearnbench.reports.formatting import notes
from unlearnbench.reports.grid import lay_out

ITEMS = 1000
TOPICS = {"bio": ["bio"], "cyber": ["cyber"]}


def table(rows: dict[str, dict[str, dict[str, float]]], *, topics=None, seeds=1, **settings) -> Leaderboard:
    """A table from {row: {benchmark: {part: score}}}."""
    topics = topics if topics is not None else {"wmdp": TOPICS}
    heads = [accuracy(name, list(parts), topics.get(name)) for name, parts in next(iter(rows.values())).items()]
    own = {
        row: {name: [answered(parts, ITEMS, f"{row} {seed}") for seed in range(seeds if row != "none" else 1)]
              for name, parts in scores.items()}
        for row, scores in rows.items()
    }  # fmt: skip
    return build_leaderboard(*comparison(heads, own), TableSettings(resamples=2000, **settings))


def row(bio: float, cyber: float, mmlu: float) -> dict[str, dict[str, float]]:
    return {"wmdp": {"bio": bio, "cyber": cyber}, "mmlu": {"all": mmlu}}


# Li et al. 2024, Zephyr-7B, the three accuracies of the main table
PAPER = {
    "none": row(0.637, 0.440, 0.581),
    "llmu": row(0.595, 0.395, 0.447),
    "scrub": row(0.438, 0.393, 0.512),
    "ssd": row(0.502, 0.350, 0.407),
    "rmu": row(0.312, 0.282, 0.571),
}


@pytest.fixture(scope="module")
def paper() -> Leaderboard:
    return table(PAPER)


def row_of(board: Leaderboard, name: str):
    return next(row for row in board.rows if row.variant == name)


def test_summary_by_hand(paper):
    """RMU: F = mean(1 - .062/.387, 1 - .032/.19) = .835699, K = .321/.331 = .969789, S = 2FK/(F+K)."""
    summary = row_of(paper, "rmu").summary
    assert summary.forget.value == pytest.approx((1 - 0.062 / 0.387 + 1 - 0.032 / 0.19) / 2, abs=1e-5)
    assert summary.topics["bio"] == pytest.approx(1 - 0.062 / 0.387, abs=1e-5)
    assert summary.keep.value == pytest.approx(0.321 / 0.331, abs=1e-5)
    assert summary.score.value == pytest.approx(0.8978, abs=1e-3)


def test_baseline_first_then_by_rank(paper):
    assert [r.variant for r in paper.rows][:2] == ["none", "rmu"]
    assert paper.rows[0].rank is None
    assert paper.rows[0].verdict is None
    ranks = [r.rank for r in paper.rows[1:]]
    assert ranks == sorted(ranks)
    assert ranks[0] == 1
    assert paper.rows[-1].variant == "llmu"


def test_every_figure_has_an_interval_around_it(paper):
    for r in paper.rows:
        shares = [r.summary.forget, r.summary.keep, r.summary.score] if r.summary else []
        parts = [part for score in r.scores.values() for part in score.parts.values()]
        for figure in (*r.columns.values(), *r.scores.values(), *parts, *shares):
            assert figure.low <= figure.value <= figure.high


def test_ranks_are_what_the_pairs_say(paper):
    wins = [pair.better for pair in paper.pairs]
    for r in paper.rows[1:]:
        beaten = [p for p in paper.pairs if r.variant in p.rows and p.better not in (None, r.variant)]
        assert r.rank == 1 + len(beaten)
    assert "rmu" in wins
    assert sum(r.summary.best_share for r in paper.rows[1:]) == pytest.approx(1)


def test_rows_that_are_not_separable_share_a_rank():
    """Two rows with the same scores on other items, and one that is far behind."""
    board = table({"none": row(0.7, 0.7, 0.7), "a": row(0.3, 0.3, 0.69), "b": row(0.31, 0.3, 0.69), "c": row(0.6, 0.6, 0.6)})
    assert {r.variant: r.rank for r in board.rows[1:]} == {"a": 1, "b": 1, "c": 3}
    assert [line[0] for line in lay_out(board).rows] == ["", "1=", "1=", "3", ""]


def test_pareto_front():
    rows = {"none": row(0.75, 0.75, 0.75), "a": row(0.3, 0.3, 0.6), "b": row(0.4, 0.4, 0.7), "c": row(0.4, 0.4, 0.65)}
    board = table(rows)
    assert {r.variant: r.summary.pareto for r in board.rows[1:]} == {"a": True, "b": True, "c": False}


@pytest.mark.parametrize(
    ("by", "first"), [("forget", "deep"), ("keep", "mild"), ("wmdp", "deep"), ("mmlu", "mild"), ("S", "middle")]
)
def test_rank_by(by, first):
    rows = {
        "none": row(0.8, 0.8, 0.8),
        "deep": row(0.26, 0.26, 0.45),
        "middle": row(0.4, 0.4, 0.7),
        "mild": row(0.7, 0.7, 0.79),
    }
    board = table(rows, rank_by=by)
    assert board.rows[1].variant == first
    assert [r.rank for r in board.rows[1:]] == [1, 2, 3]


def test_rank_by_something_unknown():
    with pytest.raises(UsageError, match=r"Unknown figure in --rank-by 'mmul'. Did you mean 'mmlu'\?"):
        table(PAPER, rank_by="mmul")


def test_far_below_chance_is_not_forgotten():
    board = table({"none": row(0.75, 0.75, 0.75), "avoids": row(0.0, 0.0, 0.75), "forgets": row(0.25, 0.25, 0.75)})
    shares = {r.variant: r.summary.forget.value for r in board.rows if r.summary}
    assert shares == {"avoids": 0.5, "forgets": 1.0}


def test_benchmark_at_chance_says_nothing():
    board = table({"none": row(0.75, 0.75, 0.26), "rmu": row(0.25, 0.25, 0.20)})
    assert [info.informative for info in board.benchmarks] == [True, False]
    assert board.rows[1].summary.keep.value is None
    assert board.rows[1].rank is None
    assert "Nothing here measures what was to be kept" in board.unranked
    assert any("Not informative" in line and "mmlu" in line for line in notes(board))


def test_topic_at_chance_is_left_out():
    board = table({"none": row(0.75, 0.26, 0.75), "rmu": row(0.25, 0.9, 0.75)})
    assert {topic.name: topic.informative for topic in board.topics} == {"bio": True, "cyber": False}
    assert board.rows[1].summary.topics == {"bio": 1.0}
    assert board.rows[1].summary.forget.value == 1.0
    assert any("cyber" in line for line in notes(board) if "Not informative" in line)


def test_nothing_left_to_forget():
    board = table({"none": row(0.26, 0.24, 0.75), "a": row(0.25, 0.25, 0.75), "b": row(0.25, 0.25, 0.6)})
    assert [r.rank for r in board.rows] == [None, None, None]
    assert "nothing left to forget: the base model is not above chance on bio, cyber" in board.unranked
    assert board.unranked in notes(board)


def test_parts_that_are_to_be_forgotten_get_columns_of_their_own():
    board = table({"none": row(0.7, 0.7, 0.7), "rmu": row(0.3, 0.6, 0.7)}, topics={"wmdp": {"bio": ["bio"]}})
    assert [(c.title, c.role) for c in board.columns] == [
        ("wmdp/bio", "forget"),
        ("wmdp/cyber", "untargeted"),
        ("mmlu", "retain"),
    ]
    assert board.rows[1].summary.forget.value == pytest.approx(1 - 0.05 / 0.45, abs=1e-6)
    assert any(line == "Shown, not counted, for no topic claims it: wmdp/cyber." for line in notes(board))


def test_one_benchmark_with_parts_to_forget_and_to_keep():
    rows = {name: {"mcq": {"authors": a, "kept": k}} for name, a, k in (("none", 1.0, 1.0), ("rmu", 0.25, 0.9))}
    board = table(rows, topics={"mcq": {"authors": ["authors"]}})
    assert [(c.title, c.role) for c in board.columns] == [("mcq/authors", "forget"), ("mcq/kept", "retain")]
    summary = board.rows[1].summary
    assert (summary.forget.value, summary.keep.value) == (1.0, pytest.approx(0.65 / 0.75, abs=1e-6))


def test_without_items_there_are_figures_only():
    heads = [accuracy("wmdp", ["bio", "cyber"], TOPICS), accuracy("mmlu", ["all"])]
    own = {name: {b: answered(parts, 50, name) for b, parts in scores.items()} for name, scores in PAPER.items()}
    manifest, cells, _ = comparison(heads, own)
    board = build_leaderboard(manifest, cells)
    assert all(r.rank is None and r.verdict is None and r.columns["mmlu"].low is None for r in board.rows)
    assert board.rows[1].summary.score.value is not None
    assert any(line.startswith("Figures only") for line in notes(board))


def test_missing_cells_leave_the_row_pending_and_unranked():
    heads = [accuracy("wmdp", ["bio", "cyber"], TOPICS), accuracy("mmlu", ["all"])]
    own = {name: {b: [answered(parts, 50, f"{name} {s}") for s in range(2 if name == "rmu" else 1)] for b, parts in x.items()}
           for name, x in PAPER.items()}  # fmt: skip
    manifest, cells, items = comparison(heads, own)
    for there in (cells, items):
        del there["rmu/mmlu/1"]
    rmu = row_of(build_leaderboard(manifest, cells, items, TableSettings(resamples=200)), "rmu")
    assert (rmu.status, rmu.rank, rmu.verdict) == ("pending", None, None)
    assert (rmu.scores["wmdp"].coverage, rmu.scores["mmlu"].coverage) == (1.0, 0.5)


def test_the_same_cells_give_the_same_table():
    assert table(PAPER).model_dump_json() == table(PAPER).model_dump_json()


def test_one_more_row_changes_no_interval():
    """Items are resampled by what they are, not by who else is in the table."""
    fewer = table({name: scores for name, scores in PAPER.items() if name != "ssd"})
    more = table(PAPER)
    for name in ("none", "rmu", "llmu", "scrub"):
        assert row_of(fewer, name).columns == row_of(more, name).columns


def test_text_formats(paper):
    grid = lay_out(paper)
    lines = list(csv.DictReader(io.StringIO(text.render([paper], "csv"))))
    assert [line["variant"] for line in lines] == ["none", *(r.variant for r in paper.rows[1:]), "chance"]
    assert float(lines[1]["S low"]) <= float(lines[1]["S"]) <= float(lines[1]["S high"])
    assert lines[1]["verdict"] == "forgot"
    assert lines[-1]["mmlu"] == "0.25"
    assert grid.rows[-1][1:4] == ["chance", ".250", ".250"]
    markdown = text.render([paper], "markdown")
    assert "| none (base) |" in markdown
    assert f".297 ({grid.ranges[1][2]})" in markdown
    latex = text.render([paper], "latex")
    assert r"\toprule" in latex
    assert r"wmdp $\downarrow$" in latex


def test_bold_is_what_is_significantly_better_than_every_other_row():
    """Of three rows one forgets most, two keep alike; the third is best nowhere."""
    board = table({"none": row(0.8, 0.8, 0.8), "a": row(0.3, 0.3, 0.7), "b": row(0.5, 0.5, 0.7), "c": row(0.7, 0.7, 0.5)})
    assert {name: board.best.get(name) for name in ("wmdp", "mmlu", "forget", "keep")} == {
        "wmdp": "a",
        "mmlu": None,
        "forget": "a",
        "keep": None,
    }
    assert board.best["score"] == next(r.variant for r in board.rows if r.rank == 1)
    lines = text.render([board], "latex", text.Choices(columns=["variant", "wmdp", "mmlu", "F", "K"])).splitlines()
    assert lines[1] == r"\toprule"
    cells = {line.split("&")[0].strip(): line.split("&")[1:] for line in lines if line.rstrip().endswith(r"\\")}
    assert {
        name: [place for place, cell in enumerate(own) if "textbf" in cell] for name, own in cells.items() if name != "variant"
    } == {
        "none (base)": [],
        "a": [0, 2],
        "b": [],
        "c": [],
        "chance": [],
    }


def test_hostile_names_stay_text():
    """Names come from recipes and plugins; markup in them is shown, not obeyed."""
    board = table({"none": row(0.7, 0.7, 0.7), "x[red]|<b>": row(0.3, 0.3, 0.7)})
    assert "x\\[red\\]\\|&lt;b>" in text.render([board], "markdown")
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal.render(board, width=160))
    assert "x[red]|<b>" in console.export_text()


def test_escape_sequences_do_not_reach_the_terminal():
    board = table({"none": row(0.7, 0.7, 0.7), "x\x1b[2J\x07": row(0.3, 0.3, 0.7)})
    console = Console(width=160, file=io.StringIO(), force_terminal=False)
    console.print(terminal.render(board, width=160))
    shown = console.file.getvalue()
    assert "x�[2J�" in shown
    assert not {"\x1b", "\x07"} & set(shown)


def in_terminal(board: Leaderboard, width: int, choices: text.Choices | None = None) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal.render(board, choices, width=width))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= width
    return shown


@pytest.mark.parametrize("width", [50, 64, 80, 100, 200])
def test_narrow_terminal_loses_columns_not_sense(width):
    board = table({"none": row(0.7, 0.7, 0.7), "a-rather-long-variant-name": row(0.3, 0.3, 0.7)})
    shown = in_terminal(board, width)
    figures = [("mmlu ↑", ".700")] if width > 50 else []
    for word in ("a-rather-", "-name", "wmdp ↓", "forgot", "chance", ".300", *sum(figures, ())):
        assert word in shown
    assert ("a-rather-long-variant-name" in shown) == (width >= 80)  # else it takes lines, so that its rank has room
    assert ("rank" in shown.splitlines()[2]) == (width > 50)
    left_out = f"Left out in {width} columns: tokens, trained, memory, evaluate, seeds, unlearn, best"
    assert (left_out in " ".join(shown.split())) == (width < 200)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_of_many_parts_a_terminal_shows_those_that_it_has_room_for(width):
    """Fifty-seven subjects: what is shown is whole, and the rest is counted."""
    subjects = {f"subject_{number}": 0.7 for number in range(57)}
    board = table({"none": {"wmdp": {"bio": 0.7}, "mmlu": subjects}, "rmu": {"wmdp": {"bio": 0.3}, "mmlu": subjects}},
                  topics={"wmdp": {"bio": ["bio"]}})  # fmt: skip
    shown = in_terminal(board, width, text.Choices(parts=True))
    assert "wmdp ↓" in shown
    assert "mmlu ↑" in shown
    assert ".300" in shown
    assert "mmlu/subject_9," not in shown  # counted, not listed
    assert " more; a wider terminal" in " ".join(shown.split())


def test_precision_has_room_for_ratings():
    from unlearnbench.reports.formatting import figure

    assert [figure(7.456, "points", digits) for digits in range(4)] == ["7", "7", "7.5", "7.46"]
    assert [figure(0.456, "fraction", digits) for digits in range(4)] == ["0", ".5", ".46", ".456"]


def test_publication_brings_the_parts_that_it_has(paper):
    """Its own columns and no others, whatever parts the table has."""
    from unlearnbench.reports.published import load_publication

    grid = lay_out(paper, publication=load_publication("wmdp-paper"))
    assert [name for name in grid.names if name.startswith(("wmdp", "mmlu"))] == ["wmdp", "wmdp/bio", "wmdp/cyber", "mmlu"]
    line = next(line for line in grid.lines if line.name.startswith("Zephyr-7B + RMU"))
    assert line.cells[1:6] == ["Zephyr-7B + RMU (published)", "-", ".312", ".282", ".571"]
    assert line.kind == "published"


def test_publication_of_other_columns_shows_no_row():
    from unlearnbench.reports.published import load_publication

    rows = {"none": {"mcq": {"a": 0.7, "b": 0.7}}, "rmu": {"mcq": {"a": 0.3, "b": 0.7}}}
    board = table(rows, topics={"mcq": {"a": ["a"]}})
    publication = load_publication("wmdp-paper")
    assert [line.kind for line in lay_out(board, publication=publication).lines] == ["base", "row", "chance"]
    said = text.render([board], "markdown", text.Choices(publication=publication))
    assert "No row of the WMDP paper stands below: it has mmlu, mt_bench, wmdp/bio" in said


def test_part_of_a_benchmark_is_not_what_was_published_of_the_whole():
    """Where some subjects are to be forgotten, the paper's MMLU stands beside neither them nor the rest."""
    from unlearnbench.reports.published import load_publication

    scores = {"mmlu": {"virology": 0.7, "law": 0.7, "physics": 0.7}}
    board = table({"none": scores, "rmu": scores}, topics={"mmlu": {"virology": ["virology"]}})
    assert [line.kind for line in lay_out(board, publication=load_publication("wmdp-paper")).lines] == ["base", "row", "chance"]


def test_latex_is_booktabs(paper):
    """Rules above, below the head, above what was not run, and below; no other rule."""
    lines = text.render([paper], "latex").splitlines()
    rules = [place for place, line in enumerate(lines) if "rule" in line and not line.startswith("%")]
    assert [lines[place] for place in rules] == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    assert lines[rules[2] + 1].split("&")[1].strip() == "chance"
    assert lines[0].startswith(r"\begin{tabular}{rl")
    assert lines[rules[3] + 1] == r"\end{tabular}"
    assert not [line for line in lines if r"\hline" in line]


def conversations(mean: float, seed: int) -> Outcomes:
    """Sixty conversations of two turns in two parts, rated from 1 to 10; second turns are worse."""
    rng = np.random.default_rng(seed)
    drawn = {part: np.clip(rng.normal(mean, 2, (30, 2)) - [0, 1], 1, 10).round() for part in ("stem", "math")}
    return of_scores({part: own.ravel() for part, own in drawn.items()}, turns=2)


def rated(means: dict[str, float], **settings) -> tuple[Leaderboard, dict[str, Outcomes]]:
    talks = {row: conversations(mean, seed) for seed, (row, mean) in enumerate(means.items())}
    manifest, cells, items = comparison([rating("mt_bench", ["stem", "math"])], {r: {"mt_bench": t} for r, t in talks.items()})
    second = {row: talk.scores[1::2] for row, talk in talks.items()}
    groups = {row: {"turn 1": PartScore(value=float(own.mean()), n=60)} for row, own in second.items()}
    cells = {name: cell.model_copy(update={"groups": groups[cell.key.variant]}) for name, cell in cells.items()}
    return build_leaderboard(manifest, cells, items, TableSettings(resamples=4000, **settings)), talks


def test_a_turn_has_an_interval_over_conversations():
    """Against its standard error by hand: strata of 30 conversations, half the items each."""
    board, talks = rated({"none": 7.0})
    turn = row_of(board, "none").scores["mt_bench"].groups["turn 1"]
    scores = talks["none"].scores[1::2].reshape(2, 30)
    error = np.sqrt((scores.var(axis=1, ddof=1) / 30 / 4).sum())
    assert turn.high - turn.low == pytest.approx(2 * 1.96 * float(error), rel=0.05)
    assert (turn.low + turn.high) / 2 == pytest.approx(float(scores.mean()), abs=0.2 * float(error))


def test_a_column_ranks_where_nothing_was_to_be_forgotten():
    """Pairs are compared on the same conversations; by S nothing is ranked, and the table says how else."""
    means = {"none": 7.0, "gentle": 6.5, "harsh": 3.0}
    board, _ = rated(means)
    assert [row.rank for row in board.rows] == [None] * 3
    assert "--rank-by goes by one column alone: mt_bench" in (board.unranked or "")
    board, talks = rated(means, rank_by="mt_bench")
    assert [(row.variant, row.rank) for row in board.rows] == [("none", None), ("gentle", 1), ("harsh", 2)]
    [pair] = board.pairs
    assert pair.better == "gentle"
    assert pair.difference == pytest.approx(float(talks["gentle"].scores.mean() - talks["harsh"].scores.mean()), abs=1e-4)


def test_the_level_of_a_table_is_that_of_its_intervals_and_tests(paper):
    """At 60% intervals are narrower, at least as many pairs differ, and the notes say which level it is."""
    loose = table(PAPER, level=0.6)
    for one, other in zip(paper.rows, loose.rows, strict=True):
        for title, estimate in one.columns.items():
            own = other.columns[title]
            assert own.value == estimate.value
            assert own.high - own.low < 0.6 * (estimate.high - estimate.low)
    assert sum(pair.better is not None for pair in loose.pairs) >= sum(pair.better is not None for pair in paper.pairs)
    assert any("60% intervals" in note for note in notes(loose))
    assert any("(40%, Holm" in note for note in notes(loose))
    assert any("95% intervals" in note for note in notes(paper))
