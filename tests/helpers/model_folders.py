"""Model folders as people have them: with other names of tensors, another config, an adapter beside or instead of weights."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 2204\n"


def renamed(folder: Path, to: Path, rename: Callable[[str], str | None]) -> Path:
    """A copy whose tensors have other names; None leaves one out."""
    return with_tensors(
        folder, to, lambda tensors: {new: tensor for name, tensor in tensors.items() if (new := rename(name)) is not None}
    )


def with_tensors(folder: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], Mapping[str, torch.Tensor]]) -> Path:
    """A copy with other tensors in its file."""
    shutil.copytree(folder, to)
    tensors = {name: tensor.clone() for name, tensor in change(load_file(folder / "model.safetensors")).items()}
    save_file(tensors, to / "model.safetensors", {"format": "pt"})
    return to


def with_config(folder: Path, to: Path, **settings: Any) -> Path:
    """A copy with other settings in its config.json."""
    shutil.copytree(folder, to)
    edit_json(to / "config.json", **settings)
    return to


def edit_json(file: Path, **settings: Any) -> None:
    """Change settings of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def tiny_gpt2(to: Path, tokenizer: Any) -> Path:
    """A random GPT-2 that reads 128 tokens, with the sandbox's tokenizer; its weights lie as (in, out)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    shape = {"vocab_size": 2048, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 128, "initializer_range": 0.2}
    GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=2)).save_pretrained(to)
    tokenizer.save_pretrained(to)
    return to


def adapter_of(base: Path, to: Path, **options: Any) -> Path:
    """What PEFT saves of a LoRA adapter with random factors."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(5)
    wanted = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what PEFT uses of transformers
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(task_type="CAUSAL_LM", **wanted))
        model.save_pretrained(str(to))
    return to
