"""A plugin's source files, found and read without executing any of them, and the errors with which they do not compile."""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError)  # what the compiler raises for text that is no program


class Source(NamedTuple):
    """One module's file."""

    module: str
    file: Path
    content: bytes


def own_sources(module: str) -> Iterator[Source]:
    """Yield a module's source and those of what it imports from its own top-level package, each once.

    Args:
        module: module of an entry point, `package.module` or `package.module:attribute`.
    """
    top = module.partition(".")[0]
    waiting, seen = [module.partition(":")[0]], set[str]()
    while waiting:
        name = waiting.pop()
        file = file_of(name)
        if name in seen or file is None:
            continue
        seen.add(name)
        source = Source(name, file, file.read_bytes())
        yield source
        waiting += [imported for imported in imports(source) if imported.partition(".")[0] == top]


def broken_source(module: str) -> str | None:
    """Return why a module cannot be imported, as far as that shows without executing it: it is not there, or does not
    compile.
    """
    if _found(module.partition(":")[0]) is None:
        return f"there is no module {module.partition(':')[0]}"
    for source in own_sources(module):
        try:
            _compiled(source)
        except UNREADABLE as error:
            return described(error, module)
    return None


def _compiled(source: Source, flags: int = 0) -> Any:
    with warnings.catch_warnings():  # what Python thinks of somebody's style is said when the module is imported
        warnings.simplefilter("ignore")
        return compile(source.content, source.file, "exec", flags, dont_inherit=True)


def described(error: BaseException, module: str) -> str:
    """Return an exception in one line: its kind, its words, and its place; of a program that does not compile, the compiler's.

    Args:
        error: error caught while a module was compiled or imported.
        module: module within whose top-level package the place is searched.
    """
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({error.filename}, line {error.lineno})" if error.lineno else f" ({error.filename})"
        return f"{type(error).__name__}: {error.msg}{place}"
    top = module.partition(".")[0].partition(":")[0]
    lines = [f" ({file}, line {line})" for name, file, line in _steps(error.__traceback__) if name.partition(".")[0] == top]
    return f"{type(error).__name__}: {' '.join(str(error).split())}{lines[-1] if lines else ''}"


def _steps(traceback: TracebackType | None) -> Iterator[tuple[str, str, int]]:
    """Yield module, file and line of each step into an exception."""
    while traceback is not None:
        frame = traceback.tb_frame
        yield str(frame.f_globals.get("__name__", "")), frame.f_code.co_filename, traceback.tb_lineno
        traceback = traceback.tb_next


def file_of(module: str) -> Path | None:
    """Return a module's source file; None where there is none."""
    found = _found(module)
    return Path(found.origin) if found and found.origin and found.origin.endswith(".py") else None


def _found(module: str) -> ModuleSpec | None:
    """Find a module without executing the packages above it, unlike `importlib.util.find_spec`."""
    found: ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        if found is not None and found.submodule_search_locations is None:
            return None  # in a module that is no package there is no other
        name = f"{name}.{part}" if name else part
        folders = found.submodule_search_locations if found else None
        found = next((spec for finder in sys.meta_path if (spec := finder.find_spec(name, folders)) is not None), None)
        if found is None:
            return None
    return found


def imports(source: Source) -> Iterator[str]:
    """Yield the modules a source may import: each `import a.b`, and for `from a import b` `a` and `a.b`; none if it does not
    parse.
    """
    package = source.module if source.file.name == "__init__.py" else source.module.rpartition(".")[0]
    try:
        program = _compiled(source, ast.PyCF_ONLY_AST)
    except UNREADABLE:
        return
    for node in ast.walk(program):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
