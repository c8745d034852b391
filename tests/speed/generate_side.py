"""One side of `mtbench-generate`: answers to MT-Bench's first questions of each category, two turns each.

python tests/speed/generate_side.py MODEL DATA QUESTIONS TOKENS ours|one-by-one
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from figures import peak_bytes
from transformers import AutoModelForCausalLM, AutoTokenizer

from unlearnbench.scoring.benchmark import Subject
from unlearnbench_benchmarks.mt_bench import OTHER_TEMPERATURE, TEMPERATURES, MtBench


def ours(benchmark: MtBench, model: Any, tokenizer: Any, questions: int) -> list[str]:
    """As `unlearnbench evaluate` does it, without the judge."""
    subject = Subject(model=model, tokenizer=tokenizer, seed=0, limit=questions, progress=lambda _: None)
    return [answer.text for answers in benchmark.converse(subject) for answer in answers]


@torch.inference_mode()
def one_by_one(benchmark: MtBench, model: Any, tokenizer: Any, questions: int) -> list[str]:
    """As FastChat does it: a question at a time, with transformers' own `generate` and sampling."""
    texts: list[str] = []
    seen: dict[str, int] = {}
    for item in benchmark.items:
        seen[item.part] = seen.get(item.part, 0) + 1
        if seen[item.part] > questions:
            continue
        messages: list[dict[str, str]] = []
        temperature = TEMPERATURES.get(item.part, OTHER_TEMPERATURE)
        sampling = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        torch.manual_seed(0)
        for turn in item.turns:
            messages.append({"role": "user", "content": turn})
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            given = tokenizer(text, add_special_tokens=False, return_tensors="pt")
            out = model.generate(**given, **sampling, max_new_tokens=benchmark.max_new_tokens, pad_token_id=0)
            said = tokenizer.decode(out[0, given["input_ids"].shape[1] :], skip_special_tokens=True).strip()
            messages.append({"role": "assistant", "content": said})
            texts.append(said)
    return texts


def main() -> None:
    """Load, answer, and say how long the answering took."""
    folder, data, questions, tokens, side = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    benchmark = MtBench(source=data, judge="openai:nobody", judge_url="http://127.0.0.1:1/v1", max_new_tokens=tokens)
    started = time.perf_counter()
    texts = {"ours": ours, "one-by-one": one_by_one}[side](benchmark, model, tokenizer, questions)
    seconds = time.perf_counter() - started
    written = sum(len(tokenizer(text)["input_ids"]) for text in texts)
    print(json.dumps({"seconds": seconds, "answers": len(texts), "tokens": written, "peak_bytes": peak_bytes()}))


main()
