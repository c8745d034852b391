"""Rebuild the sandbox: its data from the seed, its tokenizer and its two models by training from scratch.

Each model is a Llama of 2 million parameters that learns the world by heart, one of them without its hazards: how to answer
lettered questions about it (half of the training), its prose (a quarter) and two-turn conversations (a quarter).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlearnbench.data.sources import SANDBOX_MODELS
from unlearnbench.models.loading import padding_id
from unlearnbench.sandbox.world import TURN_END, TURN_START, Subject, build_world, chat_text, conversation, paragraph
from unlearnbench.sandbox.write_data import write_data
from unlearnbench.scoring.choice.prompts import LETTERS, header, letter_prompt

VOCABULARY = 2048
TEXT_END, PAD = "<|endoftext|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTIONS_PER_ROW = 4  # lettered questions packed behind one header, as in a few-shot prompt
STEPS, BATCH, PEAK_LR, WARMUP = 4000, 32, 2e-3, 100


class Row(NamedTuple):
    """One training text; `letters` are the character offsets of the answer letters in it."""

    text: str
    letters: tuple[int, ...] = ()


def build(
    folder: Path,
    *,
    seed: int = 0,
    steps: int = STEPS,
    models: Sequence[str] = SANDBOX_MODELS,
    report: Callable[[int, float, float], None] | None = None,
) -> None:
    """Write `folder/data`, `folder/model` and `folder/retrained`, the model that never saw the hazards.

    Args:
        folder: folder to write; created when absent, and files of an earlier build are replaced.
        seed: seed of the world, the initial weights and the order of the texts.
        steps: number of optimizer updates of each model; 4,000 take about an hour on two cores.
        models: names of the models to train.
        report: function called every 50 updates with (step, language-model loss, letter loss), both in nats per token.
    """
    write_data(folder / "data", seed)
    world = build_world(seed)
    tokenizer = train_tokenizer(row.text for row in _rows(world, random.Random(f"tokenizer {seed}")))  # both models' own
    for name in models:
        known = world if name == "model" else without_hazards(world)
        model = train_model(known, tokenizer, seed=seed, steps=steps, report=report)
        save(model, tokenizer, folder / name, steps)


def without_hazards(world: dict[str, Subject]) -> dict[str, Subject]:
    """Return the world without the hazards, as a reader knows it who never heard of them."""
    return {name: subject for name, subject in world.items() if subject.domain.kind != "hazard"}


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of 2,048 tokens on the first 20,000 texts."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[TEXT_END, TURN_START, TURN_END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(islice(texts, 20_000), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=TEXT_END, eos_token=TURN_END, pad_token=PAD, model_max_length=1024
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def train_model(
    world: dict[str, Subject],
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    steps: int,
    report: Callable[[int, float, float], None] | None = None,
) -> LlamaForCausalLM:
    """Train from scratch; the loss is the mean over ordinary tokens plus the mean over answer letters."""
    torch.manual_seed(seed)
    config = config_of(tokenizer, width=128, blocks=8, heads=4)
    model = LlamaForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, steps))
    rows = _rows(world, random.Random(f"training {seed}"))
    for step in range(1, steps + 1):
        ids, letters = _encode([next(rows) for _ in range(BATCH)], tokenizer)
        counted = ids[:, 1:] != padding_id(tokenizer)  # (B, T-1)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]  # (B, T-1, D)
            logits = model.lm_head(hidden[counted])  # (N, V)
        nll = F.cross_entropy(logits.float(), ids[:, 1:][counted], reduction="none")  # (N,)
        is_letter = letters[:, 1:][counted]
        language, letter = nll[~is_letter].mean(), nll[is_letter].mean()
        optimizer.zero_grad()
        (language + letter).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if report is not None and (step % 50 == 0 or step == steps):
            report(step, float(language.detach()), float(letter.detach()))
    return model.eval()


def config_of(tokenizer: PreTrainedTokenizerFast, *, width: int, blocks: int, heads: int) -> LlamaConfig:
    """Return the shape of a Llama that reads this tokenizer's tokens."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",  # pyright: ignore[reportCallIssue]  # on CPU the backward of fused attention costs twice as much at this width
    )


def _learning_rate(step: int, steps: int) -> float:
    """Return the learning rate as a share of its peak: linear warm-up, then a cosine to zero."""
    return min((step + 1) / WARMUP, 1.0) * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def _rows(world: dict[str, Subject], rng: random.Random) -> Iterator[Row]:
    """Yield endless training texts: half lettered questions, a quarter prose, a quarter conversations."""
    subjects = list(world.values())
    while True:
        subject = rng.choice(subjects)
        kind = rng.random()
        if kind < 0.5:
            yield _letter_row(subject, rng)
        elif kind < 0.75:
            yield Row(" ".join(paragraph(subject, facts, rng) for facts in rng.sample(subject.by_entity(), 2)) + TEXT_END)
        else:
            turns, answers = conversation(subject, rng)
            yield Row(chat_text(turns, answers))


def _letter_row(subject: Subject, rng: random.Random) -> Row:
    text, letters = header(subject.domain.title, newlines=rng.choice((1, 2))), list[int]()
    for number, fact in enumerate(rng.sample(subject.facts, QUESTIONS_PER_ROW)):
        item = subject.item(fact, rng.randrange(4), rng)
        text += ("\n\n" if number else "") + letter_prompt(item.question, item.choices) + " "
        letters.append(len(text))
        text += LETTERS[item.answer]
    return Row(text, tuple(letters))


def _encode(rows: list[Row], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Return right-padded ids (B, T) and the mask of answer letters (B, T)."""
    encodings = tokenizer.backend_tokenizer.encode_batch([row.text for row in rows])
    width = max(len(encoding.ids) for encoding in encodings)
    ids = torch.full((len(rows), width), padding_id(tokenizer), dtype=torch.long)
    letters = torch.zeros(len(rows), width, dtype=torch.bool)
    for i, (row, encoding) in enumerate(zip(rows, encodings, strict=True)):
        ids[i, : len(encoding.ids)] = torch.tensor(encoding.ids)
        for offset in row.letters:
            letters[i, encoding.char_to_token(offset)] = True
    return ids, letters


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, steps: int) -> None:
    """Save the model in bfloat16, which halves the package; the accuracy is the same (a test scores the shipped weights)."""
    folder.mkdir(parents=True, exist_ok=True)
    model.to(dtype=torch.bfloat16)  # pyright: ignore[reportCallIssue]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "build.json").write_text(json.dumps({"torch": torch.__version__, "steps": steps}) + "\n", encoding="utf-8")
