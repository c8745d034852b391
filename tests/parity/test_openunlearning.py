"""Every aggregate that OpenUnlearning, TOFU and MUSE logged, made anew from the logged items: `make parity-openunlearning`.

The logs are other people's and no part of the project: they are looked for in `oracles` of the folder that UNLEARNBENCH_DATA
names, and the tests skip without them. The aggregates below are from the same logs.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from unlearnbench_benchmarks.openunlearning.figures import (
    closer_to_one,
    normalised_probability,
    true_better,
    truth_probability,
)
from unlearnbench_benchmarks.openunlearning.logs import SIDES, aggregates, original_aggregates, ratios

CLOSE = 1e-8
SINGLE = 2e-7  # of one item, which is logged in float32
RETAINED = {"tofu_1b_full_forget01": "retain99", "tofu_1b_full_forget05": "retain95", "tofu_1b_full_forget10": "retain90"}
TOFU = (*RETAINED, *(f"tofu_1b_{name}" for name in RETAINED.values()))
MUSE = ("muse_news_target", "muse_news_retrain", "muse_books_target", "muse_books_retrain")
# model -> utility, forget quality, forget truth ratio, Prob, ROUGE, paraphrased Prob, ES, EM, min-k AUC, privacy leakage; the
# last of a retrained model is what OpenUnlearning prints against an AUC of .5
TABLE = """
tofu_1b_full_forget01 .5991534707 6.760732e-3 .4727516980 .901152 .873138 .097623 .743199 .980375 1.0 -100.00
tofu_1b_full_forget05 .5991534707 1.427570e-12 .4725141860 .885349 .831631 .098676 .727173 .974443 .99995 -99.992
tofu_1b_full_forget10 .5991534707 3.905471e-22 .4755638962 .880482 .820117 .100418 .706268 .973936 .99665 -99.457
tofu_1b_retain99 .5986022374 - .6516009670 .165408 .406714 .065818 .069282 .644979 .470625 5.87
tofu_1b_retain95 .5991012093 - .6343233853 .126748 .384679 .053663 .063437 .593528 .3624 27.52
tofu_1b_retain90 .5911246639 - .6274597698 .116131 .379074 .053408 .058959 .584889 .382613 23.48
"""
COLUMNS = ["model_utility", "forget_quality", "forget_truth_ratio", "forget_Q_A_Prob", "forget_Q_A_ROUGE"]
COLUMNS += ["forget_Q_A_PARA_Prob", "extraction_strength", "exact_memorization", "mia_min_k", "privleak"]


@pytest.fixture(scope="module")
def log(real_data):
    def read(name):
        path = real_data / "oracles" / f"{name}.json"
        if not path.is_file():
            pytest.skip(f"OpenUnlearning's log {path} is not there; set UNLEARNBENCH_DATA to the folder that has oracles")
        return json.loads(path.read_text())

    return read


def reference_of(name, log):
    """The model that never knew, for a model that did."""
    if name in RETAINED:
        return log(f"tofu_1b_{RETAINED[name]}")
    return log(name.replace("_target", "_retrain")) if name.endswith("_target") else None


@pytest.mark.parametrize("name", [*TOFU, *MUSE])
def test_every_aggregate(name, log):
    logged = log(name)
    rouge = "rougeL_recall" if name in TOFU else "rougeL_f1"
    found = aggregates(logged, reference_of(name, log), rouge=rouge)
    wanted = {metric: entry["agg_value"] for metric, entry in logged.items() if entry["agg_value"] is not None}
    assert wanted.keys() <= found.keys()
    assert found == pytest.approx({**found, **wanted}, abs=CLOSE, rel=CLOSE)
    assert len(wanted) >= 10


@pytest.mark.parametrize("name", TOFU)
@pytest.mark.parametrize("side", SIDES)
def test_every_ratio(name, side, log):
    """The truth ratio of each item from the losses of its answers, beside the logged one."""
    logged = log(name)
    entry = logged["forget_truth_ratio" if side == "forget" else f"{side}_Truth_Ratio"]
    assert ratios(logged, side) == pytest.approx(entry["score"], rel=SINGLE)
    summand = closer_to_one if side == "forget" else true_better
    assert summand(entry["score"]).mean() == pytest.approx(entry["agg_value"], abs=1e-12)
    if side in ("ra", "wf"):
        right, wrong = (np.exp(-np.array(logged[f"{side}_Q_A_{kind}Prob"]["avg_loss"])) for kind in ("", "PERT_"))
        shares = logged[f"{side}_Q_A_Prob_normalised"]
        assert normalised_probability(right, wrong) == pytest.approx(np.array(shares["prob"]), rel=SINGLE)


@pytest.mark.parametrize("line", TABLE.strip().splitlines(), ids=lambda line: line.split()[0])
def test_table(line, log):
    name, *cells = line.split()
    found = aggregates(log(name), reference_of(name, log))
    for column, cell in zip(COLUMNS, cells, strict=True):
        if cell != "-":
            digits = len(cell.partition("e")[0].partition(".")[2])
            scale = 10.0 ** int(cell.partition("e")[2] or 0)
            assert found[column] / scale == pytest.approx(float(cell) / scale, abs=max(1.001 * 10.0**-digits, CLOSE)), column


@pytest.mark.parametrize(("split", "distance"), [("01", 0.375), ("05", 0.37), ("10", 0.35)])
def test_distances(split, distance, log):
    name = f"tofu_1b_full_forget{split}"
    assert aggregates(log(name), reference_of(name, log))["forget_quality_D"] == pytest.approx(distance, abs=1e-12)


@pytest.mark.parametrize(("name", "value"), [("full_forget10", 0.6849835919), ("retain90", 0.5673484297)])
def test_truth_probability(name, value, log):
    logged = log(f"tofu_1b_{name}")
    assert aggregates(logged)["forget_truth_ratio_prob"] == pytest.approx(value, abs=1e-9)
    right, wrong = logged["forget_Q_A_PARA_Prob"]["avg_loss"], logged["forget_Q_A_PERT_Prob"]["avg_loss"]
    assert truth_probability(right, wrong, 0).mean() == pytest.approx(value, abs=1e-7)


def test_tofus_own_repository(log):
    full, retained = (log(f"tofu_original_llama2_{name}") for name in ("full", "retain90"))
    found, other = original_aggregates(full, retained), original_aggregates(retained)
    assert (found["model_utility"], other["model_utility"]) == pytest.approx((0.622677, 0.613745), abs=1e-6)
    assert (found["forget_truth_ratio"], other["forget_truth_ratio"]) == pytest.approx((0.515985, 0.674019), abs=1e-6)
    assert found["forget_quality_D"] == pytest.approx(0.396667, abs=1e-6)
    assert found["forget_quality"] == pytest.approx(1.834e-21, rel=1e-3)
