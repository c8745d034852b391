"""OpenUnlearning's losses as it publishes them, over a whole batch at once: where they are ours, and where they are not.

docs/openunlearning.md lists what is meant to differ. On texts of one length a mean over all tokens is a mean of means.
"""

from __future__ import annotations

import copy

import pytest
import torch
from helpers.roster import ROSTER, logits_of, moved, pair
from torch import Tensor
from torch.nn import functional as F

from unlearnbench.data.batches import IGNORE

GAMMA, ALPHA = 0.5, 2.0


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, T-1), 0 where a label does not count."""
    flat = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="none")
    return flat.view(len(labels), -1)


def counted(labels: Tensor) -> Tensor:
    return labels[:, 1:] != IGNORE


def model_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """transformers' own: the mean over all counted tokens of a batch."""
    return token_losses(logits, labels)[counted(labels)].mean()


def batch_nll(logits: Tensor, labels: Tensor) -> Tensor:
    return token_losses(logits, labels).sum(dim=1)


def preference(margin: Tensor, beta: float) -> Tensor:
    return -2 / beta * F.logsigmoid(beta * margin).mean()


def simnpo(now: Tensor, before: Tensor, labels: Tensor) -> Tensor:
    return preference(batch_nll(now, labels) / (labels != IGNORE).sum(dim=1) - 0.5, 2.0)


def npo(now: Tensor, before: Tensor, labels: Tensor) -> Tensor:
    return preference(batch_nll(now, labels) - batch_nll(before, labels), 0.2)


def weighted(now: Tensor, labels: Tensor, confidence: float, doubt: float) -> Tensor:
    losses = token_losses(now, labels)
    p = (-losses.detach()).exp()
    return -(p**confidence * (1 - p) ** doubt * losses)[counted(labels)].mean()


def ce_u(now: Tensor, before: Tensor, labels: Tensor) -> Tensor:
    """The first counted token of each text is left out."""
    losses = []
    for row, own in zip(now, labels, strict=True):
        for place in counted(own[None])[0].nonzero().flatten().tolist()[1:]:
            target = row[place].detach().clone()
            target[own[place + 1]] = -torch.inf
            losses.append(F.cross_entropy(row[place][None], target.softmax(-1)[None]))
    return torch.stack(losses).mean()


def undial(now: Tensor, before: Tensor, labels: Tensor) -> Tensor:
    """Over all positions, whatever their label; a label that does not count lowers a token of the vocabulary's end."""
    shifted = labels[:, 1:] % before.shape[-1]
    lowered = before[:, :-1] - 3.0 * F.one_hot(shifted, before.shape[-1])
    return -(lowered.softmax(-1) * now[:, :-1].log_softmax(-1)).sum(-1).mean()


FORGET = {
    "grad-ascent": lambda now, before, labels: -model_loss(now, labels),
    "grad-diff": lambda now, before, labels: -model_loss(now, labels),
    "simnpo": simnpo,
    "wga": lambda now, before, labels: weighted(now, labels, 0.3, 0.0),
    "satimp": lambda now, before, labels: weighted(now, labels, 0.3, 1.5),
    "ce-u": ce_u,
    "npo": npo,
    "undial": undial,
}
ALONE = {"grad-ascent", "ce-u"}  # no retain term, no weight
PER_TEXT = {"simnpo", "npo"}  # their forget loss is a mean over texts there, too


def both(tokenizer, name: str, length: int | None, **options):
    """Our loss and theirs on one batch, with the gradients of all weights."""
    method, model, untouched = moved(tokenizer, name, length, **options)
    plain = copy.deepcopy(model)
    batch = pair(method)
    ours = method.training_step(batch, 0)
    ours.backward()
    stream = batch["forget"]
    with torch.no_grad():
        before = logits_of(untouched, stream)
    theirs = FORGET[name](logits_of(plain, stream), before, stream["labels"])
    if name not in ALONE:
        alpha = options.get("retain_weight", ALPHA)
        theirs = GAMMA * theirs + alpha * model_loss(logits_of(plain, batch["retain"]), batch["retain"]["labels"])
    theirs.backward()
    slopes = [(a.grad, b.grad) for a, b in zip(model.parameters(), plain.parameters(), strict=True)]
    return float(ours.detach()), float(theirs.detach()), slopes


@pytest.mark.parametrize("name", FORGET)
def test_on_texts_of_one_length_losses_and_gradients_are_theirs(name, tokenizer):
    ours, theirs, slopes = both(tokenizer, name, length=7)
    assert ours == pytest.approx(theirs, rel=1e-9)
    for own, other in slopes:
        torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted(FORGET.keys() - PER_TEXT))
def test_on_texts_of_several_lengths_each_text_weighs_the_same_here(name, tokenizer):
    """There each token does; in UNDIAL prompts and padding, too."""
    ours, theirs, _ = both(tokenizer, name, length=None)
    assert abs(ours - theirs) > 1e-3


@pytest.mark.parametrize("name", sorted(PER_TEXT))
def test_means_over_texts_are_theirs_whatever_the_lengths(name, tokenizer):
    ours, theirs, _ = both(tokenizer, name, length=None, retain_weight=0.0)
    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("name", ["dpo", "altpo"])
@pytest.mark.parametrize("length", [None, 7])
def test_preferences_are_theirs_whatever_the_lengths(name, length, tokenizer):
    method, model, untouched = moved(tokenizer, name, length, retain_weight=0.0)
    stream = pair(method)["forget"]
    gains = []
    with torch.no_grad():
        ours = float(method.training_step(pair(method), 0))
        for own in (stream["alternative"], stream):
            gains.append(batch_nll(logits_of(untouched, own), own["labels"]) - batch_nll(logits_of(model, own), own["labels"]))
    assert ours == pytest.approx(float(GAMMA * preference(gains[0] - gains[1], ROSTER[name][1]["beta"])), rel=1e-9)


def flatness(logits: Tensor) -> Tensor:
    return (logits.max(-1).values - logits.mean(-1)) ** 2


def test_pdu_looks_where_the_tokens_are_predicted(tokenizer):
    """Theirs takes the labels' mask without shifting it: the logits after each counted token, not those that predict it."""
    method, model, _ = moved(tokenizer, "pdu", 7, forget_weight=1.0, multiplier=0.0)
    stream = pair(method)["forget"]
    with torch.no_grad():
        ours, whole = float(method.training_step(pair(method), 0)), logits_of(model, stream)
    mask = stream["labels"] != IGNORE
    assert ours == pytest.approx(float(flatness(whole[:, :-1])[mask[:, 1:]].mean()), rel=1e-9)
    assert abs(ours - float(flatness(whole)[mask].mean())) > 1e-3


def test_the_divergence_counts_what_predicts_a_token(tokenizer):
    """Theirs is a mean over all positions of a batch, the last of each text and its prompt among them."""
    method, model, untouched = moved(tokenizer, "grad-diff", 7, forget_weight=0.0, retain_weight=1.0, retain="kl")
    stream = pair(method)["retain"]
    with torch.no_grad():
        ours = float(method.training_step(pair(method), 0))
        now, before = (logits_of(one, stream).log_softmax(-1) for one in (model, untouched))
    everywhere = F.kl_div(now, before, reduction="none", log_target=True).sum(-1)
    assert ours == pytest.approx(float(everywhere[:, :-1].mean()), rel=1e-9)
    assert abs(ours - float(everywhere.mean())) > 1e-5
