from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


LONG = ("third_party", "crash", "tuning", "cli")  # folders whose tests start processes, a file of them for minutes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that where two processes share the files neither is left with one of them in the end."""
    items.sort(key=lambda item: LONG.index(item.path.parent.name) if item.path.parent.name in LONG else len(LONG))


@dataclass(frozen=True)
class Outcome:
    """What one run of the command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def real_data() -> Path:
    """MMLU, WMDP and TOFU samples; the tests that need them skip where they are absent."""
    folder = Path(os.environ.get("UNLEARNBENCH_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real data are not at {folder}; set UNLEARNBENCH_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache: Path) -> Callable[..., Outcome]:
    """Run the command line in this process: the same `main` as the installed command."""
    from unlearnbench.cli import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.setenv("UNLEARNBENCH_CACHE", str(cache))
        monkeypatch.setattr(sys, "argv", ["unlearnbench", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    """A hub on loopback, for huggingface_hub in this process; it goes by HTTP alone, without Xet."""
    from helpers.hub_server import TOKEN, hub_server
    from huggingface_hub import constants

    with hub_server() as server:
        for name, value in {"ENDPOINT": server.address, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True}.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture(scope="session")
def tokenizer():
    from unlearnbench.data.sources import sandbox_folder
    from unlearnbench.models.loading import load_tokenizer

    return load_tokenizer(sandbox_folder() / "model")


@pytest.fixture(scope="session")
def sentencepiece():
    """A tokenizer of Llama 2's kind, trained on a few sentences: word marks, byte fallback, BOS in front."""
    from helpers.word_marks import sentencepiece_tokenizer

    return sentencepiece_tokenizer()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer) -> Path:
    """A random Llama of 6 blocks with the sandbox's tokenizer, as an ordinary model folder."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny_llama().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny_model():
    return tiny_llama()


def tiny_llama(seed: int = 0):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    return LlamaForCausalLM(config).eval()
