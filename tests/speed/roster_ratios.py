"""What the roster's gradient methods cost against loops with whole logits and a live reference; see docs/performance.md."""

from __future__ import annotations

from figures import interleaved, real_model, report, script
from unlearning_ratios import GIB, GIVE_BACK, MEMORY_RUNS

UPDATES = 8


def grad_diff_step() -> None:
    """Seconds of an update, naive / ours."""
    model = real_model()
    runs = interleaved(
        lambda: script("roster_update.py", "naive", "grad-diff", model, UPDATES),
        lambda: script("roster_update.py", "ours", "grad-diff", model, UPDATES),
    )
    report("grad-diff-step", [naive.said["seconds"] / ours.said["seconds"] for naive, ours in runs], ">= 1")
    print(f"grad-diff-step: {runs[0][1].said['seconds']:.2f} s per update; OpenUnlearning's own trainer, elsewhere: 6.76 s")


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
    """Peak beyond what the process holds once everything is imported: ours / naive."""
    model = real_model()
    for name in ("grad-diff", "npo"):
        runs = interleaved(
            lambda name=name: script("roster_update.py", "ours", name, model, 3, **GIVE_BACK),
            lambda name=name: script("roster_update.py", "naive", name, model, 3, **GIVE_BACK),
            runs=MEMORY_RUNS,
        )
        report(f"roster-memory-{name}", [o.said["beyond_imports"] / n.said["beyond_imports"] for o, n in runs], "<= .6")
        peaks = [side.peak_bytes / GIB for side in runs[0]]
        print(f"roster-memory-{name}: {peaks[0]:.2f} GiB against {peaks[1]:.2f}, imports included")


FIGURES = {"grad-diff-step": grad_diff_step, "npo-step": npo_step, "roster-memory": roster_memory}
