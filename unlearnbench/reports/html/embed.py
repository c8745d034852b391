"""The embedding of data and scripts in a page: escaped, packed, and known to the page's policy by their hashes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any

from unlearnbench import __version__

SCRIPTS = ("base.js", "table.js", "charts.js", "explorer.js", "talks.js", "start.js")


def as_json(value: Any) -> str:
    """Return compact JSON that no HTML parser can take for markup: every `<` is escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    for letter, escape in escapes.items():
        text = text.replace(letter, escape)
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def packed(content: bytes) -> str:
    """Return bytes as a JSON string: gzip in base64; the same bytes give the same string."""
    return f'"{base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()}"'


def packed_json(value: Any) -> str:
    """Return a JSON value as `packed` does."""
    return packed(json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode())


@cache
def own_script() -> str:
    """Return the page's script."""
    folder = resources.files("unlearnbench.reports.html") / "templates"
    parts = [(folder / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return "".join(['(() => {\n"use strict";\n', *parts, "})();\n"])


@cache
def style() -> str:
    """Return the page's style sheet."""
    return (resources.files("unlearnbench.reports.html") / "templates" / "style.css").read_text(encoding="utf-8")


@cache
def plotly_script() -> str:
    """Return plotly.js as the plotly package ships it."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


@cache
def packed_plotly() -> str:
    """Return plotly.js, packed."""
    return packed(plotly_script().encode())


def policy(*scripts: str) -> str:
    """Return a Content-Security-Policy that runs these scripts and nothing else, and loads nothing.

    Styles may stand inline: plotly sets them on what it draws.
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def environment() -> Any:
    """Return a Jinja environment that escapes everything; markup and JSON are marked as such."""
    import jinja2

    loader = jinja2.PackageLoader("unlearnbench.reports.html", "templates")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def fill(template: str, *, scripts: tuple[str, ...] = (), **context: Any) -> str:
    """Fill one of the templates; `scripts` are those that the page may run beside its own script."""
    from markupsafe import Markup

    safe = {
        "style": Markup(style()),
        "script": Markup(own_script()),
        "policy": policy(own_script(), *scripts),
        "version": __version__,
    }
    return environment().get_template(template).render(**context, **safe) + "\n"
