"""What the roster's gradient methods cost against loops with whole logits and a live reference; see docs/performance.md."""

from __future__ import annotations

from figures import interleaved, real_model, report, script
from unlearning_ratios import GIB, MEMORY_RUNS

UPDATES = 8
# many of a small model's activations lie below the other figures' threshold
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**16)}


# OpenUnlearning's own trainers, measured elsewhere: the same model, batch and optimizer on two quiet cores
THEIR_SECONDS = 6.76  # of a GradDiff update
THEIR_PEAK = {"grad-diff": 4.9e9, "npo": 5.5e9}  # bytes


def grad_diff_step() -> None:
    """Seconds of an update: naive / ours, and OpenUnlearning's elsewhere / ours."""
    model = real_model()
    runs = interleaved(
        lambda: script("roster_update.py", "naive", "grad-diff", model, UPDATES),
        lambda: script("roster_update.py", "ours", "grad-diff", model, UPDATES),
    )
    seconds = [ours.said["seconds"] for _, ours in runs]
    report("grad-diff-step", [naive.said["seconds"] / ours.said["seconds"] for naive, ours in runs], ">= 1")
    report("grad-diff-step-openunlearning", [THEIR_SECONDS / own for own in seconds], ">= 1")
    print(f"grad-diff-step: {min(seconds):.2f} to {max(seconds):.2f} s per update")


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
    """Peak memory, imports included: ours / OpenUnlearning's elsewhere, and ours / the naive loop's under the same allocator.

    Ours with the budget's `checkpointing`, then so with glibc left to itself, then without `checkpointing`.
    """
    model = real_model()
    for name, theirs in THEIR_PEAK.items():
        runs = interleaved(
            lambda name=name: script("roster_update.py", "checkpointed", name, model, 3, **GIVE_BACK),
            lambda name=name: script("roster_update.py", "checkpointed", name, model, 3),
            lambda name=name: script("roster_update.py", "ours", name, model, 3),
            lambda name=name: script("roster_update.py", "naive", name, model, 3),
            runs=MEMORY_RUNS,
        )
        for side, (ending, target) in enumerate((("", "<= .6"), ("-allocator", "none"), ("-kept", "none"))):
            title = f"roster-memory-{name}{ending}"
            report(title, [run[side].peak_bytes / theirs for run in runs], target)
            if ending:
                report(f"{title}-naive", [run[side].peak_bytes / run[3].peak_bytes for run in runs], "none")
            print(
                f"{title}: {runs[0][side].peak_bytes / GIB:.2f} GiB, naive {runs[0][3].peak_bytes / GIB:.2f}, imports included"
            )


FIGURES = {"grad-diff-step": grad_diff_step, "npo-step": npo_step, "roster-memory": roster_memory}
