"""ROUGE and the stemmer by hand, against NLTK and rouge-score, and on the pairs that OpenUnlearning scored."""

from __future__ import annotations

import json
import random
import re

import pytest

from unlearnbench.data.sources import sandbox_folder
from unlearnbench.scoring.porter import _PLURALS, _STEP_2, _STEP_3, _STEP_4, stem
from unlearnbench.scoring.rouge import rouge


def corpus_words() -> set[str]:
    files = (sandbox_folder() / "data").rglob("*.jsonl")
    return {word for path in files for word in re.findall(r"[a-z0-9]{3,}", path.read_text(encoding="utf-8").lower())}


def made_words() -> set[str]:
    """Beginnings with every ending that a rule speaks of, and letters at random."""
    rng = random.Random(0)
    suffixes = [
        *_PLURALS,
        *_STEP_2,
        *_STEP_3,
        *_STEP_4,
        *["ied", "ed", "eed", "ing", "y", "logi", "logy", "ll", "e", "ly", "ational", "ally", "fully"],
    ]
    starts = [
        "",
        *["b", "tr", "a", "ab", "geo", "hop", "conflat", "troubl", "siz", "fall", "roll", "enjo", "syz", "yy", "activ"],
    ]
    made = {start + suffix for start in starts for suffix in suffixes}
    made |= {start + first + second for start in starts for first in suffixes for second in ("s", "ed", "ing", "y", "e")}
    return made | {"".join(rng.choices("aeiouylstbdgn", k=rng.randrange(3, 10))) for _ in range(20_000)}


def test_stems_are_nltks():
    porter = pytest.importorskip("nltk.stem.porter").PorterStemmer()
    words = sorted(corpus_words() | made_words())
    assert len(words) > 20_000
    assert [word for word in words if stem(word) != porter.stem(word)] == []


BY_HAND = "dying die, flies fli, dies die, hopping hop, hoping hope, falling fall, relational relat, enjoyment enjoy, is is"


@pytest.mark.parametrize("pair", BY_HAND.split(", "))
def test_stem_by_hand(pair):
    word, expected = pair.split()
    assert stem(word) == expected


def test_rouge_by_hand():
    """Longest common subsequence: the, cat, sat."""
    found = rouge("the cat sat down", "the cat on the mat sat")
    assert found == pytest.approx((0.75, 0.75, 0.5, 0.6))
    assert rouge("The authors love writing", "the author loved to write") == pytest.approx((1, 1, 0.8, 8 / 9))
    assert rouge("The authors love writing", "the author loved to write", stemmed=False)[1:3] == pytest.approx((0.25, 0.2))
    assert rouge("Hsiao Yun-Hwa", "hsiao").recall == pytest.approx(1 / 3)
    assert rouge("words", "") == rouge("", "words") == rouge("...", "?!") == (0, 0, 0, 0)
    assert rouge("one two", "three") == (0, 0, 0, 0)


@pytest.mark.parametrize("stemmed", [True, False])
def test_rouge_is_rouge_scores(stemmed):
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rougeL"], use_stemmer=stemmed)
    rng = random.Random(1)
    words = sorted(corpus_words())[::7]
    for _ in range(100):
        vocabulary = rng.choices(words, k=12)
        reference, answer = (" ".join(rng.choices(vocabulary, k=rng.randrange(1, 30))) + ", ÄÖ-2x!" for _ in range(2))
        theirs = scorer.score(reference, answer)
        line = theirs["rougeL"]
        assert rouge(reference, answer, stemmed=stemmed) == (
            theirs["rouge1"].recall,
            line.recall,
            line.precision,
            pytest.approx(line.fmeasure, abs=1e-15),
        )


def test_rouge_on_openunlearnings_pairs(real_data):
    path = real_data / "oracles" / "rouge_pairs.jsonl"
    if not path.is_file():
        pytest.skip(f"OpenUnlearning's logs are not at {path.parent}")
    pairs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(pairs) == 147
    for pair in pairs:
        found = rouge(pair["reference"], pair["generation"])
        for name, value in (("rouge1_recall", found.rouge1_recall), ("rougeL_recall", found.recall), ("rougeL_f1", found.f1)):
            assert value == pytest.approx(pair[name], abs=1e-12)
        bare = rouge(pair["reference"], pair["generation"], stemmed=False)
        assert (bare.recall != found.recall) == pair["stemming_matters"]
