"""What the site needs beyond mkdocs.yml: pages that nobody listed, and links that lead out of docs/."""

import re
from pathlib import Path
from typing import Any

OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./[^)]*\)")  # a file of the repository, which the site does not have


def on_config(config: Any) -> Any:
    """Add every page that the navigation does not name: a page that somebody adds is on the site."""
    docs = Path(config.docs_dir)
    sections = {title: pages for entry in config.nav if isinstance(entry, dict) for title, pages in entry.items()}
    listed = {entry for entry in config.nav if isinstance(entry, str)} | {page for pages in sections.values() for page in pages}
    for page in sorted(docs.rglob("*.md")):
        name = page.relative_to(docs).as_posix()
        if name not in listed:
            sections["Methods" if name.startswith("methods/") else "More"].append(name)
    config.nav = [entry for entry in config.nav if not (isinstance(entry, dict) and [] in entry.values())]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leave the words of links into the repository, and their place out."""
    return OUTSIDE.sub(r"\1", markdown)
