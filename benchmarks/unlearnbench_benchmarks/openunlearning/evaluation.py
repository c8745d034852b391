"""The pass over a model: answers written, answers read, in batches over everything that is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from unlearnbench.api import Answered, AnswerReading, Subject, UsageError
from unlearnbench_benchmarks.openunlearning.profiles import Profile
from unlearnbench_benchmarks.openunlearning.templates import hidden_token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def write_answers(
    subject: Subject,
    prompts: Sequence[list[int]],
    profile: Profile,
    *,
    tokens: int,
    stops: Sequence[str] = (),
) -> list[str]:
    """Return what the model writes after each prompt, greedily, without special tokens and surrounding space.

    Args:
        subject: argument of `Benchmark.evaluate`.
        prompts: prompts in tokens.
        profile: profile.
        tokens: number of new tokens at most, or with `total` of tokens with the prompt.
        stops: texts at the first of which an answer ends, looked for one after the other.
    """
    from unlearnbench.api import continue_texts  # torch: not needed to list or plan

    tokenizer = subject.tokenizer
    written = continue_texts(
        subject.model,
        tokenizer,
        prompts,
        max_new_tokens=tokens,
        temperature=0.0,
        hidden=hidden_token(tokenizer, profile),
    )
    if profile.total:
        written = [ids[: max(tokens - len(prompt), 0)] for ids, prompt in zip(written, prompts, strict=True)]
    return [clean(str(tokenizer.decode(ids, skip_special_tokens=True)), tokenizer, stops) for ids in written]


def clean(text: str, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> str:
    """Return an answer up to the first stop text; the end token's own text is the first of these."""
    text = text.strip()
    for stop in (tokenizer.eos_token, *stops):
        if isinstance(stop, str) and stop:
            text = text.partition(stop)[0]
    return text.strip()


def read_all(
    subject: Subject,
    texts: Sequence[Sequence[Answered]],
    names: Sequence[str],
    profile: Profile,
    *,
    moments: bool,
    values_of: Callable[[int, Sequence[AnswerReading]], None],
) -> None:
    """Read all answers of all items in one pass.

    Args:
        subject: argument of `Benchmark.evaluate`.
        texts: answers of each item, with their prompts.
        names: id of each item, for messages.
        profile: profile.
        moments: True reads the moments of each token's distribution, too.
        values_of: function of an item's number and its readings, called once they are complete.

    Raises:
        UsageError: an item is longer than the model reads; names it.
    """
    from unlearnbench.api import read_answers

    longest = getattr(subject.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    for name, answers in zip(names, texts, strict=True):
        length = max((len(answer.ids) for answer in answers), default=0)
        if isinstance(longest, int) and length > longest:
            raise UsageError(f"The item {name} has {length} tokens, and the model reads {longest}; leave it out.")
    flat = [answer for answers in texts for answer in answers]
    places = [(item, place) for item, answers in enumerate(texts) for place in range(len(answers))]
    waiting = [len(answers) for answers in texts]
    readings: list[dict[int, AnswerReading]] = [{} for _ in texts]
    hidden = hidden_token(subject.tokenizer, profile)
    for number, reading in read_answers(subject.model, subject.tokenizer, flat, moments=moments, hidden=hidden):
        item, place = places[number]
        readings[item][place] = reading
        waiting[item] -= 1
        if not waiting[item]:
            values_of(item, [readings[item][place] for place in range(len(texts[item]))])
            readings[item] = {}
            subject.progress(1)
