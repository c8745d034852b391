"""How the plugins that come with unlearnbench are checked: options that fit a tiny model, and what is known to fail."""

from __future__ import annotations

from typing import Any

OPTIONS: dict[str, dict[str, Any]] = {
    "rr": {"targets": [2, 4]},
    "scrub": {"forget_steps": 1},
}
EXPECTED_FAILURES: dict[str, dict[str, str]] = {
    "adaptive-rmu": {
        "padding_does_not_count": "as in rmu, the reference counts padding; masked=true does not",
        "family[mixtral]": "as in rmu, a slice of the experts' tensor has to be named in `parameters`",
    },
    "llmu": {"padding_does_not_count": "a mismatched answer is cut to the width of the batch"},
    "rr": {"padding_does_not_count": "where the cosine is 1 its slope is 0, so that rounding points the first update"},
    "rmu": {
        "padding_does_not_count": "the reference counts padding; masked=true does not",
        "family[mixtral]": "Mixtral keeps all experts in one tensor; a slice of it has to be named in `parameters`",
    },
}
