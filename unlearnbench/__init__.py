"""Compare unlearning methods for language models fairly. Authors of plugins import `unlearnbench.api`."""

__version__ = "0.1.0"
