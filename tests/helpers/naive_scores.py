"""What a score is by definition: one forward for each option, whole logits, no padding and no packing."""

from __future__ import annotations

from typing import Any

import torch

from unlearnbench.records.items import Question
from unlearnbench.scoring.choice.log_likelihood import score_questions

LONG = "The carrier of Velgrath is kept by a warden, who reads the marks on the wall and writes them down every morning. " * 3
QUESTIONS = [
    Question("short", "a", "The carrier of Velgrath is", (" moth", " heron", " a vole"), 0),
    Question("letters", "b", "Which one?\nA. moth\nB. heron\nAnswer:", (" A", " B"), 1),
    Question("long", "b", LONG.rstrip(), (" moth", " a heron that nobody saw"), 1),
]


def naive_logprobs(model: Any, tokenizer: Any, question: Question) -> list[float]:
    """Of each option, in nats; the context ends without a space."""
    context = question.context.rstrip()
    start = len(tokenizer(context)["input_ids"])
    sums: list[float] = []
    for option in question.continuations:
        ids = tokenizer(context + question.context[len(context) :] + option)["input_ids"]
        with torch.no_grad():
            logprobs = model(torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1)
        sums.append(sum(float(logprobs[place - 1, ids[place]]) for place in range(start, len(ids))))
    return sums


def farthest(model: Any, tokenizer: Any, questions: list[Question]) -> float:
    """The largest distance between a log-probability as it is scored and by definition, in nats."""
    scored = [list(result.logprobs) for result in score_questions(model, tokenizer, questions)]
    expected = [naive_logprobs(model, tokenizer, question) for question in questions]
    return max(abs(a - b) for own, other in zip(scored, expected, strict=True) for a, b in zip(own, other, strict=True))
