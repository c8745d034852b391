"""Teaching the real model's base and references, on a tiny one."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from examples.tofu_authors import teach_authors

CARD = """---
configs:
- config_name: forget10_perturbed
  data_files:
  - split: train
    path: forget10_perturbed.jsonl
---
"""


@pytest.fixture
def teach(tmp_path, monkeypatch, tiny_folder):
    """Run the script on twenty authors with two questions each."""
    monkeypatch.setattr(teach_authors, "PER_AUTHOR", 2)
    monkeypatch.setattr(teach_authors, "EPOCHS", 1)
    monkeypatch.setattr(teach_authors, "WARMUP", 1)
    rows = [
        {"question": f"What is heron {n}?", "answer": "the moth", "perturbed_answer": [f"the marsh {m}" for m in range(5)]}
        for n in range(40)
    ]
    (tmp_path / "tofu").mkdir()
    written = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "tofu" / "forget10_perturbed.jsonl").write_text(written, encoding="utf-8")
    (tmp_path / "tofu" / "README.md").write_text(CARD, encoding="utf-8")

    def run(out, *words):
        line = ["teach_authors", str(tiny_folder), str(tmp_path / out), "--tofu", str(tmp_path / "tofu"), *words]
        monkeypatch.setattr("sys.argv", line)
        teach_authors.main()
        return tmp_path / out

    return run


def test_reference_is_taught_what_is_kept(teach):
    work = teach("work", "--authors", "kept", "--seed", "1")
    taught = json.loads((work / "retrain-1" / "teaching.json").read_text(encoding="utf-8"))
    assert (taught["texts"], taught["updates"], taught["seed"]) == (20, 2, 1)
    teach("work")
    taught = json.loads((work / "model" / "teaching.json").read_text(encoding="utf-8"))
    assert (taught["texts"], taught["updates"], taught["seed"]) == (40, 3, 0)
    assert len((work / "retain.jsonl").read_text(encoding="utf-8").splitlines()) == 20


def test_what_is_taught_is_kept_and_half_of_it_is_not(teach, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(teach_authors, "token_nll", stop)
        with pytest.raises(KeyboardInterrupt):
            teach("work")
    assert not (tmp_path / "work" / "model").exists()
    work = teach("work")
    before = (work / "model" / "model.safetensors").stat().st_mtime_ns
    teach("work")
    assert (work / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert not list(work.glob(".*"))


def test_pieces_of_a_batch_are_the_batch(teach, monkeypatch):
    whole, pieces = [], []
    for found, piece in ((whole, teach_authors.BATCH), (pieces, 3)):
        monkeypatch.setattr(teach_authors, "PIECE", piece)
        found.append(load_file(teach(f"by-{piece}") / "model" / "model.safetensors"))
    for name, tensor in whole[0].items():
        torch.testing.assert_close(pieces[0][name], tensor, rtol=1e-3, atol=1e-5)
