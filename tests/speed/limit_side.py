"""What share of the machine's matrix rate scoring reaches, model loaded and questions tokenised.

python tests/speed/limit_side.py MODEL DATA SUBJECTS DTYPE

The limit counts 2 FLOP for each parameter outside the embedding and each token of each question, over the rate of one
product of the model's own shape (its MLP's first matrix, 1,024 tokens), measured just before and just after.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from figures import peak_bytes

from unlearnbench.models.loading import load_model, load_tokenizer
from unlearnbench.scoring.choice.log_likelihood import encode_questions, longest_text, score_questions
from unlearnbench_benchmarks.mmlu import Mmlu

REPEATS = 60


def rate(hidden: int, inner: int, dtype: torch.dtype) -> float:
    """FLOP per second of (1024, hidden) @ (hidden, inner)."""
    x, w = torch.randn(1024, hidden, dtype=dtype), torch.randn(inner, hidden, dtype=dtype)
    for _ in range(5):
        torch.nn.functional.linear(x, w)
    started = time.perf_counter()
    for _ in range(REPEATS):
        torch.nn.functional.linear(x, w)
    return REPEATS * 2 * 1024 * hidden * inner / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    folder, data, subjects, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(","), sys.argv[4]
    dtype = getattr(torch, name)
    model, tokenizer = load_model(folder, dtype, torch.device("cpu")), load_tokenizer(folder)
    questions = Mmlu(source=data, subjects=subjects).questions
    texts = encode_questions(questions, tokenizer, limit=longest_text(model))
    tokens = sum(len(text.ids) for text in texts)
    parameters = sum(p.numel() for name, p in model.named_parameters() if "embed" not in name and "lm_head" not in name)
    with torch.inference_mode():
        before = rate(model.config.hidden_size, model.config.intermediate_size, dtype)
        started = time.perf_counter()
        score_questions(model, tokenizer, questions, texts=texts)
        seconds = time.perf_counter() - started
        after = rate(model.config.hidden_size, model.config.intermediate_size, dtype)
    limit = 2 * parameters * tokens / ((before + after) / 2)
    print(
        json.dumps({"share": limit / seconds, "seconds": seconds, "gflops": (before + after) / 2e9, "peak_bytes": peak_bytes()})
    )


if __name__ == "__main__":
    main()
