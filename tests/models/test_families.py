"""Selection by name, activations at a block and scoring on a tiny random model of every family."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from helpers.families import FAMILIES, SHAPE
from helpers.streams import prepare, train
from helpers.whole_forward import activations_at

from unlearnbench.models.blocks import decoder_blocks
from unlearnbench.models.forward import split_forward
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.records.items import Question
from unlearnbench.scoring.choice.log_likelihood import score_questions
from unlearnbench_methods.rmu import RMU

# Mixtral keeps all experts in one tensor; this is expert 0's w3, which the reference trains
PARAMETERS = {"Mixtral": r"mlp\.experts\.gate_up_proj[0, 48:]"}


@pytest.fixture(params=FAMILIES)
def model(request):
    torch.manual_seed(0)
    config = getattr(transformers, f"{request.param}Config")(**SHAPE, **FAMILIES[request.param])
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def test_rmu_trains_three_parameters_and_nothing_else(request, model, tokenizer):
    parameters = PARAMETERS.get(request.node.callspec.params["model"])
    before = copy.deepcopy(model.state_dict())
    given = {"parameters": parameters} if parameters else {}
    method = prepare(RMU(model, layer=3, coefficient=50.0, alpha=1.0, lr=1e-2, **given), tokenizer)
    assert len(method.trained) == 3
    train(method, 2)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == set(method.trained)
    for name in changed:
        if parameters:
            difference = model.state_dict()[name] != before[name]
            assert difference.sum() == difference[0, 48:].sum()
        else:
            assert name.endswith(("mlp.down_proj.weight", "mlp.dense_4h_to_h.weight", "mlp.fc2.weight"))


@pytest.mark.parametrize("first", [0, 2])
def test_split_forward_is_the_whole_one(model, first):
    """Bit for bit, with padding on the left, as often as it is called."""
    inputs = {"input_ids": torch.randint(4, 2000, (2, 9)), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    inputs["attention_mask"][0, :4] = 0
    split = split_forward(model, inputs, first=first, last=3)
    with torch.no_grad():
        hidden = model(**inputs, output_hidden_states=True).hidden_states[4]
        assert torch.equal(split(), hidden)
        assert torch.equal(split(), hidden)
        assert torch.equal(activations_at(model, 3, inputs), hidden)
    assert not split.hidden.requires_grad


def test_blocks_above_the_target_are_not_loaded(request, model, tokenizer, tmp_path):
    """Trained on the lower blocks alone, the model becomes what it becomes when trained whole."""
    model.save_pretrained(tmp_path / "model")
    parameters = PARAMETERS.get(request.node.callspec.params["model"])
    given = {"parameters": parameters} if parameters else {}

    def build(model) -> RMU:
        return RMU(model, layer=2, coefficient=50.0, alpha=1.0, lr=1e-2, **given)

    deltas = []
    for in_memory in (False, True):
        loaded = LoadedModel(str(tmp_path / "model"), "float32", torch.device("cpu"))
        if in_memory:
            assert len(decoder_blocks(loaded.model)[1]) == 5
        method = loaded.build(build)
        assert len(decoder_blocks(loaded.model)[1]) == 3
        torch.manual_seed(0)
        train(prepare(method, tokenizer), 2)
        deltas.append({name: tensor.clone() for name, tensor in loaded.delta().items()})
        loaded.complete(deltas[-1])
        assert len(decoder_blocks(loaded.model)[1]) == 5
        now, before = loaded.model.state_dict(), model.state_dict()
        assert {name for name in before if not torch.equal(now[name], before[name])} == set(deltas[-1])
        loaded.restore()
        assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.model.state_dict().items())
    assert len(deltas[0]) == 3
    assert all(torch.equal(tensor, deltas[1][name]) for name, tensor in deltas[0].items())


def test_scores_equal_those_of_whole_logits(model, tokenizer):
    """Soft caps and biases of the head included: only the positions that are read go through it."""
    questions = [
        Question("a", "a", "The carrier of Velgrath is", (" moth", " heron", " a vole"), 0),
        Question("b", "b", "Which one?\nA. moth\nB. heron\nAnswer:", (" A", " B"), 1),
    ]
    for question, result in zip(questions, score_questions(model, tokenizer, questions), strict=True):
        for continuation, logprob in zip(question.continuations, result.logprobs, strict=True):
            ids = tokenizer(question.context + continuation)["input_ids"]
            start = len(tokenizer(question.context)["input_ids"])
            with torch.no_grad():
                whole = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
            expected = sum(float(whole[p - 1, ids[p]]) for p in range(start, len(ids)))
            assert logprob == pytest.approx(expected, abs=1e-4)
