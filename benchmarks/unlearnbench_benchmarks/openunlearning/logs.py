"""Logs of evaluations by OpenUnlearning and by TOFU's own repository: every aggregate made anew from their items.

Source: locuslab/open-unlearning at d3d7cf9, `TOFU_EVAL.json` and `MUSE_EVAL.json`; locuslab/tofu at bdc209e, its logs under
    `data/` and `aggregate_eval_stat.py`.
Deviations: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unlearnbench_benchmarks.openunlearning.figures import (
    UTILITY,
    attack_auc,
    closer_to_one,
    forget_quality,
    harmonic_mean,
    normalised_probability,
    privacy_leakage,
    true_better,
    truth_probability,
    truth_ratio,
)

Log = Mapping[str, Mapping[str, Any]]
"""The type of a log: metric -> `agg_value`, and one list per quantity with a value for each item."""
SIDES = {"forget": "forget_Q_A_PARA_Prob", "retain": "retain_Q_A_PARA_Prob", "ra": "ra_Q_A_Prob", "wf": "wf_Q_A_Prob"}
"""Side of TOFU -> the log's entry whose loss is that of the right answer in a truth ratio."""
WITHOUT_REFERENCE = 0.5  # the AUC that OpenUnlearning takes for a reference that it does not have
ORIGINAL = {
    "forget": "eval_log_forget.json",
    "retain": "eval_log.json",
    "ra": "eval_real_author_wo_options.json",
    "wf": "eval_real_world_wo_options.json",
}
"""Side of TOFU -> the file of its own repository."""


def ratios(log: Log, side: str) -> list[float]:
    """Return the truth ratio of each item from the losses of its answers.

    Args:
        log: log of OpenUnlearning.
        side: side of TOFU: `forget`, `retain`, `ra` or `wf`.
    """
    wrong = log[f"{side}_Q_A_PERT_Prob"]["avg_loss"]
    return truth_ratio(log[SIDES[side]]["avg_loss"], wrong).tolist()


def aggregates(log: Log, reference: Log | None = None, *, rouge: str = "rougeL_recall") -> dict[str, float]:
    """Return every aggregate of a log that its items give.

    Args:
        log: log of OpenUnlearning.
        reference: log of the model that never knew, for `forget_quality` and `privleak`.
        rouge: quantity that counts: `rougeL_recall` for TOFU, `rougeL_f1` for MUSE.
    """
    found: dict[str, float] = {}
    for name, entry in log.items():
        if "avg_loss" in entry:
            found[name] = _mean_probability(entry["avg_loss"])
        elif name.endswith("_ROUGE"):
            found[name] = float(np.mean(entry[rouge]))
        elif name in ("exact_memorization", "extraction_strength"):
            found[name] = float(np.mean(entry["score"]))
        elif "holdout" in entry:
            found[name] = attack_auc(entry["forget"], entry["holdout"])
    for side in SIDES:
        if f"{side}_Q_A_PERT_Prob" in log:
            found |= _truth(log, side)
    if all(name in found for name in UTILITY):
        found["model_utility"] = harmonic_mean([found[name] for name in UTILITY])
    if "mia_min_k" in found:
        area = WITHOUT_REFERENCE if reference is None else attack_auc(**_sides(reference["mia_min_k"]))
        found["privleak"] = privacy_leakage(found["mia_min_k"], area)
    if reference is not None and "forget_truth_ratio" in log:
        quality = forget_quality(*(entry["forget_truth_ratio"]["score"] for entry in (log, reference)))
        found |= {"forget_quality": quality.p, "forget_quality_D": quality.statistic}
    return found


def original_aggregates(log: Log, reference: Log | None = None) -> dict[str, float]:
    """Return the aggregates of a log of TOFU's own repository, by the names of OpenUnlearning.

    Args:
        log: the repository's log, by file.
        reference: log of the model that never knew, for `forget_quality`.
    """
    found: dict[str, float] = {}
    for side, file in ORIGINAL.items():
        entry = log[file]
        ratio = truth_ratio(entry["avg_paraphrased_loss"], entry["average_perturb_loss"], 0)
        right, wrong = np.exp(-np.array(entry["avg_gt_loss"])), np.exp(-np.array(entry["average_perturb_loss"]))
        if side in ("ra", "wf"):
            found[f"{side}_Q_A_Prob_normalised"] = float(normalised_probability(right, wrong, 0).mean())
        else:
            found[f"{side}_Q_A_Prob"] = float(right.mean())
        found[f"{side}_Q_A_ROUGE"] = float(np.mean(entry["rougeL_recall"]))
        if side == "forget":
            found["forget_truth_ratio"] = float(closer_to_one(ratio, 0).mean())
        else:
            found[f"{side}_Truth_Ratio"] = float(true_better(ratio).mean())
    found["model_utility"] = harmonic_mean([found[name] for name in UTILITY])
    if reference is not None:
        forget = [known[ORIGINAL["forget"]] for known in (log, reference)]
        both = [truth_ratio(entry["avg_paraphrased_loss"], entry["average_perturb_loss"], 0) for entry in forget]
        quality = forget_quality(*both)
        found |= {"forget_quality": quality.p, "forget_quality_D": quality.statistic}
    return found


def _truth(log: Log, side: str) -> dict[str, float]:
    right, wrong = log[SIDES[side]]["avg_loss"], log[f"{side}_Q_A_PERT_Prob"]["avg_loss"]
    ratio = truth_ratio(right, wrong)
    if side == "forget":
        probability = float(truth_probability(right, wrong).mean())
        return {"forget_truth_ratio": float(closer_to_one(ratio).mean()), "forget_truth_ratio_prob": probability}
    found = {f"{side}_Truth_Ratio": float(true_better(ratio).mean())}
    if side in ("ra", "wf"):
        shares = normalised_probability(np.exp(-np.array(right)), np.exp(-np.array(wrong)))
        found[f"{side}_Q_A_Prob_normalised"] = float(shares.mean())
    return found


def _mean_probability(losses: Sequence[float] | Sequence[Sequence[float]]) -> float:
    """Return the mean probability over items; several answers of one item are averaged first."""
    return float(np.mean([np.mean(np.exp(-np.array(loss, float))) for loss in losses]))


def _sides(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {side: entry[side] for side in ("forget", "holdout")}
