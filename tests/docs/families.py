"""Write docs/families.md: the results of trying each family of models here, tiny and random (`make families`, minutes)."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from helpers.families import EVERY, WHOLE, tiny
from helpers.naive_scores import QUESTIONS, farthest, naive_logprobs
from helpers.streams import prepare, train

from unlearnbench.data.sources import sandbox_folder
from unlearnbench.errors import UsageError
from unlearnbench.models.loading import load_tokenizer, skeleton
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.scoring.choice.packing import packs
from unlearnbench_methods.grad_diff import GradDiff
from unlearnbench_methods.rmu import RMU

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
CLOSE = 5e-5  # nats
HEAD = """# Families of models

A family is the `model_type` in a model's `config.json`. Each of these was tried as a tiny random model of four blocks;
`make families` tries them again and writes this page. A family that is not here is checked when it is used: a model that cannot
be packed is scored the plain way, and one whose predictions depend on later tokens is refused.

- **scored**: `packed`, texts share a row, and their common beginning is computed once; or `plain`, padded, one row each. Either
  way every log-probability equals that of one forward for each option, within 5e-5 nats.
- **all weights**: [grad-diff](methods/grad-diff.md) trains every weight; the result, stored and put into a fresh model, scores
  the same.
- **LoRA**: the same with `adapter=lora`. Exceptions are refused beforehand: peft leaves Mamba's layers alone, and takes the
  projections of some families for those of their experts.
- **blocks**: [rmu](methods/rmu.md) trains two blocks and steers the second, in a model loaded up to there as in the whole one.
  `default` are its own matrices; `named` needs `parameters` of yours, since the MLPs are called otherwise or hold all experts
  in one tensor.

A dash is a refusal: one sentence, before anything is computed. Of multimodal families only the text part is scored and
trained, without pictures.

"""


def page() -> str:
    """The page as the code has it now."""
    lines = ["| family | scored | all weights | LoRA | blocks |", "|---|---|---|---|---|"]
    for family in EVERY:
        cells = tried(family)
        title = f"`{family}`" + (" (multimodal)" if family in WHOLE else "")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


def tried(family: str) -> tuple[str, str, str, str]:
    """What one family does: the cells of its row."""
    tokenizer = load_tokenizer(sandbox_folder() / "model")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny(family).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        try:
            skeleton(folder)
        except UsageError:
            return ("-", "-", "-", "-")
        model = LoadedModel(name, "float32", torch.device("cpu")).model
        require(farthest(model, tokenizer, QUESTIONS) < CLOSE, f"{family} is scored wrongly")
        scored = "packed" if packs(model, longest=40) else "plain"
        whole = attempt(folder, lambda model: GradDiff(model, lr=1e-3), whole=True)
        lora = attempt(folder, lambda model: GradDiff(model, lr=1e-2, adapter="lora", rank=2), whole=True)
        blocks = attempt(folder, rmu) and "default"
        blocks = blocks or (attempt(folder, lambda model: rmu(model, parameters="weight$")) and "named")
        return (scored, whole or "-", lora or "-", blocks or "-")


def rmu(model: Any, **options: Any) -> RMU:
    return RMU(model, layer=2, layers=[1, 2], coefficient=5.0, alpha=1.0, lr=1e-2, **options)


def attempt(folder: Path, build: Callable[[Any], Any], *, whole: bool = False) -> str:
    """`yes` where a method trains and what it leaves can be stored; nothing where it is refused beforehand.

    Args:
        folder: of the model.
        build: makes the method.
        whole: the method needs the whole model: else it is trained in a part of it, too, and must leave the same.
    """
    try:
        build(skeleton(folder))
    except UsageError:
        return ""
    deltas = [trained(folder, build, in_memory) for in_memory in ((True,) if whole else (True, False))]
    same = all(deltas[0].keys() == other.keys() for other in deltas) and all(
        torch.equal(tensor, other[name]) for other in deltas for name, tensor in deltas[0].items()
    )
    require(same, f"a part of {folder} trains otherwise than the whole")
    return "yes"


def trained(folder: Path, build: Callable[[Any], Any], in_memory: bool) -> dict[str, torch.Tensor]:
    """The delta of two updates, which must score in a fresh model as it does where it was trained."""
    tokenizer = load_tokenizer(folder)
    loaded = LoadedModel(str(folder), "float32", torch.device("cpu"))
    if in_memory:
        assert loaded.model is not None
    method = loaded.build(build)
    torch.manual_seed(0)
    train(prepare(method, tokenizer), 2)
    method.finish()
    delta = {name: tensor.clone() for name, tensor in loaded.delta().items()}
    require(bool(delta) and all(bool(tensor.isfinite().all()) for tensor in delta.values()), "nothing was trained")
    require(loaded.complete(delta) == [], "something else changed")
    require(farthest(loaded.model, tokenizer, QUESTIONS) < CLOSE, "the trained model is scored wrongly")
    fresh = LoadedModel(str(folder), "float32", torch.device("cpu"))
    fresh.apply(delta)
    for question in QUESTIONS:
        own, other = (naive_logprobs(one.model, tokenizer, question) for one in (loaded, fresh))
        require(max(abs(a - b) for a, b in zip(own, other, strict=True)) < CLOSE, "the stored weights score otherwise")
    return delta


def require(right: bool, said: str) -> None:
    if not right:
        raise AssertionError(said)


def families_of(text: str) -> list[str]:
    """The families that a page names."""
    return [line.split("`")[1] for line in text.splitlines() if line.startswith("| `") and line.count("|") == 6]


def main() -> int:
    """Write the page."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
