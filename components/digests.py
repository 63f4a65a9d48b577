"""Digests that make TFX's cache trustworthy: of files and of the code that a stage runs.

TFX's cache key sees an import path as a string, so an edited function behind it would be a stale
hit; every stage therefore carries `code_digest` of its entry module among its parameters.
"""

import ast
import hashlib
from collections.abc import Collection, Iterable, Iterator
from importlib import metadata
from pathlib import Path

from components.places import Place, files_below, open_place, to_place

PACKAGE = "components"
ROOT = Path(__file__).resolve().parent.parent
VERSIONED = ("tfx", "tensorflow", "keras")
BLOCK = 1 << 20
FINGERPRINT = "fingerprint"  # property of the examples: digest of all that ingestion saw


def file_digest(path: str | Place) -> str:
    """Returns the SHA-256 of a file's content as 64 hexadecimal digits, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open_place(to_place(path)) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def parts_digest(parts: Iterable[str | bytes]) -> str:
    """Returns the SHA-256 of several parts as 64 hexadecimal digits; their borders count."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(content)}\0".encode() + content)
    return digest.hexdigest()


def folder_digest(folder: str | Place, leaving_out: Collection[str] = ()) -> str:
    """Returns a digest of all files below a folder: their relative paths and their contents.

    Args:
        folder: the folder.
        leaving_out: names of files that do not count. Default: all count.
    """
    digest = hashlib.sha256()
    for name, path in files_below(to_place(folder)).items():
        if path.name not in leaving_out:
            digest.update(f"{name}\0{file_digest(path)}\0".encode())
    return digest.hexdigest()


def code_digest(module: str, root: Path = ROOT) -> str:
    """Returns a digest of a stage's code: a module, all of ours that it imports, and TFX's version.

    Imports are followed through the syntax tree, those inside functions included, so that editing
    any module that the stage can reach changes the digest and editing another one does not.

    Args:
        module: dotted name in `components`, e.g. `"components.transform.preprocessing"`.
        root: the folder in which `components` lies. Default: this installation's.

    Returns:
        64 hexadecimal digits.

    Raises:
        ValueError: there is no such module.
    """
    if not _exists(module, root):
        raise ValueError(f"Expected a module of {PACKAGE}. Received: module={module}.")
    digest = hashlib.sha256()
    for name in sorted(reachable_modules(module, root)):
        digest.update(name.encode() + b"\0" + _source(name, root).read_bytes() + b"\0")
    for distribution in VERSIONED:
        digest.update(f"{distribution}=={metadata.version(distribution)}\0".encode())
    return digest.hexdigest()


def reachable_modules(module: str, root: Path = ROOT) -> set[str]:
    """Returns the names of `module` and of all of `components` that importing it runs."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or not _exists(name, root):
            continue
        seen.add(name)
        waiting.append(name.rpartition(".")[0])  # a package's __init__ runs before its modules
        waiting.extend(_imported(ast.parse(_source(name, root).read_bytes())))
    return seen


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise ValueError(
                f"Expected absolute imports, which can be followed. Received: a relative one of "
                f"{node.module or '.'}."
            )
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == PACKAGE)


def _source(name: str, root: Path) -> Path:
    path = root.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _exists(name: str, root: Path) -> bool:
    return bool(name) and _source(name, root).is_file()
