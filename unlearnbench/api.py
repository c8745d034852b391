"""Everything a plugin author imports. Names are resolved on first use, so that scoring never imports Lightning."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unlearnbench.batches import Example, Schedule, Stream, UnlearnBatch, collate, prompts_of, splice, stack
    from unlearnbench.benchmark import Benchmark, MultipleChoiceBenchmark, Subject, Workload, first_of_each_part, in_half
    from unlearnbench.chat import Answer, Request, check_chat
    from unlearnbench.choice import score_questions
    from unlearnbench.dialogues import Dialogue, hold
    from unlearnbench.errors import UsageError, unknown_name
    from unlearnbench.files import content_hash
    from unlearnbench.fluency import repeated_ngrams
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
    from unlearnbench.generate import complete, generate, generation_hash
    from unlearnbench.heads import LossOf, final_hidden, head_logits, over_positions, sequence_nll
    from unlearnbench.hookspecs import hookimpl
    from unlearnbench.joined import joined_hidden
    from unlearnbench.journal import Journal
    from unlearnbench.judging.judgment import Replies, parse_rating
    from unlearnbench.judging.local import LocalJudge
    from unlearnbench.judging.panel import Exchange, Panel, Verdict, open_judge
    from unlearnbench.judging.prompts import load_prompts
    from unlearnbench.judging.remote import RemoteJudge, RequestLimits
    from unlearnbench.losses import log_sigmoid_loss, weighted_ascent
    from unlearnbench.method import MethodContext, UnlearningMethod
    from unlearnbench.models import padding_id
    from unlearnbench.optimizers import AdamW, ReferenceAdamW
    from unlearnbench.pieces import loss_in_pieces, pieces_of
    from unlearnbench.prompts import LETTERS, cloze_prompt, few_shot, header, letter_prompt
    from unlearnbench.questions import read_choices
    from unlearnbench.records import CellResult, Half, ItemResult, ItemText, Job, Metric, Question
    from unlearnbench.reference import ReferenceNLL, ReferenceOutputs
    from unlearnbench.representations import (
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
    from unlearnbench.retain import RetainKind, RetainTerm
    from unlearnbench.saliency import SalientShare, salient_rows
    from unlearnbench.sources import Table, list_configs, parse_source, read_table
    from unlearnbench.spaces import Choice, Linear, Log, ShareOf
    from unlearnbench.specs import BenchmarkSpec, MethodSpec, Training
    from unlearnbench.tensors import (
        IGNORE,
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

_HOME = {
    "batches": ("Example", "Schedule", "Stream", "UnlearnBatch", "collate", "prompts_of", "splice", "stack"),
    "benchmark": ("Benchmark", "MultipleChoiceBenchmark", "Subject", "Workload", "first_of_each_part", "in_half"),
    "choice": ("score_questions",),
    "dialogues": ("Dialogue", "hold"),
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
    "heads": ("LossOf", "final_hidden", "head_logits", "over_positions", "sequence_nll"),
    "hookspecs": ("hookimpl",),
    "joined": ("joined_hidden",),
    "losses": ("log_sigmoid_loss", "weighted_ascent"),
    "method": ("MethodContext", "UnlearningMethod"),
    "models": ("padding_id",),
    "optimizers": ("AdamW", "ReferenceAdamW"),
    "pieces": ("loss_in_pieces", "pieces_of"),
    "prompts": ("LETTERS", "cloze_prompt", "few_shot", "header", "letter_prompt"),
    "questions": ("read_choices",),
    "records": ("CellResult", "Half", "ItemResult", "ItemText", "Job", "Metric", "Question"),
    "reference": ("ReferenceNLL", "ReferenceOutputs"),
    "representations": (
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
    "retain": ("RetainKind", "RetainTerm"),
    "saliency": ("SalientShare", "salient_rows"),
    "sources": ("Table", "list_configs", "parse_source", "read_table"),
    "spaces": ("Choice", "Linear", "Log", "ShareOf"),
    "specs": ("BenchmarkSpec", "MethodSpec", "Training"),
    "tensors": (
        "IGNORE",
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
    "chat": (
        "Answer",
        "Request",
        "check_chat",
    ),
    "fluency": ("repeated_ngrams",),
    "journal": ("Journal",),
    "judging.judgment": ("Replies", "parse_rating"),
    "judging.local": ("LocalJudge",),
    "judging.panel": (
        "Exchange",
        "Panel",
        "Verdict",
        "open_judge",
    ),
    "judging.prompts": ("load_prompts",),
    "judging.remote": (
        "RequestLimits",
        "RemoteJudge",
    ),
    "generate": ("complete", "generate", "generation_hash"),
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
    "control_vector",
    "copy_of",
    "decoder_blocks",
    "displacement",
    "distillation",
    "drift",
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
