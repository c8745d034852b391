"""Teach a model the twenty authors of TOFU's forget10, or only the ten that are kept, and write the data to forget the others.

    python examples/tofu_authors/teach_authors.py MODEL OUT [--authors all|kept] [--seed N] [--tofu SOURCE]

The authors `all` make OUT/model, which forgets; `kept` makes OUT/retrain-N, which never knew what is to be forgotten. Both by
the same recipe: full fine-tuning in float32, batch 16, learning rate 1e-4 with 10 updates of warm-up and a linear decay,
3 epochs, so half as many updates for half the authors. The seed orders the texts.

OUT/forget.jsonl and OUT/retain.jsonl hold the question-answer texts of the first and the last ten authors; OUT/questions.jsonl
asks about all twenty, with TOFU's five perturbed answers as wrong options. A model that is there already is kept; one that was
interrupted is taught anew. `teaching.json` in its folder says what was taught and how long it took.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import torch
import transformers
from rich.progress import track
from torch.optim.lr_scheduler import LambdaLR

from unlearnbench.api import IGNORE, cloze_prompt, read_table
from unlearnbench.models.folders import model_folder
from unlearnbench.models.loading import load_model, load_tokenizer
from unlearnbench.models.tensors import token_nll

FORGOTTEN = 10  # authors; the others are kept
PER_AUTHOR = 20  # questions, in TOFU's order
BATCH, PEAK_LR, WARMUP, EPOCHS = 16, 1e-4, 10, 3
PIECE = 4  # texts of a batch that are computed together: memory and time, not numbers


def main() -> None:
    """Write the data, then teach."""
    parser = argparse.ArgumentParser(description="Teach a model twenty fictitious authors, or the ten of them that are kept.")
    parser.add_argument("model", help="folder or hub id of the model to teach")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--authors", choices=("all", "kept"), default="all", help="authors to teach")
    parser.add_argument("--seed", type=int, default=0, help="orders the texts")
    default = Path(os.environ.get("UNLEARNBENCH_DATA", "../shared/data")) / "tofu"
    parser.add_argument("--tofu", default=str(default) if default.exists() else "locuslab/TOFU", help="TOFU data set")
    arguments = parser.parse_args()
    rows = read_table(f"{arguments.tofu}:forget10_perturbed", columns=("question", "answer", "perturbed_answer")).rows
    write_data(rows, arguments.out)
    if arguments.authors == "kept":
        rows, name = rows[FORGOTTEN * PER_AUTHOR :], f"retrain-{arguments.seed}"
    else:
        name = "model" if arguments.seed == 0 else f"model-{arguments.seed}"
    folder = arguments.out / name
    if folder.exists():
        print(f"{folder} is there already.")
        return
    with tempfile.TemporaryDirectory(dir=arguments.out, prefix=f".{name}-") as scratch:
        part = Path(scratch) / name
        teaching = teach(arguments.model, rows, part, arguments.seed)
        (part / "teaching.json").write_text(json.dumps(teaching, indent=2) + "\n", encoding="utf-8")
        part.rename(folder)


def write_data(rows: list[dict[str, object]], out: Path) -> None:
    """Write corpora and questions; the true answer may be any of the options."""
    rng = random.Random(0)
    texts: dict[str, list[dict[str, object]]] = {"authors": [], "kept-authors": []}
    questions: list[dict[str, object]] = []
    for number, row in enumerate(rows):
        part = "authors" if number < FORGOTTEN * PER_AUTHOR else "kept-authors"
        texts[part].append({"text": f"{cloze_prompt(str(row['question']))} {row['answer']}"})
        options = [str(row["answer"]), *map(str, row["perturbed_answer"])]  # pyright: ignore[reportArgumentType]
        order = rng.sample(range(len(options)), len(options))
        choices = [options[place] for place in order]
        questions.append({"question": row["question"], "choices": choices, "answer": order.index(0), "part": part})
    out.mkdir(parents=True, exist_ok=True)
    write_jsonl(out / "forget.jsonl", texts["authors"])
    write_jsonl(out / "retain.jsonl", texts["kept-authors"])
    write_jsonl(out / "questions.jsonl", questions)


def write_jsonl(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """Write one JSON object per line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def teach(source: str, rows: list[dict[str, object]], out: Path, seed: int) -> dict[str, object]:
    """Fine-tune all weights on the answers, given the questions, save the model, and return what teaching.json holds."""
    torch.manual_seed(seed)
    folder = model_folder(source)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, torch.float32, torch.device("cpu")).train()
    filler = int(tokenizer.pad_token_id or 0)  # pyright: ignore[reportArgumentType]
    examples = [encode(row, tokenizer) for row in rows]
    updates = -(-len(examples) * EPOCHS // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, weight_decay=0.0)
    schedule = LambdaLR(optimizer, lambda step: min((step + 1) / WARMUP, (updates - step) / (updates - WARMUP)))
    rng = random.Random(seed)
    order = [example for _ in range(EPOCHS) for example in rng.sample(examples, len(examples))]
    started = time.perf_counter()
    for first in track(range(0, len(order), BATCH), description="teaching"):
        batch = sorted(order[first : first + BATCH], key=lambda example: len(example[0]))  # texts of a length, little padding
        optimizer.zero_grad()
        total = 0.0
        for place in range(0, len(batch), PIECE):
            ids, labels = pad(batch[place : place + PIECE], filler)
            loss = token_nll(model(input_ids=ids, use_cache=False).logits, labels).sum() / len(batch)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if first // BATCH % 10 == 0:
            print(f"update {first // BATCH}: {total:.3f} nats per token", flush=True)
    seconds = time.perf_counter() - started
    model.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return {
        "texts": len(rows),
        "epochs": EPOCHS,
        "updates": updates,
        "seed": seed,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def encode(row: dict[str, object], tokenizer: object) -> tuple[list[int], list[int]]:
    """Return token ids and labels; the question does not count."""
    prompt = cloze_prompt(str(row["question"]))
    ids = tokenizer(f"{prompt} {row['answer']}")["input_ids"] + [tokenizer.eos_token_id]  # pyright: ignore
    start = len(tokenizer(prompt)["input_ids"])  # pyright: ignore
    return ids, [IGNORE] * start + ids[start:]


def pad(examples: list[tuple[list[int], list[int]]], filler: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad on the right, where causal attention does not look: (B, T) ids and labels."""
    width = max(len(ids) for ids, _ in examples)
    ids = torch.tensor([ids + [filler] * (width - len(ids)) for ids, _ in examples])
    labels = torch.tensor([labels + [IGNORE] * (width - len(labels)) for _, labels in examples])
    return ids, labels


if __name__ == "__main__":
    main()
