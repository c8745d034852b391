"""Every decoder-only family, tiny: scored as one forward per option scores it, or refused in a sentence."""

from __future__ import annotations

import pytest
import torch
import transformers
from helpers.families import EVERY, tiny
from helpers.naive_scores import LONG, QUESTIONS, farthest, naive_logprobs

from unlearnbench.errors import UsageError
from unlearnbench.models.families import cut
from unlearnbench.models.loading import skeleton
from unlearnbench.models.lora import LoraAdapter
from unlearnbench.records.items import Question
from unlearnbench.scoring.choice.log_likelihood import score_questions
from unlearnbench.scoring.choice.packing import packs

UNCAUSAL = {"paligemma"}


@pytest.mark.filterwarnings("ignore")  # of the families themselves
@pytest.mark.parametrize("family", [name for name in EVERY if name not in UNCAUSAL])
def test_scores_are_those_of_single_forwards(family, tokenizer):
    """Texts of several lengths in a batch, one beyond the windows of those that have one; padded, packed, recurrent."""
    model = tiny(family)
    assert farthest(model, tokenizer, QUESTIONS) < 5e-5


@pytest.mark.parametrize("family", ["gpt2", "jetmoe", "gemma3n_text", "lfm2", "mamba", "llama4_text"])
def test_what_cannot_be_packed_goes_the_plain_way(family):
    """The trial fails in many ways; Llama 4 would pass it, and count places along the packed row beyond 8,192 tokens."""
    assert not packs(tiny(family), longest=40)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (transformers.BertConfig, "'bert' attends to the tokens that follow"),
        (transformers.RemBertConfig, "'rembert' attends to the tokens that follow"),
        (transformers.BartConfig, "'bart' has an encoder and a decoder"),
        (transformers.T5Config, "'t5' has an encoder and a decoder"),
        (transformers.ViTConfig, "transformers knows no causal language model of the family 'vit'"),
    ],
)
def test_what_is_no_causal_model_is_refused_beforehand(tmp_path, config, said):
    config().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=said) as caught:
        skeleton(tmp_path)
    assert "\n" not in str(caught.value)


def test_attention_that_looks_ahead_in_a_multimodal_model_is_refused(tmp_path):
    tiny("paligemma").config.save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="'paligemma' attends to the tokens that follow"):
        skeleton(tmp_path)


def test_a_model_that_looks_ahead_unannounced_is_refused_when_it_is_scored(tokenizer):
    model = tiny("paligemma")
    with pytest.raises(UsageError, match="predicts otherwise after the same tokens when others follow them"):
        score_questions(model, tokenizer, QUESTIONS)


@pytest.mark.parametrize("family", ["minicpm3", "gemma4_text", "xlstm"])
def test_a_model_whose_blocks_depend_on_their_number_is_not_cut(family):
    config = tiny(family).config
    assert cut(config, 3) is config


def test_a_cut_config_keeps_what_stands_for_each_block():
    config = tiny("gemma3").config
    shorter = cut(config, 2).get_text_config()
    assert (shorter.num_hidden_layers, len(shorter.layer_types)) == (2, 2)
    assert config.get_text_config().num_hidden_layers == 4


def test_an_adapter_on_transposed_weights_is_merged_as_it_computed(tokenizer):
    """GPT-2 stores its weights as (in, out)."""
    model = tiny("gpt2")
    adapter = LoraAdapter(model, rank=2)
    torch.manual_seed(1)
    for layer in adapter.layers.values():
        torch.nn.init.normal_(layer.lora_B["default"].weight)
    ids = torch.tensor([tokenizer(LONG)["input_ids"][:20]])
    with torch.no_grad():
        adapted = model(ids).logits
        shapes = {name: parameter.shape for name, parameter in adapter.changing().items()}
        factors = adapter.factors()
        adapter.merge()
        torch.testing.assert_close(model(ids).logits, adapted, atol=1e-4, rtol=1e-4)
    for name, shape in shapes.items():
        assert (factors[f"{name}.lora_B"] @ factors[f"{name}.lora_A"]).shape == shape


def test_a_long_text_does_not_change_the_rotation_of_short_ones(tokenizer):
    """LongRoPE (Phi-3) takes other angles for a batch that holds a text beyond the trained context."""
    torch.manual_seed(0)
    config = transformers.Phi3Config(
        vocab_size=2048,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        original_max_position_embeddings=32,
        pad_token_id=3,
        initializer_range=0.2,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 4,
            "long_factor": [4.0] * 4,
            "original_max_position_embeddings": 32,
        },
    )
    model = transformers.Phi3ForCausalLM(config).eval()
    short = Question("s", "a", "The carrier of Velgrath is", (" moth", " heron"), 0)
    questions = [short, Question("l", "a", LONG, (" moth", " heron"), 0)]
    alone = [naive_logprobs(model, tokenizer, question) for question in questions]
    for result, expected in zip(score_questions(model, tokenizer, questions), alone, strict=True):
        assert list(result.logprobs) == pytest.approx(expected, abs=5e-5)
