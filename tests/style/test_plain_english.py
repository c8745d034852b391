"""The rules for docstrings and names, on sentences of either kind."""

from __future__ import annotations

import pytest
from style.plain_english import Finding, findings, is_fragment, is_odd_summary, main


@pytest.mark.parametrize(
    "text",
    [
        "of the adapter.",
        "whether to keep the weights.",
        "which split is read.",
        "as in `encode`.",
        "likewise.",
        "in seconds.",
        "how often an answer is rated.",
        "is told how far things are.",
        "holds the lock.",
        "given by the caller.",
        "decoupled.",
        "using the cache.",
        "keep the questions.",
        "only with `--judge`.",
        "they belong to it.",
        "where there is none",
    ],
)
def test_fragments(text: str) -> None:
    assert is_fragment(text)


@pytest.mark.parametrize(
    "text",
    [
        "rank of the adapter.",
        "True to keep the weights.",
        "at most 8 pieces.",
        "up to three names.",
        "(B, T) int64, the tokens.",
        "`nll`, or `kl` on retain texts.",
        "[0, 1], share of the rows.",
        "0 where nothing is drawn.",
        "trained blocks, 0-based.",
        "given names, in order.",
        "counts per topic.",
        "loss in nats per token.",
        "scores, one per item.",
        "seed; the same seed gives the same order.",
        "split that a benchmark reads.",
        "bytes that a text takes.",
        "padding of the batch.",
        "the answer that is preferred.",
    ],
)
def test_noun_phrases(text: str) -> None:
    assert not is_fragment(text)


@pytest.mark.parametrize(
    "text", ["What a job costs.", "Whether it fits.", "How many rows.", "Says which row.", "Somebody who rates.", "As given."]
)
def test_odd_summaries(text: str) -> None:
    assert is_odd_summary(text)


@pytest.mark.parametrize("text", ["Return whether it fits.", "Costs of a job.", "The number of rows.", "A plugin's name."])
def test_plain_summaries(text: str) -> None:
    assert not is_odd_summary(text)


SOURCE = '''"""A module."""


class Row:
    """What a row is.

    Attributes:
        name: of the row.
        seeds: whose
            seeds.
        score: mean over seeds, in [0, 1].
    """

    limit: int = 0
    """whether there is one"""

    def __init__(self, said: str, *, own: int = 0) -> None:
        self.told = [one for one in said]
'''


def test_finds_each_kind_with_its_line() -> None:
    assert [(f.line, f.rule, f.text) for f in findings(SOURCE, "row.py")] == [
        (5, "summary", "What a row is."),
        (8, "attribute", "of the row."),
        (9, "attribute", "whose"),
        (15, "attribute", "whether there is one"),
        (17, "name", "said"),
        (17, "name", "own"),
        (18, "name", "told"),
        (18, "name", "one"),
    ]


def test_help_of_options() -> None:
    source = 'Option(help="What it is.")\nOption(help="Print JSON.")\n'
    assert findings(source, "f.py") == [Finding("f.py", 1, "help", "What it is.")]


def test_nested_documentation_and_text_in_strings() -> None:
    source = 'def f():\n    """Do it."""\n\n    def g():\n        """If it is so."""\n    return "one", own.said\n'
    assert findings(source, "f.py") == [Finding("f.py", 5, "summary", "If it is so.")]


def test_counts_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tests/style/plain_english.py"]) == 0
    assert capsys.readouterr().out == "plain English: no findings in 1 files\n"
