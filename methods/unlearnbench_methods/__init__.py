"""The unlearning methods that come with unlearnbench; each module is a plugin like any other."""

from __future__ import annotations

from typing import Any

# what `unlearnbench check` has to know of them: options that fit a tiny model, and what is known to fail
CONFORMANCE: dict[str, dict[str, Any]] = {
    "adaptive-rmu": {
        "expected_failures": {
            "padding_does_not_count": "as in rmu, the reference counts padding; masked=true does not",
            "family[mixtral]": "as in rmu, a slice of the experts' tensor has to be named in `parameters`",
        }
    },
    "llmu": {
        "expected_failures": {
            "padding_does_not_count": "a mismatched answer is cut to the width of the batch; random_weight=0 has none"
        }
    },
    "rmu": {
        "expected_failures": {
            "padding_does_not_count": "the reference counts padding; masked=true does not",
            "family[mixtral]": "Mixtral keeps all experts in one tensor; a slice of it has to be named in `parameters`",
        }
    },
    "rr": {
        "options": {"targets": [2, 4]},
        "expected_failures": {
            "padding_does_not_count": "where the cosine is 1 its slope is 0, so that rounding points the first update"
        },
    },
    "scrub": {"options": {"forget_steps": 1}},
}
