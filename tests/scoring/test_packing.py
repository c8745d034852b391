from __future__ import annotations

import pytest
import torch
import transformers

from unlearnbench.scoring.choice import packing
from unlearnbench.scoring.choice.packing import encode_prefix, packed_logits, packs
from unlearnbench.scoring.choice.prefix_trees import Tree

SHAPE = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
}
PACKED = {
    "Llama": {"num_key_value_heads": 2},
    "Mistral": {"num_key_value_heads": 2, "sliding_window": 64},
    "Mixtral": {"num_key_value_heads": 2, "num_local_experts": 2, "sliding_window": None},
    "Qwen2": {"num_key_value_heads": 1},
    "Qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "Gemma": {"num_key_value_heads": 2, "head_dim": 8},
    "GPTNeoX": {},
    "Phi": {},
}
PLAIN = {
    "Gemma2": {"num_key_value_heads": 2, "head_dim": 8, "attn_logit_softcapping": 5.0},
    "Bloom": {"n_layer": 3, "n_head": 4},
}


def build(family: str, **settings: object) -> torch.nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**SHAPE, **settings})
    return transformers.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("family", PACKED)
def test_packed_logits_are_the_model_s_own(family):
    """A prefix, branches and texts of several lengths at once, against one forward per text."""
    model = build(family, **PACKED[family])
    assert packs(model, longest=60)
    rng = torch.Generator().manual_seed(1)

    def draw(size: int) -> list[int]:
        return torch.randint(512, (size,), generator=rng).tolist()

    start, trunk, branches, single = draw(11), draw(9), [draw(3), draw(1), draw(5)], draw(14)
    trees = [Tree([*trunk, *branches[0], *branches[1], *branches[2]], 9, (3, 1, 5)), Tree(single, 14)]
    wanted = [8, 11, 12, 17, 31]
    logits = packed_logits(model, trees, wanted, encode_prefix(model, start))
    texts = [trunk, *(trunk + branch for branch in branches), single]
    for text, own in zip(texts, logits, strict=True):
        with torch.no_grad():
            expected = model(torch.tensor([start + text])).logits[0, -1]
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", PLAIN)
def test_attention_that_is_not_plain_is_refused(family):
    assert not packs(build(family, **PLAIN[family]), longest=10)


def test_a_window_shorter_than_the_text_is_refused():
    model = build("Mistral", **PACKED["Mistral"])
    assert packs(model, longest=64)
    assert not packs(model, longest=65)


def test_a_model_whose_positions_are_its_own_affair_is_caught():
    """What a family promises is tried out: here positions are counted anew, whatever it is told."""
    model = build("Llama", **PACKED["Llama"])
    rotary = model.model.rotary_emb.forward
    model.model.rotary_emb.forward = lambda x, position_ids: rotary(x, torch.arange(position_ids.shape[1])[None])
    assert not packs(model, longest=10)


def test_the_model_is_left_as_it_was():
    model = build("Llama", **PACKED["Llama"])
    before = model.config._attn_implementation
    packed_logits(model, [Tree([1, 2, 3], 3)], [2])
    assert model.config._attn_implementation == before
    assert not any(module._forward_hooks for module in model.modules())


def test_the_portable_attention_equals_the_fused_one():
    """What devices other than the CPU take where they have no fused kernel that tells its sums."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 7, 8).unbind()
    mask = torch.zeros(2, 1, 7, 7).masked_fill(torch.ones(7, 7, dtype=torch.bool).triu(1), float("-inf")).expand(2, 4, 7, 7)
    for causal, own in ((True, None), (False, mask), (False, None)):
        fused = packing.flash(query, key, value, scale=0.3, causal=causal, mask=own)
        portable = packing.portable_flash(query, key, value, scale=0.3, causal=causal, mask=own)
        for one, other in zip(fused, portable, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
