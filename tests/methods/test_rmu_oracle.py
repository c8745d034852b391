"""The lean engine against the naive loop: the same losses, the same trained weights, and bit for bit nothing else."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from helpers.naive_rmu import NaiveRMU
from helpers.streams import TOPICS, fit, schedules

from unlearnbench.data.batches import Corpus, Example, Schedule
from unlearnbench.models.loading import load_model
from unlearnbench_methods.rmu import RMU


def compare(model, forget: Schedule, retain: Schedule, tolerance: float, **options) -> None:
    """Both train from the same start on the same batches; ours through a real trainer."""
    start = copy.deepcopy(model.state_dict())
    theirs, losses = copy.deepcopy(model), []
    ours = RMU(model, **options)
    controls = fit(ours, forget, retain, losses).controls
    naive = NaiveRMU(
        theirs,
        layer=options["layer"],
        names=list(ours.trained),
        controls=controls,
        alphas=ours.alphas,
        lr=options["lr"],
    )
    for step in range(len(forget)):
        expected = naive.update({"forget": forget[step], "retain": retain[step]})
        assert losses[step][0] == pytest.approx(expected[0], rel=1e-5)
        # a square of small differences between large activations: their rounding shows
        assert losses[step][1] == pytest.approx(expected[1], rel=1e-4, abs=1e-9)
    expected = theirs.state_dict()
    for name, tensor in model.state_dict().items():
        if name in ours.trained:
            assert not torch.equal(tensor, start[name])
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=tolerance)
        else:
            assert torch.equal(tensor, start[name])


@pytest.mark.parametrize("layers", [None, [0, 1, 3]], ids=["three blocks", "from the first block on"])
def test_tiny_model(tiny_model, layers):
    forget, retain = schedules(8)
    compare(tiny_model, forget, retain, 1e-6, layer=3, layers=layers, coefficient=20.0, alpha=5.0, lr=1e-3)


@pytest.mark.slow
def test_smollm2():
    """fp32, 8 updates, two topics that share a retain corpus, 4 + 4 sequences of 128 tokens."""
    folder = Path(os.environ.get("UNLEARNBENCH_SMOLLM2", Path(__file__).parents[2] / "runs" / "smollm2"))
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"SmolLM2 is not in {folder}; fetch it with examples/tofu_authors/fetch_smollm2.py")
    model = load_model(folder, torch.float32, torch.device("cpu"))
    settings = {"steps": 8, "batch_size": 4, "pad": 0, "side": "left"}

    def corpus(topic: str, seed: int) -> Corpus:
        rows = torch.randint(10, model.config.vocab_size, (16, 128), generator=torch.Generator().manual_seed(seed)).tolist()
        return Corpus(topic, tuple(Example(row, row) for row in rows))

    forget = Schedule([corpus(topic, number) for number, topic in enumerate(TOPICS)], **settings)
    retain = Schedule([corpus(topic, 99) for topic in TOPICS], **settings)
    compare(model, forget, retain, 1e-6, layer=7, coefficient=200.0, alpha=100.0, lr=5e-5)
