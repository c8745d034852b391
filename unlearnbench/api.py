"""Everything a plugin author imports. Names are resolved on first use, so that scoring never imports Lightning."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearnbench.data.batches import IGNORE, Example, Schedule, Stream, UnlearnBatch, collate, prompts_of, splice, stack
    from unlearnbench.data.borders import encode_prompts, open_ended
    from unlearnbench.data.chat_template import check_chat
    from unlearnbench.data.sources import parse_source
    from unlearnbench.data.tables import Table, list_configs, read_table
    from unlearnbench.errors import UsageError, unknown_name
    from unlearnbench.models.blocks import decoder_blocks, select_all, select_parameters, split_slice, train_only, train_slice
    from unlearnbench.models.capacity import context_length
    from unlearnbench.models.forward import SplitForward, activations_at, copy_of, split_forward, swapped
    from unlearnbench.models.head import LossOf, final_hidden, head_logits, over_positions, sequence_nll
    from unlearnbench.models.loading import padding_id
    from unlearnbench.models.tensors import (
        distillation,
        kl_divergence,
        mean_over,
        mean_square,
        next_token_nll,
        next_tokens,
        token_cross_entropy,
        token_kl,
        token_nll,
        wide,
    )
    from unlearnbench.plugins.hookspecs import hookimpl
    from unlearnbench.plugins.specs import BenchmarkSpec, MethodSpec, Training
    from unlearnbench.records.base import Half
    from unlearnbench.records.cells import CellResult, Job, Metric
    from unlearnbench.records.items import ItemResult, ItemText, Question
    from unlearnbench.records.search_space import Choice, Linear, Log, ShareOf
    from unlearnbench.scoring.benchmark import Benchmark, MultipleChoiceBenchmark, Subject, Workload
    from unlearnbench.scoring.choice.log_likelihood import score_questions
    from unlearnbench.scoring.choice.prompts import LETTERS, cloze_prompt, few_shot, header, letter_prompt
    from unlearnbench.scoring.choice.rows import read_choices
    from unlearnbench.scoring.fluency import repeated_ngrams
    from unlearnbench.scoring.generation.chat import Answer, Request
    from unlearnbench.scoring.generation.dialogues import Dialogue, hold
    from unlearnbench.scoring.generation.generate import complete, generate, generation_hash
    from unlearnbench.scoring.judging.judgment import Replies, parse_rating
    from unlearnbench.scoring.judging.local import LocalJudge
    from unlearnbench.scoring.judging.panel import Exchange, Panel, Verdict, open_judge
    from unlearnbench.scoring.judging.prompts import load_prompts
    from unlearnbench.scoring.judging.remote import RemoteJudge, RequestLimits
    from unlearnbench.scoring.selection import first_of_each_part, in_half
    from unlearnbench.system.files import content_hash
    from unlearnbench.system.journal import Journal
    from unlearnbench.training.frozen_base import ReferenceNLL, ReferenceOutputs
    from unlearnbench.training.losses import log_sigmoid_loss, weighted_ascent
    from unlearnbench.training.method import MethodContext, UnlearningMethod
    from unlearnbench.training.microbatches import loss_in_pieces, pieces_of
    from unlearnbench.training.optimizers import AdamW, ReferenceAdamW
    from unlearnbench.training.representations import (
        OUTPUT_PROJECTION,
        PROJECTIONS,
        BlockOutputs,
        control_vector,
        displacement,
        drift,
        miscounted,
        of_topics,
        worst_case,
    )
    from unlearnbench.training.retain_term import RetainKind, RetainTerm
    from unlearnbench.training.saliency import SalientShare, salient_rows
    from unlearnbench.training.shared_forward import joined_hidden

_HOME = {
    "data.batches": (
        "IGNORE",
        "Example",
        "Schedule",
        "Stream",
        "UnlearnBatch",
        "collate",
        "prompts_of",
        "splice",
        "stack",
    ),
    "data.borders": (
        "encode_prompts",
        "open_ended",
    ),
    "data.chat_template": ("check_chat",),
    "data.sources": ("parse_source",),
    "data.tables": (
        "Table",
        "list_configs",
        "read_table",
    ),
    "errors": (
        "UsageError",
        "unknown_name",
    ),
    "models.blocks": (
        "decoder_blocks",
        "select_all",
        "select_parameters",
        "split_slice",
        "train_only",
        "train_slice",
    ),
    "models.forward": (
        "SplitForward",
        "activations_at",
        "copy_of",
        "split_forward",
        "swapped",
    ),
    "models.head": (
        "LossOf",
        "final_hidden",
        "head_logits",
        "over_positions",
        "sequence_nll",
    ),
    "models.capacity": ("context_length",),
    "models.loading": ("padding_id",),
    "models.tensors": (
        "distillation",
        "kl_divergence",
        "mean_over",
        "mean_square",
        "next_token_nll",
        "next_tokens",
        "token_cross_entropy",
        "token_kl",
        "token_nll",
        "wide",
    ),
    "plugins.hookspecs": ("hookimpl",),
    "plugins.specs": (
        "BenchmarkSpec",
        "MethodSpec",
        "Training",
    ),
    "records.base": ("Half",),
    "records.cells": (
        "CellResult",
        "Job",
        "Metric",
    ),
    "records.items": (
        "ItemResult",
        "ItemText",
        "Question",
    ),
    "records.search_space": (
        "Choice",
        "Linear",
        "Log",
        "ShareOf",
    ),
    "scoring.benchmark": (
        "Benchmark",
        "MultipleChoiceBenchmark",
        "Subject",
        "Workload",
    ),
    "scoring.choice.log_likelihood": ("score_questions",),
    "scoring.choice.prompts": (
        "LETTERS",
        "cloze_prompt",
        "few_shot",
        "header",
        "letter_prompt",
    ),
    "scoring.choice.rows": ("read_choices",),
    "scoring.fluency": ("repeated_ngrams",),
    "scoring.generation.chat": (
        "Answer",
        "Request",
    ),
    "scoring.generation.dialogues": (
        "Dialogue",
        "hold",
    ),
    "scoring.generation.generate": (
        "complete",
        "generate",
        "generation_hash",
    ),
    "scoring.judging.judgment": (
        "Replies",
        "parse_rating",
    ),
    "scoring.judging.local": ("LocalJudge",),
    "scoring.judging.panel": (
        "Exchange",
        "Panel",
        "Verdict",
        "open_judge",
    ),
    "scoring.judging.prompts": ("load_prompts",),
    "scoring.judging.remote": (
        "RemoteJudge",
        "RequestLimits",
    ),
    "scoring.selection": (
        "first_of_each_part",
        "in_half",
    ),
    "system.files": ("content_hash",),
    "system.journal": ("Journal",),
    "training.frozen_base": (
        "ReferenceNLL",
        "ReferenceOutputs",
    ),
    "training.losses": (
        "log_sigmoid_loss",
        "weighted_ascent",
    ),
    "training.method": (
        "MethodContext",
        "UnlearningMethod",
    ),
    "training.microbatches": (
        "loss_in_pieces",
        "pieces_of",
    ),
    "training.optimizers": (
        "AdamW",
        "ReferenceAdamW",
    ),
    "training.representations": (
        "OUTPUT_PROJECTION",
        "PROJECTIONS",
        "BlockOutputs",
        "control_vector",
        "displacement",
        "drift",
        "miscounted",
        "of_topics",
        "worst_case",
    ),
    "training.retain_term": (
        "RetainKind",
        "RetainTerm",
    ),
    "training.saliency": (
        "SalientShare",
        "salient_rows",
    ),
    "training.shared_forward": ("joined_hidden",),
}
API_VERSION = 1  # raised when a name goes or changes its signature
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "API_VERSION",
    "IGNORE",
    "LETTERS",
    "OUTPUT_PROJECTION",
    "PROJECTIONS",
    "AdamW",
    "Answer",
    "Benchmark",
    "BenchmarkSpec",
    "BlockOutputs",
    "CellResult",
    "Choice",
    "Dialogue",
    "Example",
    "Exchange",
    "Half",
    "ItemResult",
    "ItemText",
    "Job",
    "Journal",
    "Linear",
    "LocalJudge",
    "Log",
    "LossOf",
    "MethodContext",
    "MethodSpec",
    "Metric",
    "MultipleChoiceBenchmark",
    "Panel",
    "Question",
    "ReferenceAdamW",
    "ReferenceNLL",
    "ReferenceOutputs",
    "RemoteJudge",
    "Replies",
    "Request",
    "RequestLimits",
    "RetainKind",
    "RetainTerm",
    "SalientShare",
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
    "Verdict",
    "Workload",
    "activations_at",
    "check_chat",
    "cloze_prompt",
    "collate",
    "complete",
    "content_hash",
    "context_length",
    "control_vector",
    "copy_of",
    "decoder_blocks",
    "displacement",
    "distillation",
    "drift",
    "encode_prompts",
    "few_shot",
    "final_hidden",
    "first_of_each_part",
    "generate",
    "generation_hash",
    "head_logits",
    "header",
    "hold",
    "hookimpl",
    "in_half",
    "joined_hidden",
    "kl_divergence",
    "letter_prompt",
    "list_configs",
    "load_prompts",
    "log_sigmoid_loss",
    "loss_in_pieces",
    "mean_over",
    "mean_square",
    "miscounted",
    "next_token_nll",
    "next_tokens",
    "of_topics",
    "open_ended",
    "open_judge",
    "over_positions",
    "padding_id",
    "parse_rating",
    "parse_source",
    "pieces_of",
    "prompts_of",
    "read_choices",
    "read_table",
    "repeated_ngrams",
    "salient_rows",
    "score_questions",
    "select_all",
    "select_parameters",
    "sequence_nll",
    "splice",
    "split_forward",
    "split_slice",
    "stack",
    "swapped",
    "token_cross_entropy",
    "token_kl",
    "token_nll",
    "train_only",
    "train_slice",
    "unknown_name",
    "weighted_ascent",
    "wide",
    "worst_case",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"unlearnbench.api has no '{name}'")
    return getattr(importlib.import_module(f"unlearnbench.{_MODULE_OF[name]}"), name)
