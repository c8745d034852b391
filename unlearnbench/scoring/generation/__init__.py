"""Answers that a model writes: chat templates, batched decoding, dialogues."""
