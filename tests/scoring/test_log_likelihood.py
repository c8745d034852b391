from __future__ import annotations

import copy
import dataclasses
import random

import pytest
import torch
from helpers.ending import ending
from tokenizers.normalizers import Replace

from unlearnbench.data.sources import sandbox_folder
from unlearnbench.errors import UsageError
from unlearnbench.models import loading as models
from unlearnbench.records.items import Question
from unlearnbench.scoring.choice.log_likelihood import encode_questions, score_questions
from unlearnbench_benchmarks.wmdp import Wmdp


def naive(model, tokenizer, context: str, continuation: str) -> list[float]:
    """Log-probability of each token of the continuation, from whole logits, one sequence at a time."""
    ids = tokenizer(context + continuation)["input_ids"]
    start = len(tokenizer(context)["input_ids"])
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return [float(logprobs[position - 1, ids[position]]) for position in range(start, len(ids))]


def letters(number: int, words: int) -> Question:
    context = f"The following are questions about {'moss ' * words}number {number}.\n\nA. moth\nB. heron\nAnswer:"
    return Question(f"q/{number}", "q", context, (" A", " B", " C", " D"), number % 4)


def cloze(number: int, words: int) -> Question:
    context = f"Question: which carrier has {'moss ' * words}number {number}?\nAnswer:"
    return Question(f"c/{number}", "c", context, (" moth", " a very long heron indeed", " vole eel", " gnat."), number % 4)


@pytest.fixture(params=[letters, cloze], ids=["letters", "cloze"])
def questions(request) -> list[Question]:
    return [request.param(number, words) for number, words in enumerate([1, 40, 3, 17, 5, 90, 2, 60])]


@pytest.mark.parametrize("per_token", [False, True])
def test_equals_the_naive_score(tiny_model, tokenizer, questions, per_token):
    for question, result in zip(questions, score_questions(tiny_model, tokenizer, questions, per_token=per_token), strict=True):
        expected = [naive(tiny_model, tokenizer, question.context, c) for c in question.continuations]
        values = [sum(tokens) / len(tokens) if per_token else sum(tokens) for tokens in expected]
        assert result.logprobs == pytest.approx(values, abs=1e-4)
        assert result.choice == max(range(4), key=values.__getitem__)
        assert (result.id, result.answer) == (question.id, question.answer)
        assert result.score == float(result.choice == question.answer)


def test_neighbours_order_and_batch_size_change_nothing(tiny_model, tokenizer, questions, monkeypatch):
    together = score_questions(tiny_model, tokenizer, questions)
    alone = [score_questions(tiny_model, tokenizer, [question])[0] for question in questions]
    shuffled = random.Random(0).sample(range(len(questions)), len(questions))
    reordered = score_questions(tiny_model, tokenizer, [questions[i] for i in shuffled])
    monkeypatch.setattr(models, "CPU_TOKENS", 64)
    small = score_questions(tiny_model, tokenizer, questions)
    for index, result in enumerate(together):
        for other in (alone[index], reordered[shuffled.index(index)], small[index]):
            assert other.logprobs == pytest.approx(result.logprobs, abs=1e-4)
            assert other.choice == result.choice


def test_trailing_space_of_the_context_belongs_to_the_option(tiny_model, tokenizer):
    plain = Question("q", "q", "Answer:", (" moth", " heron"), 0)
    spaced = Question("q", "q", "Answer: ", ("moth", "heron"), 0)
    first, second = (score_questions(tiny_model, tokenizer, [question])[0] for question in (plain, spaced))
    assert first.logprobs == second.logprobs


def test_letter_of_several_tokens(tiny_model, tokenizer):
    """An answer that is two tokens is scored by both, and the one-token ones beside it as before."""
    question = Question("q", "q", "Answer:", (" A", " Zq!", " B"), 0)
    result = score_questions(tiny_model, tokenizer, [question])[0]
    expected = [sum(naive(tiny_model, tokenizer, "Answer:", c)) for c in question.continuations]
    assert result.logprobs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("make", [letters, cloze])
def test_over_long_context_is_cut_from_the_left_and_said(tiny_model, tokenizer, make):
    limit = tiny_model.config.max_position_embeddings
    long = make(0, 700)
    short = dataclasses.replace(long, context=long.context[-40:])
    cut, whole = score_questions(tiny_model, tokenizer, [long, short])
    assert (cut.truncated, whole.truncated) == (True, False)
    assert cut.tokens == limit
    ids = tokenizer(long.context + long.continuations[0])["input_ids"]
    own = len(ids) - len(tokenizer(long.context)["input_ids"])
    kept = ids[-(limit + 1) :]
    with torch.no_grad():
        logprobs = tiny_model(torch.tensor([kept[:-1]])).logits[0].log_softmax(-1)
    expected = sum(float(logprobs[p - 1, kept[p]]) for p in range(len(kept) - own, len(kept)))
    assert cut.logprobs[0] == pytest.approx(expected, abs=1e-4)


def test_when_memory_runs_out_the_batch_halves_and_the_run_goes_on(tiny_model, tokenizer, questions):
    expected = score_questions(tiny_model, tokenizer, questions)
    room = max(result.tokens for result in expected) + 10
    sizes: list[int] = []

    def refuse(_module, arguments, keywords):
        sizes.append(keywords["input_ids"].numel())
        if sizes[-1] > room:
            raise torch.OutOfMemoryError("not enough memory")

    handle = tiny_model.register_forward_pre_hook(refuse, with_kwargs=True)
    done: list[int] = []
    results = score_questions(tiny_model, tokenizer, questions, progress=done.append)
    handle.remove()
    assert max(sizes) > room
    assert sum(done) == len(questions)
    for result, other in zip(results, expected, strict=True):
        assert result.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_one_text_that_does_not_fit_is_an_error(tiny_model, tokenizer):
    def refuse(_module, _arguments, keywords):
        if keywords["input_ids"].numel() > 60:
            raise torch.OutOfMemoryError("not enough memory")

    tiny_model.register_forward_pre_hook(refuse, with_kwargs=True)
    with pytest.raises(torch.OutOfMemoryError):
        score_questions(tiny_model, tokenizer, [letters(1, 90)])


def test_through_the_chat_template(tiny_model, tokenizer):
    question = letters(1, 3)
    texts = encode_questions([question], tokenizer, limit=512, chat=True)
    result = score_questions(tiny_model, tokenizer, [question], texts=texts)[0]
    turns = [{"role": "user", "content": question.context}]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    gap = prompt[len(prompt.rstrip()) :]
    expected = [sum(naive(tiny_model, tokenizer, prompt.rstrip(), gap + c.strip())) for c in question.continuations]
    assert result.logprobs == pytest.approx(expected, abs=1e-4)


def test_chat_without_a_template_is_refused(tokenizer):
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    with pytest.raises(UsageError, match="needs a chat template"):
        encode_questions([letters(1, 3)], plain, limit=512, chat=True)


def test_sentencepiece_tokens_are_found_in_context(sentencepiece):
    """A word-initial mark instead of a space, bytes for what the vocabulary lacks, BOS in front: as Llama 2 and Mistral."""
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(sentencepiece),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    asked = [letters(1, 3), cloze(2, 3), Question("u", "u", "Answer:", (" A", " Ω", " B"), 0)]
    assert sentencepiece(asked[0].context)["input_ids"][0] == sentencepiece.bos_token_id
    assert len(sentencepiece("Answer: Ω")["input_ids"]) > len(sentencepiece("Answer: A")["input_ids"])
    for question, result in zip(asked, score_questions(model, sentencepiece, asked), strict=True):
        expected = [sum(naive(model, sentencepiece, question.context, c)) for c in question.continuations]
        assert result.logprobs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("make", [letters, cloze])
@pytest.mark.parametrize("chat", [False, True])
def test_a_tokenizer_that_ends_every_text_scores_the_same(tiny_model, tokenizer, make, chat):
    asked = [make(1, 3)]
    first, second = (encode_questions(asked, own, limit=512, chat=chat) for own in (tokenizer, ending(tokenizer)))
    assert first == second
    assert score_questions(tiny_model, ending(tokenizer), asked) == score_questions(tiny_model, tokenizer, asked)


def test_the_sandbox_knows_its_answers_whatever_ends_a_text():
    """Scored by the end token, its model would know a sixth of them."""
    folder = sandbox_folder() / "model"
    model, own = models.load_model(folder, torch.float32, torch.device("cpu")), models.load_tokenizer(folder)
    results = score_questions(model, ending(own), Wmdp(source="sandbox:wmdp").questions[:40])
    assert [result.score for result in results] == [1.0] * 40


def test_an_option_that_is_nothing_to_the_tokenizer_is_refused(tokenizer):
    """Its log-probability would be 0, the best there is."""
    spaceless = copy.deepcopy(tokenizer)
    spaceless.backend_tokenizer.normalizer = Replace("~", "")
    question = Question("part/7", "part", "Answer:", (" moth", "~"), 0)
    with pytest.raises(UsageError, match=r"Option 2 of part/7 has no token of its own in this model's tokenizer"):
        encode_questions([question], spaceless, limit=512)


def test_an_option_behind_nothing_is_refused(tokenizer):
    with pytest.raises(UsageError, match=r"Nothing stands before the options of q .*; give it a context\."):
        encode_questions([Question("q", "q", "", ("moth", "heron"), 0)], tokenizer, limit=512)


def test_progress_counts_every_question_once(tiny_model, tokenizer, questions):
    done: list[int] = []
    score_questions(tiny_model, tokenizer, questions, progress=done.append)
    assert sum(done) == len(questions)


def test_bos_is_added_as_the_tokenizer_does_it(tiny_model, tokenizer):
    """A tokenizer that writes BOS by itself: context and option are still split in the right place."""
    from tokenizers.processors import TemplateProcessing

    with_bos = copy.deepcopy(tokenizer)
    name = with_bos.bos_token
    template = TemplateProcessing(single=f"{name} $A", special_tokens=[(name, with_bos.bos_token_id)])
    with_bos.backend_tokenizer.post_processor = template
    question = letters(1, 3)
    assert with_bos(question.context)["input_ids"][0] == with_bos.bos_token_id
    result = score_questions(tiny_model, with_bos, [question])[0]
    expected = [sum(naive(tiny_model, with_bos, question.context, c)) for c in question.continuations]
    assert result.logprobs == pytest.approx(expected, abs=1e-4)
    assert result.logprobs != pytest.approx(score_questions(tiny_model, tokenizer, [question])[0].logprobs, abs=1e-4)
