"""What the site needs beyond mkdocs.yml: pages that nobody listed, pages of the repository's root, and links out of docs/."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}  # file of the root -> page of the site
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


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie in the repository's root, where code hosts look for them."""
    for name, page in ROOT_PAGES.items():
        text = (Path(config.docs_dir).parent / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leave the words of links into the repository, and their place out; links to the root's pages lead to the site's."""
    for name, page in ROOT_PAGES.items():
        markdown = markdown.replace(f"](../{name})", f"]({page})")
    return OUTSIDE.sub(r"\1", markdown)
