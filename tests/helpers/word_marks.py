"""A tokenizer of Llama 2's kind, small: what differs from byte-level ones is how words begin."""

from __future__ import annotations


def sentencepiece_tokenizer():
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    sentences = ["The following are multiple choice questions (with answers) about biology.", "Question: which carrier has"]
    sentences += [f"Answer: {letter}" for letter in "ABCD"] * 50 + ["moth heron vole eel gnat moss number indeed long"] * 20
    core.train_from_iterator(sentences, trainers.BpeTrainer(vocab_size=600, special_tokens=special, show_progress=False))
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **names)
