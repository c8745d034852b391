"""The roster's losses by hand, and the limits in which one method is another."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers import formulas
from helpers.formulas import Side
from helpers.roster import logits_of, moved, pair, started
from helpers.streams import train
from torch import tensor

from unlearnbench.data.batches import IGNORE, prompts_of
from unlearnbench.training.losses import log_sigmoid_loss
from unlearnbench_methods import wga
from unlearnbench_methods.ce_u import CEU, later_tokens, without_truth
from unlearnbench_methods.dpo import DPO, REFUSALS
from unlearnbench_methods.grad_ascent import GradAscent
from unlearnbench_methods.grad_diff import GradDiff
from unlearnbench_methods.npo import NPO
from unlearnbench_methods.pdu import PDU, logit_margin
from unlearnbench_methods.satimp import weighted_ascent
from unlearnbench_methods.task_vector import TaskVector, negated
from unlearnbench_methods.undial import lowered
from unlearnbench_methods.wga import WGA

LN2 = math.log(2)


def test_log_sigmoid_loss_by_hand():
    """Margins of 0 and ln 3 with beta 1: sigmoid is 1/2 and 3/4, so the loss is 2 (ln 2 + ln 4/3) / 2 = ln 8/3 = 0.98083.

    With beta .5 and a margin of 2 ln 3: sigmoid(ln 3) = 3/4 again, times 2 / .5: 4 ln 4/3 = 1.15073.
    """
    assert float(log_sigmoid_loss(tensor([0.0, math.log(3)]), 1.0)) == pytest.approx(0.980829, abs=1e-6)
    assert float(log_sigmoid_loss(tensor([2 * math.log(3)]), 0.5)) == pytest.approx(1.150728, abs=1e-6)


def test_weighted_ascent_by_hand():
    """p = 1/4, so nll = 2 ln 2. p^1 (1 - p)^0 = 1/4: -(ln 2) / 2 = -0.34657. p^2 (1 - p)^1 = 3/64: -3/32 ln 2 = -0.06498."""
    nll = tensor([2 * LN2])
    assert float(weighted_ascent(nll, 1.0, 0.0)) == pytest.approx(-0.346574, abs=1e-6)
    assert float(wga.weighted_ascent(nll, 1.0)) == pytest.approx(-0.346574, abs=1e-6)
    assert float(weighted_ascent(nll, 2.0, 1.0)) == pytest.approx(-0.064983, abs=1e-6)


def test_weights_have_no_gradient():
    """d/dnll of -p nll with p held is -p = -1/4; with p free it would be -p + p nll."""
    nll = tensor([2 * LN2], requires_grad=True)
    (weighted_ascent(nll, 1.0, 0.0) + wga.weighted_ascent(nll, 1.0)).sum().backward()
    assert float(nll.grad) == pytest.approx(-0.5)


def test_ce_u_by_hand():
    """Logits ln(1, 2, 4), the true token the last: p = (1, 2, 4) / 7, target (1, 2, 0) / 3.

    The loss is (1/3) ln 7 + (2/3) ln 7/2 = ln 7 - (2/3) ln 2 = 1.48381.
    """
    loss = without_truth(tensor([[0.0, LN2, 2 * LN2]]), tensor([2]))
    assert float(loss) == pytest.approx(1.483812, abs=1e-6)


def test_ce_u_target_excludes_the_true_token():
    """Gradient is p - target: on the true token p itself, 4/7, and on the others p - p / (1 - p_y), which is never positive."""
    logits = tensor([[0.0, LN2, 2 * LN2]], requires_grad=True)
    without_truth(logits, tensor([2])).sum().backward()
    assert logits.grad.flatten().tolist() == pytest.approx([1 / 7 - 1 / 3, 2 / 7 - 2 / 3, 4 / 7])


def test_ce_u_leaves_the_first_tokens_alone_but_one_token_is_left():
    """Two counted tokens and one: with one token skipped, the second of two stays, and the only one of the other."""
    labels = tensor([[IGNORE, 5, 6], [IGNORE, IGNORE, 7]])
    later, targets = later_tokens({"labels": labels}, 1)
    assert later.tolist() == [[False, True, False], [False, True, False]]
    assert targets.tolist() == [6, 7]


def test_pdu_flatness_by_hand():
    """Logits (1, 2, 6): the largest is 3 above their mean, so 9; even logits give 0."""
    assert logit_margin(tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])).tolist() == [9.0, 0.0]


def test_undial_by_hand():
    """Both models' logits ln(1, 1, 4), the last token lowered by ln 4: the target is even, and the loss that of p to it.

    p = (1, 1, 4) / 6: -(1/3)(2 ln 1/6 + ln 4/6) = (1/3)(2 ln 6 + ln 3/2) = 1.32966.
    """
    logits = tensor([[0.0, 0.0, 2 * LN2]])
    assert float(lowered(logits, logits, tensor([2]), 2 * LN2)) == pytest.approx(1.329661, abs=1e-6)


def test_task_vector_by_hand():
    """From 1 by way of 1.5, once and twice as far back: .5 and 0."""
    assert float(negated(tensor(1.0), tensor(1.5), 1.0)) == 0.5
    assert float(negated(tensor(1.0), tensor(1.5), 2.0)) == 0.0


def known(*targets: int) -> Side:
    """One text of two counted tokens; at both the model says (1, 2, 4) / 7 of three tokens, and said 1/3 of each before."""
    logits = tensor([[[0.0, LN2, 2 * LN2]] * 3])
    return Side(logits, logits, torch.zeros(1, 3, 3), tensor([[IGNORE, *targets]]))


def test_formulas_by_hand():
    """The tokens are 2 and 1: nll is ln 7/4 + ln 7/2 = ln 49/8 in all, .906189 per token; before it was 2 ln 3.

    GradDiff: (-.5 + 2) * .906189 = 1.359284. NPO, beta 1: the margin is ln 49/72, its sigmoid 49/121: 2 ln 121/49 = 1.807940.
    SimNPO, beta 2, delta .5: 2 (.906189 - .5) = .812378, -(2/2) ln sigmoid of it = .367279. KL(before || now): the mean of
    -ln 3p over the three tokens, ln 7 - ln 3 - ln 2 = ln 7/6 = .154151. PDU: (2 ln 2 - ln 2)^2 / 2 + 3 (.906189 - .5) =
    1.458794. DPO, beta 1, the winner's tokens 2 and 2: its log ratio is 2 ln 12/7, the loser's ln 12/7 + ln 6/7; ln 2 apart,
    so -2 ln 2/3 = .810930. Each of these formulas is what test_roster holds its method against.
    """
    side, winner = known(2, 1), known(2, 2)
    found = {
        "grad-diff": formulas.grad_diff(side, side, gamma=0.5, alpha=2.0),
        "npo": formulas.npo(side, side, beta=1.0, gamma=1.0, alpha=0.0),
        "simnpo": formulas.simnpo(side, side, beta=2.0, delta=0.5, gamma=1.0, alpha=0.0),
        "kl": formulas.divergence(side),
        "pdu": formulas.pdu(side, side, gamma=0.5, multiplier=3.0, bound=0.5),
        "dpo": formulas.dpo(winner, side, side, beta=1.0, gamma=1.0, alpha=0.0),
    }
    expected = {"grad-diff": 1.359284, "npo": 1.807940, "simnpo": 0.367279, "kl": 0.154151, "pdu": 1.458794, "dpo": 0.810930}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, abs=2e-6)


def gradients(method):
    method.training_step(pair(method), 0).backward()
    return [p.grad for p in method.model.parameters()]


def assert_same_slopes(first, second) -> None:
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=5e-6)


def test_wga_with_beta_0_is_gradient_ascent(tiny_model, tokenizer):
    other = copy.deepcopy(tiny_model)
    weighted = started(WGA(tiny_model, beta=0.0, retain_weight=0.0), tokenizer)
    assert_same_slopes(gradients(weighted), gradients(started(GradAscent(other), tokenizer)))


def test_grad_diff_without_retain_term_is_gradient_ascent(tiny_model, tokenizer):
    other = copy.deepcopy(tiny_model)
    alone = started(GradDiff(tiny_model, retain_weight=0.0), tokenizer)
    assert_same_slopes(gradients(alone), gradients(started(GradAscent(other), tokenizer)))


@pytest.mark.parametrize(("beta", "near"), [(1e-6, True), (0.5, False)])
def test_npo_goes_to_gradient_ascent_as_beta_goes_to_0(tokenizer, beta, near):
    """The model has moved, so no margin is 0. Its slope is the mean over texts of -2 sigmoid(-beta margin) grad nll, nll a
    text's sum: as beta goes to 0 that of -nll, gradient ascent on sums."""
    method, model, _ = moved(tokenizer, "npo", beta=beta, forget_weight=1.0, retain_weight=0.0)
    plain = copy.deepcopy(model)
    stream = pair(method)["forget"]
    assert method.before.gain(stream).abs().min() > 1e-2
    method.training_step(pair(method), 0).backward()
    nll = -logits_of(plain, stream)[:, :-1].log_softmax(-1).gather(-1, stream["input_ids"][:, 1:, None])[..., 0]
    (-(nll * (stream["labels"][:, 1:] != IGNORE)).sum(dim=1).mean()).backward()
    gaps = [
        float((o.grad - t.grad).norm() / t.grad.norm()) for o, t in zip(model.parameters(), plain.parameters(), strict=True)
    ]
    assert max(gaps) < 1e-4 if near else max(gaps) > 1e-2


def test_npo_with_a_large_beta_has_no_slope_once_a_text_is_forgotten():
    """Slope of the loss by the margin: -2 sigmoid(-beta margin), which is 2 sigmoid(-20) = 4e-9 at a margin of 2, beta 10."""
    margin = tensor([2.0], dtype=torch.float64, requires_grad=True)
    log_sigmoid_loss(margin, 10.0).backward()
    assert float(margin.grad) == pytest.approx(-2 / (1 + math.exp(20)), rel=1e-9)


@pytest.mark.parametrize(("factory", "options"), [(NPO, {}), (DPO, {}), (DPO, {"winner": "alternative"})])
def test_preferences_start_at_2_log_2_over_beta(tiny_model, tokenizer, factory, options):
    """Untouched and trained model are one at the start: every margin is exactly 0."""
    method = started(factory(tiny_model, beta=0.5, retain_weight=0.0, **options), tokenizer)
    assert float(method.training_step(pair(method), 0).detach()) == pytest.approx(2 * LN2 / 0.5, rel=1e-7)


def test_refusals_follow_the_prompts(tiny_model, tokenizer):
    """Each prompt, then one of the refusals and the end token; what is forgotten is the response alone."""
    method = started(DPO(tiny_model), tokenizer)
    stream = pair(method)["forget"]
    winner, loser = method.answers(stream)
    texts = set()
    for row, prompt in enumerate(prompts_of(stream, 0.5)):
        assert winner["input_ids"][row, : len(prompt)].tolist() == prompt
        counted = winner["labels"][row][winner["labels"][row] != IGNORE].tolist()
        assert counted[-1] == tokenizer.eos_token_id
        texts.add(tokenizer.decode(counted[:-1]).strip())
    assert texts <= set(REFUSALS)
    assert torch.equal(loser["labels"], stream["labels"])


def test_a_refusal_ends_where_the_model_can_read_no_further(tiny_model, tokenizer):
    method = started(DPO(tiny_model), tokenizer)
    stream = pair(method)["forget"]
    width = stream["input_ids"].shape[1]
    tiny_model.config.max_position_embeddings = width
    assert method.answers(stream)[0]["input_ids"].shape[1] == width


def test_dual_variable_moves_the_right_way(tiny_model, tokenizer):
    """Up by step times the violation where the retain loss is above the bound, down below it, and never under 0."""
    method = started(PDU(tiny_model, multiplier=2.0, bound=1e-3, dual_step=0.5, dual_warmup=1), tokenizer)
    batch = pair(method)
    loss = float(method.nll(batch["retain"]).detach())
    seen = []
    for step, bound in enumerate((1e-3, 1e-3, loss + 1.0, 1e6)):
        method.bound = bound
        method.training_step(batch, step)
        method.on_train_batch_end(None, batch, step)
        seen.append(method.multiplier)
    up = 2.0 + 0.5 * (loss - 1e-3)
    assert seen == pytest.approx([2.0, up, up - 0.5, 0.0], rel=1e-6)  # the first update is warm-up


def test_bound_follows_from_the_untouched_models_loss(tiny_model, tokenizer):
    method = started(PDU(tiny_model, slack=0.25), tokenizer)
    assert method.bound == pytest.approx(1.25 * float(method.nll(method.context.retain.update(0)).detach()), rel=1e-6)


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_task_vector_0_is_the_identity(tiny_model, tokenizer, adapter):
    before = copy.deepcopy(tiny_model.state_dict())
    method = started(TaskVector(tiny_model, scale=0.0, lr=1e-2, adapter=adapter, rank=4), tokenizer)
    train(method, 2)
    method.on_train_end()
    method.finish()
    assert all(torch.equal(weight, before[name]) for name, weight in tiny_model.state_dict().items())


def test_task_vector_goes_away_from_what_was_learnt(tiny_model, tokenizer):
    method = started(TaskVector(tiny_model, lr=1e-3), tokenizer)
    stream = pair(method)["forget"]
    before = float(method.nll(stream).detach())
    train(method, 2)
    learnt = float(method.nll(stream).detach())
    method.on_train_end()
    assert learnt < before < float(method.nll(stream).detach())


def test_adapters_tell_the_same_reference(tiny_model, tokenizer):
    """The reference scalars are those of the untouched model, with an adapter too: the first gain is exactly 0."""
    method = started(NPO(tiny_model, adapter="lora", rank=4), tokenizer)
    stream = pair(method)["forget"]
    assert method.before.gain(stream).tolist() == [0.0, 0.0]
    train(method, 2)
    assert all(abs(value) > 0 for value in method.before.gain(stream).tolist())


def test_ce_u_looks_at_no_retain_text(tiny_model, tokenizer):
    method = started(CEU(tiny_model), tokenizer)
    assert torch.isfinite(method.training_step({"forget": pair(method)["forget"]}, 0))
