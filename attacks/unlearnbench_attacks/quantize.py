"""quantize: what is left of unlearning once the weights are rounded to few bits, as they are in deployment.

Source: Zhang et al. 2024, arXiv:2410.16454 (4 bits bring back what methods with a utility constraint removed). NF4: Dettmers et
    al. 2023, arXiv:2305.14314, section 3; fp4: bitsandbytes' table of the same name.
Deviations: the weights are rounded and put back in the model's dtype, so that the same kernels compute before and after;
    activations, embeddings, head, norms and routers keep their precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from unlearnbench.api import Attack, Attacked, AttackSpec, Options, Victim, decoder_blocks, hookimpl, unknown_name

GROUP = 128  # inputs of a row that share a scale, for 4-bit integers; with 8 bits the whole row does
BLOCK = 64  # numbers that share a scale, for 4-bit floats, as in bitsandbytes
ROUTERS = ("gate", "router")
# bitsandbytes' tables: 16 quantiles of the normal distribution, and a sign with the eighths of a 3-bit float
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
FP4 = tuple(sorted({sign * twelfths / 12 for sign in (-1, 1) for twelfths in (0, 1 / 16, 2, 3, 4, 6, 8, 12)}))


def round_integers(weight: Tensor, *, bits: int, group: int | None) -> Tensor:
    """Round to signed integers of so many bits, with one scale for each group of consecutive inputs.

    s = max|w| / (2^(bits - 1) - 1), q = round(w / s), half to even, w' = s q; a group of zeros stays.

    Args:
        weight: (..., inputs), any float dtype; computed in float32.
        bits: number of bits.
        group: number of inputs that share a scale, the last of a row may be fewer; None for the whole row.

    Returns:
        the rounded weight, of the same shape and dtype.
    """
    most = 2 ** (bits - 1) - 1
    pieces: list[Tensor] = []
    for piece in weight.float().split(group or weight.shape[-1], dim=-1):
        scale = piece.abs().amax(dim=-1, keepdim=True) / most
        codes = (piece / scale.clamp(min=torch.finfo(torch.float32).tiny)).round().clamp(-most - 1, most)
        pieces.append(codes * scale)
    return torch.cat(pieces, dim=-1).to(weight.dtype)


def round_to_table(weight: Tensor, *, table: tuple[float, ...]) -> Tensor:
    """Round to the nearest of a table's numbers, with one scale, the largest magnitude, for each `BLOCK` numbers in a row.

    Args:
        weight: any shape and float dtype, taken as one row; computed in float32.
        table: numbers from -1 to 1, rising.

    Returns:
        the rounded weight, of the same shape and dtype.
    """
    codes = torch.tensor(table, dtype=torch.float32, device=weight.device)
    borders = (codes[1:] + codes[:-1]) / 2
    row = weight.float().flatten()
    padded = torch.nn.functional.pad(row, (0, -len(row) % BLOCK)).view(-1, BLOCK)  # (blocks, BLOCK)
    scale = padded.abs().amax(dim=1, keepdim=True)
    nearest = codes[torch.bucketize(padded / scale.clamp(min=torch.finfo(torch.float32).tiny), borders)]
    return (nearest * scale).flatten()[: len(row)].view_as(weight).to(weight.dtype)


GRIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "8": partial(round_integers, bits=8, group=None),
    "4": partial(round_integers, bits=4, group=GROUP),
    "nf4": partial(round_to_table, table=NF4),
    "fp4": partial(round_to_table, table=FP4),
}


def linear_weights(model: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    """Yield the weights of the decoder blocks' linear maps, without routers, and whether inputs come first (GPT-2's do)."""
    for block in decoder_blocks(model)[1]:
        for name, module in block.named_modules():
            if name.rpartition(".")[2] in ROUTERS:
                continue
            for weight in module.parameters(recurse=False):
                if weight.ndim >= 2:  # a matrix, or the matrices of several experts
                    yield weight, type(module).__name__ == "Conv1D"


class Quantize(Attack):
    """Weights rounded to 8 or 4 bits."""

    def __init__(self, *, argument: str = "4") -> None:
        if argument not in GRIDS:
            raise unknown_name("grid of quantize", argument, GRIDS, "It stands behind the colon, as in quantize:nf4.")
        self._grid = GRIDS[argument]

    def carry_out(self, victim: Victim, trial: Options) -> Iterator[Attacked]:
        with torch.no_grad():
            for weight, transposed in linear_weights(victim.model):
                rounded = self._grid(weight.t().contiguous()).t() if transposed else self._grid(weight)
                weight.copy_(rounded)
        yield Attacked()


@hookimpl
def unlearnbench_attacks() -> list[AttackSpec]:
    return [
        AttackSpec(
            name="quantize",
            factory=Quantize,
            summary="weights rounded to few bits: quantize:8, quantize:4, quantize:nf4 or quantize:fp4",
            source="Zhang et al. 2024, arXiv:2410.16454",
            access="weights",
            stress=True,
        )
    ]
