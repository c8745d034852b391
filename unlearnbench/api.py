"""Everything a plugin author imports. Names are resolved on first use, so that scoring never imports Lightning."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearnbench.batches import Example, Schedule, Stream, UnlearnBatch, collate, stack
    from unlearnbench.benchmark import Benchmark, MultipleChoiceBenchmark, Subject, Workload, first_of_each_part, in_half
    from unlearnbench.choice import score_questions
    from unlearnbench.errors import UsageError, unknown_name
    from unlearnbench.files import content_hash
    from unlearnbench.forward import (
        SplitForward,
        activations_at,
        copy_of,
        decoder_blocks,
        select_all,
        select_parameters,
        split_forward,
        split_slice,
        swapped,
        train_only,
        train_slice,
    )
    from unlearnbench.generate import Request, generate
    from unlearnbench.heads import LossOf, final_hidden, head_logits, over_positions
    from unlearnbench.hookspecs import hookimpl
    from unlearnbench.method import MethodContext, UnlearningMethod
    from unlearnbench.models import padding_id
    from unlearnbench.optimizers import AdamW
    from unlearnbench.prompts import LETTERS, cloze_prompt, few_shot, header, letter_prompt
    from unlearnbench.questions import read_choices
    from unlearnbench.records import CellResult, Half, ItemResult, Job, Metric, Question
    from unlearnbench.reference import ReferenceOutputs
    from unlearnbench.sources import Table, list_configs, parse_source, read_table
    from unlearnbench.spaces import Choice, Linear, Log, ShareOf
    from unlearnbench.specs import BenchmarkSpec, MethodSpec, Training
    from unlearnbench.tensors import (
        IGNORE,
        distillation,
        kl_divergence,
        mean_square,
        next_tokens,
        token_entropy,
        token_kl,
        token_nll,
    )

_HOME = {
    "batches": ("Example", "Schedule", "Stream", "UnlearnBatch", "collate", "stack"),
    "benchmark": ("Benchmark", "MultipleChoiceBenchmark", "Subject", "Workload", "first_of_each_part", "in_half"),
    "choice": ("score_questions",),
    "errors": ("UsageError", "unknown_name"),
    "forward": (
        "SplitForward",
        "activations_at",
        "copy_of",
        "decoder_blocks",
        "select_all",
        "select_parameters",
        "split_forward",
        "split_slice",
        "swapped",
        "train_only",
        "train_slice",
    ),
    "files": ("content_hash",),
    "generate": ("Request", "generate"),
    "heads": ("LossOf", "final_hidden", "head_logits", "over_positions"),
    "hookspecs": ("hookimpl",),
    "method": ("MethodContext", "UnlearningMethod"),
    "models": ("padding_id",),
    "optimizers": ("AdamW",),
    "prompts": ("LETTERS", "cloze_prompt", "few_shot", "header", "letter_prompt"),
    "questions": ("read_choices",),
    "records": ("CellResult", "Half", "ItemResult", "Job", "Metric", "Question"),
    "reference": ("ReferenceOutputs",),
    "sources": ("Table", "list_configs", "parse_source", "read_table"),
    "spaces": ("Choice", "Linear", "Log", "ShareOf"),
    "specs": ("BenchmarkSpec", "MethodSpec", "Training"),
    "tensors": (
        "IGNORE",
        "distillation",
        "kl_divergence",
        "mean_square",
        "next_tokens",
        "token_entropy",
        "token_kl",
        "token_nll",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "IGNORE",
    "LETTERS",
    "AdamW",
    "Benchmark",
    "BenchmarkSpec",
    "CellResult",
    "Choice",
    "Example",
    "Half",
    "ItemResult",
    "Job",
    "Linear",
    "Log",
    "LossOf",
    "MethodContext",
    "MethodSpec",
    "Metric",
    "MultipleChoiceBenchmark",
    "Question",
    "ReferenceOutputs",
    "Request",
    "Schedule",
    "ShareOf",
    "SplitForward",
    "Stream",
    "Subject",
    "Table",
    "Training",
    "UnlearnBatch",
    "UnlearningMethod",
    "UsageError",
    "Workload",
    "activations_at",
    "cloze_prompt",
    "collate",
    "content_hash",
    "copy_of",
    "decoder_blocks",
    "distillation",
    "few_shot",
    "final_hidden",
    "first_of_each_part",
    "generate",
    "head_logits",
    "header",
    "hookimpl",
    "in_half",
    "kl_divergence",
    "letter_prompt",
    "list_configs",
    "mean_square",
    "next_tokens",
    "over_positions",
    "padding_id",
    "parse_source",
    "read_choices",
    "read_table",
    "score_questions",
    "select_all",
    "select_parameters",
    "split_forward",
    "split_slice",
    "stack",
    "swapped",
    "token_entropy",
    "token_kl",
    "token_nll",
    "train_only",
    "train_slice",
    "unknown_name",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"unlearnbench.api has no '{name}'")
    return getattr(importlib.import_module(f"unlearnbench.{_MODULE_OF[name]}"), name)
