"""Folders of models as the command line meets them: adapters are merged, what does not fit is refused and nothing written."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest import tiny_llama
from helpers.model_folders import adapter_of, renamed

from unlearnbench.models.loading import load_model

SCORED = ("--benchmarks", "wmdp", "--set", "wmdp.source=sandbox:wmdp", "--limit", "4")


@pytest.fixture
def refuse(cli, tmp_path):
    """Run a command that must be refused; returns its one sentence."""

    def run(*arguments: object) -> str:
        outcome = cli(*arguments, *(() if "--benchmarks" in arguments else SCORED), "--out", tmp_path / "run")
        assert outcome.code == 2, outcome.err
        assert not (tmp_path / "run").exists()
        assert outcome.out == ""
        message = outcome.err.strip()
        assert message.startswith("unlearnbench: ")
        assert "\n" not in message
        return message

    return run


def test_an_adapter_is_scored_as_the_model_that_it_makes(cli, tiny_folder, tokenizer, tmp_path):
    """As a checkpoint of the compared model, and as a model of its own; a merged folder gives the same answers."""
    adapter, merged = adapter_of(tiny_folder, tmp_path / "adapter"), tmp_path / "merged"

    load_model(adapter, torch.float32, torch.device("cpu")).save_pretrained(merged)
    tokenizer.save_pretrained(merged)
    rows = ("--checkpoint", f"lora={adapter}", "--checkpoint", f"merged={merged}", "--methods", "none")
    outcome = cli("compare", "--model", tiny_folder, *rows, *SCORED, "--out", tmp_path / "run", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("Warning") == 0

    def answers(row):
        from unlearnbench.runs.item_files import items_from_parquet

        cell = next((tmp_path / "run" / "cells" / row / "wmdp").glob("*.items.parquet"))
        return [item.logprobs for item in items_from_parquet(cell.read_bytes())]

    assert answers("lora") == answers("merged") != answers("none")
    alone = cli("evaluate", adapter, *SCORED, "--out", tmp_path / "alone", "--json")
    assert alone.code == 0, alone.err
    scores = {row["variant"]: row["scores"] for row in json.loads(outcome.out)["rows"]}
    assert json.loads(alone.out)["rows"][0]["scores"] == scores["lora"]


def test_an_adapter_of_another_model_is_no_checkpoint_of_this_one(refuse, tiny_folder, tokenizer, tmp_path):
    other = tmp_path / "other"
    tiny_llama(seed=9).save_pretrained(other)
    tokenizer.save_pretrained(other)
    adapter = adapter_of(other, tmp_path / "adapter")
    message = refuse("compare", "--model", tiny_folder, "--methods", "none", "--checkpoint", f"lora={adapter}")
    assert f"The checkpoint 'lora' is an adapter that was trained on '{other}', which has other weights than" in message


def test_a_checkpoint_that_would_be_random(refuse, tiny_folder, tmp_path):
    folder = renamed(tiny_folder, tmp_path / "compiled", lambda name: f"_orig_mod.{name}")
    message = refuse("compare", "--model", tiny_folder, "--methods", "none", "--checkpoint", f"mine={folder}")
    assert f"The names of the tensors in {folder} hold '_orig_mod.', which a wrapper" in message


def test_a_judge_that_would_be_random(refuse, tiny_folder, tmp_path):
    folder = renamed(tiny_folder, tmp_path / "judge", lambda name: None if ".layers.2." in name else name)
    arguments = ("evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--judge", f"hf:{folder}")
    assert f"The judge {folder} cannot be asked: The weights in {folder} do not fit" in refuse(*arguments)


def test_a_model_without_a_tokenizer(refuse, tiny_folder, tmp_path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    assert f"The model folder {folder} has no tokenizer" in refuse("evaluate", folder)
