"""The grids of quantize and the choice of prune, against their formulas."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_llama
from scipy.stats import norm
from torch import Tensor

from unlearnbench.errors import UsageError
from unlearnbench_attacks.prune import Prune, matrices, prune
from unlearnbench_attacks.quantize import BLOCK, FP4, GRIDS, GROUP, NF4, Quantize, linear_weights, round_integers


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("grid", GRIDS)
def test_rounding_twice_is_rounding_once(grid):
    once = GRIDS[grid](drawn(5, 3 * GROUP + 7))
    assert torch.allclose(GRIDS[grid](once), once, atol=1e-7)


@pytest.mark.parametrize(("bits", "group"), [(8, None), (4, GROUP), (4, 2)])
def test_no_number_moves_by_more_than_half_a_step(bits, group):
    weight = drawn(6, GROUP + 5)
    moved = (round_integers(weight, bits=bits, group=group) - weight).abs()
    for first in range(0, weight.shape[1], group or weight.shape[1]):
        own = slice(first, first + (group or weight.shape[1]))
        step = weight[:, own].abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
        assert (moved[:, own] <= step / 2 * (1 + 1e-5)).all()


def test_four_bits_by_hand():
    """s = .7 / 7 = .1: .24 becomes 2 steps, .26 three, and .25, half way, the even one."""
    weight = torch.tensor([[0.7, 0.24, 0.26, -0.7]])
    assert torch.allclose(round_integers(weight, bits=4, group=None), torch.tensor([[0.7, 0.2, 0.3, -0.7]]))
    halves = torch.tensor([[7.0, 2.5, 3.5, -0.5]])
    assert round_integers(halves, bits=4, group=None).tolist() == [[7.0, 2.0, 4.0, 0.0]]


@pytest.mark.parametrize("grid", GRIDS)
def test_zeros_stay_and_dtypes_are_kept(grid):
    assert GRIDS[grid](torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2
    assert GRIDS[grid](drawn(2, 70).bfloat16()).dtype == torch.bfloat16


def test_nf4_is_made_of_quantiles_of_the_normal_distribution():
    """QLoRA, section 3: the means between 1/32 and 1/30 at the ends, eight positive and seven negative quantiles and 0."""
    offset = (1 - 1 / 32 + 1 - 1 / 30) / 2
    positive = norm.ppf(torch.linspace(offset, 0.5, 9)[:-1].double())
    negative = -norm.ppf(torch.linspace(offset, 0.5, 8)[:-1].double())
    values = sorted([*positive, *negative, 0.0])
    assert [value / max(values) for value in values] == pytest.approx(NF4, abs=1e-5)


def test_fp4_has_a_sign_two_exponent_bits_and_one_of_fraction():
    """Of 3 bits: 0 and 1/16 below the normal numbers 2^e (1 + m / 2), over 12 as in bitsandbytes."""
    normal = {2.0**e * (1 + m / 2) for e in (1, 2, 3) for m in (0, 1)}
    wanted = sorted({sign * value / 12 for sign in (-1, 1) for value in (0.0, 1 / 16, *normal)})
    assert list(FP4) == pytest.approx(wanted)


@pytest.mark.parametrize(("grid", "table"), [("nf4", NF4), ("fp4", FP4)])
def test_floats_go_to_the_nearest_of_their_table(grid, table):
    weight = drawn(3, BLOCK)
    found = GRIDS[grid](weight)
    scale = weight.abs().amax(dim=1, keepdim=True)  # each row is one block
    codes = torch.tensor(table)
    nearest = codes[((weight / scale)[..., None] - codes).abs().argmin(dim=-1)] * scale
    assert torch.allclose(found, nearest, atol=1e-6)


def test_what_is_rounded_are_the_matrices_of_the_blocks():
    model = tiny_llama()
    rounded = {id(weight) for weight, _ in linear_weights(model)}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in rounded}
    per_block = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.split(".")[-2] for name in names} == per_block
    assert len(names) == len(per_block) * model.config.num_hidden_layers
    assert {id(matrix) for matrix in matrices(model)} == rounded


def test_the_smallest_numbers_become_zero():
    weight = torch.tensor([[0.1, -3.0, 2.0], [-0.1, 5.0, 0.5]])
    assert torch.equal(prune(weight, 0.5), torch.tensor([[0.0, -3.0, 2.0], [0.0, 5.0, 0.0]]))
    assert torch.equal(prune(weight, 0.2), torch.tensor([[0.0, -3.0, 2.0], [-0.1, 5.0, 0.5]]))  # of equals the first
    assert torch.equal(prune(weight, 0.1), weight)


@pytest.mark.parametrize(
    ("attack", "argument", "said"),
    [(Quantize, "5", "Unknown grid"), (Prune, "x", "from 1 to 99"), (Prune, "100", "from 1 to 99")],
)
def test_unfit_argument_is_a_sentence(attack, argument, said):
    with pytest.raises(UsageError, match=said):
        attack(argument=argument)
