"""What the roster's gradient methods cost against loops with whole logits and a live reference; see docs/performance.md."""

from __future__ import annotations

from dataclasses import dataclass

from figures import interleaved, real_model, report, script
from unlearning_ratios import GIB, MEMORY_RUNS

UPDATES = 8
# many of a small model's activations lie below the other figures' threshold
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(2**16)}


@dataclass(frozen=True)
class Trainer:
    """OpenUnlearning's own, measured elsewhere: the same model, batch and optimizer on two quiet cores."""

    seconds: float  # per update
    peak_bytes: float


OPEN_UNLEARNING = {"grad-diff": Trainer(6.76, 4.9e9), "npo": Trainer(9.70, 5.5e9)}


def grad_diff_step() -> None:
    """Seconds of an update: naive / ours, and OpenUnlearning's elsewhere / ours."""
    model = real_model()
    runs = interleaved(
        lambda: script("roster_update.py", "naive", "grad-diff", model, UPDATES),
        lambda: script("roster_update.py", "ours", "grad-diff", model, UPDATES),
    )
    seconds = [ours.said["seconds"] for _, ours in runs]
    report("grad-diff-step", [naive.said["seconds"] / ours.said["seconds"] for naive, ours in runs], ">= 1")
    report("grad-diff-step-openunlearning", [OPEN_UNLEARNING["grad-diff"].seconds / own for own in seconds], ">= 1")
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
    """Peak memory, imports included: ours / OpenUnlearning's elsewhere, and ours / the naive loop's.

    With the budget's `checkpointing`, and without it but with the batch in four pieces, the methods' default.
    """
    model = real_model()
    for name, theirs in OPEN_UNLEARNING.items():
        sides = {"checkpointed": 1, "ours": 4}
        for side, pieces in sides.items():
            runs = interleaved(
                lambda name=name, side=side, pieces=pieces: script(
                    "roster_update.py", side, name, model, 3, pieces, **GIVE_BACK
                ),
                lambda name=name: script("roster_update.py", "naive", name, model, 3, **GIVE_BACK),
                runs=MEMORY_RUNS,
            )
            title = f"roster-memory-{name}" + ("" if side == "checkpointed" else "-pieces")
            target = "<= .6" if side == "checkpointed" else "none"
            report(title, [own.peak_bytes / theirs.peak_bytes for own, _ in runs], target)
            report(f"{title}-naive", [own.peak_bytes / naive.peak_bytes for own, naive in runs], "none")
            peaks = [one.peak_bytes / GIB for one in runs[0]]
            print(f"{title}: {peaks[0]:.2f} GiB against {peaks[1]:.2f}, imports included")


FIGURES = {"grad-diff-step": grad_diff_step, "npo-step": npo_step, "roster-memory": roster_memory}
