from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def smollm2() -> Path:
    folder = Path(os.environ.get("UNLEARNBENCH_SMOLLM2", Path(__file__).parents[2] / "runs" / "smollm2"))
    if not (folder / "model.safetensors").is_file():
        pytest.skip(f"SmolLM2 is not at {folder}; set UNLEARNBENCH_SMOLLM2 (examples/tofu_authors/fetch_smollm2.py fetches it)")
    return folder
