from __future__ import annotations

import math

import pytest
import torch

from unlearnbench.data.batches import IGNORE
from unlearnbench.models.tensors import mean_square, token_nll


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    """-log(1/8) = 3 log 2 = 2.0794 nats for every token, whatever the labels."""
    logits = torch.zeros(2, 5, 8, dtype=torch.bfloat16)
    labels = torch.randint(0, 8, (2, 5))
    nll = token_nll(logits, labels)
    assert nll.dtype == torch.float32
    assert nll.tolist() == pytest.approx([3 * math.log(2)] * 2)


def test_nll_by_hand():
    """One sequence a b: logits at a give b probability e/(e+1): -log = log(1 + 1/e) = 0.3133."""
    logits = torch.tensor([[[0.0, 1.0], [5.0, 5.0]]])
    assert float(token_nll(logits, torch.tensor([[0, 1]]))) == pytest.approx(math.log(1 + math.exp(-1)))


def test_ignored_labels_and_padding_do_not_count():
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 6, 10), torch.randint(0, 10, (2, 6))
    labels[0, :3] = IGNORE
    padded = torch.nn.functional.pad(logits, (0, 0, 2, 3)), torch.nn.functional.pad(labels, (2, 3), value=IGNORE)
    # the first counted token after left padding would be predicted from a pad, so it may not count there
    labels[:, 0] = IGNORE
    padded[1][:, 2] = IGNORE
    assert torch.allclose(token_nll(*padded), token_nll(logits, labels))


def test_sequence_without_a_counted_token_is_named():
    labels = torch.tensor([[1, 2], [1, IGNORE]])
    with pytest.raises(ValueError, match=r"sequences \[1\]"):
        token_nll(torch.zeros(2, 2, 4), labels)
    with pytest.raises(ValueError, match=r"\(B, T\)"):
        token_nll(torch.zeros(2, 3, 4), labels)


def test_mean_square_weighs_sequences_alike():
    """By hand: squares 1 (one counted token) and 4, 16 (two): masked (1 + 10) / 2 = 5.5, unmasked (1 + 0 + 4 + 16) / 4."""
    difference = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[2.0, 2.0], [4.0, 4.0]]])
    counted = torch.tensor([[True, False], [True, True]])
    assert float(mean_square(difference, counted)) == 5.5
    assert float(mean_square(difference)) == 5.25
