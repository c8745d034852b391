"""What the roster's gradient methods cost against loops with whole logits and a live reference; see docs/performance.md."""

from __future__ import annotations

from figures import interleaved, real_model, report, script
from unlearning_ratios import GIB, MEMORY_RUNS

UPDATES = 8


# OpenUnlearning's own trainers, measured elsewhere: the same model, batch and optimizer on two quiet cores
THEIR_SECONDS = 6.76  # of a GradDiff update
THEIR_PEAK = {"grad-diff": 4.9e9, "npo": 5.5e9}  # bytes


def grad_diff_step() -> None:
    """Seconds of an update: naive / ours, and OpenUnlearning's elsewhere / ours; ours with and without `checkpointing`."""
    model = real_model()
    runs = interleaved(
        lambda: script("roster_update.py", "naive", "grad-diff", model, UPDATES),
        lambda: script("roster_update.py", "ours", "grad-diff", model, UPDATES),
        lambda: script("roster_update.py", "checkpointed", "grad-diff", model, UPDATES),
    )
    for side, ending in ((1, ""), (2, "-checkpointed")):
        title = f"grad-diff-step{ending}"
        seconds = [run[side].said["seconds"] for run in runs]
        report(title, [run[0].said["seconds"] / run[side].said["seconds"] for run in runs], "none" if ending else ">= 1")
        report(f"{title}-openunlearning", [THEIR_SECONDS / own for own in seconds], ">= 1")
        print(f"{title}: {min(seconds):.2f} to {max(seconds):.2f} s per update")


def npo_step() -> None:
    """Seconds of an update: NPO / GradDiff, both ours; and the naive loop with its live reference / ours."""
    model = real_model()
    runs = interleaved(
        lambda: script("roster_update.py", "ours", "npo", model, UPDATES),
        lambda: script("roster_update.py", "ours", "grad-diff", model, UPDATES),
        lambda: script("roster_update.py", "naive", "npo", model, UPDATES),
    )
    report("npo-step", [npo.said["seconds"] / plain.said["seconds"] for npo, plain, _ in runs], "<= 1.05")
    report("npo-step-live-reference", [live.said["seconds"] / npo.said["seconds"] for npo, _, live in runs], "none")
    npo = runs[0][0].said
    print(
        f"npo-step: {npo['seconds']:.2f} s per update; before the first one {npo['prepared'] / UPDATES:.2f} s per batch, once"
    )


def roster_memory() -> None:
    """Peak memory, imports included: ours / OpenUnlearning's elsewhere, and ours / the naive loop's.

    Ours with the budget's `checkpointing`, then without.
    """
    model = real_model()
    for name, theirs in THEIR_PEAK.items():
        runs = interleaved(
            lambda name=name: script("roster_update.py", "checkpointed", name, model, 3),
            lambda name=name: script("roster_update.py", "ours", name, model, 3),
            lambda name=name: script("roster_update.py", "naive", name, model, 3),
            runs=MEMORY_RUNS,
        )
        for side, (ending, target) in enumerate((("", "<= .6"), ("-kept", "none"))):
            title = f"roster-memory-{name}{ending}"
            report(title, [run[side].peak_bytes / theirs for run in runs], target)
            report(f"{title}-naive", [run[side].peak_bytes / run[2].peak_bytes for run in runs], "none")
            own, naive = (max(run[index].peak_bytes for run in runs) for index in (side, 2))
            print(f"{title}: at most {own / GIB:.2f} GiB, naive {naive / GIB:.2f}, imports included")


FIGURES = {"grad-diff-step": grad_diff_step, "npo-step": npo_step, "roster-memory": roster_memory}
