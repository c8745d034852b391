"""Tokenizers as people save them after a fine-tuning."""

from __future__ import annotations

import copy


def ending(tokenizer, *, begin: bool = False):
    """A copy that puts its end token behind every text and, if asked, its begin token in front."""
    from tokenizers.processors import TemplateProcessing

    changed = copy.deepcopy(tokenizer)
    first, last = changed.bos_token, changed.eos_token
    single = f"{first} $A {last}" if begin else f"$A {last}"
    names = [(first, changed.bos_token_id), (last, changed.eos_token_id)]
    changed.backend_tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=names)
    return changed
