"""How the plugins that come with unlearnbench are checked: options that fit a tiny model, and what is known to fail."""

from __future__ import annotations

from typing import Any

OPTIONS: dict[str, dict[str, Any]] = {
    "scrub": {"forget_steps": 1},
}
EXPECTED_FAILURES: dict[str, dict[str, str]] = {
    "llmu": {"padding_does_not_count": "a mismatched answer is cut to the width of the batch"},
    "rmu": {
        "padding_does_not_count": "the reference counts padding; masked=true does not",
        "family[mixtral]": "Mixtral keeps all experts in one tensor; a slice of it has to be named in `parameters`",
    },
}
