"""What the outputs of a notebook depend on: its cells, the modules it reaches, its records, and exact versions.

A key over all of it is stored with the outputs; where it differs from that of the files at hand, the page is stale.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from symlib.records import RESULTS, ROOT

PACKAGE = ROOT / "symlib"
NOTEBOOKS = ROOT / "notebooks"
# Verdicts are shown by pages that import the study themselves, so that its dynamic import adds nothing.
NOT_FOLLOWED = {PACKAGE / "claims.py"}


def key(notebook: str) -> str:
    """Return a hash of everything that a notebook's outputs depend on.

    Those are its code, the modules of this package that it imports, directly or not, kept records of the studies among
    them, the claims, and the exact versions of libraries, which stand for the embedded data too.

    Args:
        notebook: Its name, without folder and ending.
    """
    code = NOTEBOOKS / f"{notebook}.py"
    modules = reached(code)
    studies = {path.stem for path in modules if path.parent.name == "studies"}
    tables = [file for study in studies for file in (RESULTS / study).glob("[!.]*/record.json")]
    total = hashlib.sha256()
    for path in sorted({code, *modules, *tables, ROOT / "claims.toml", ROOT / "constraints.txt"}):
        total.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def reached(code: Path) -> set[Path]:
    """Return the modules of this package that a file imports, directly or through others."""
    found: set[Path] = set()
    waiting = [code]
    while waiting:
        new = _imported(waiting.pop()) - found
        found |= new
        waiting += new
    return found


@cache
def _imported(path: Path) -> set[Path]:
    text = path.read_text()
    if path.suffix == ".py" and path.parent == NOTEBOOKS:
        text = re.sub(r"^[%!].*$", "", text, flags=re.MULTILINE)  # commands of the notebook, no Python
    found = {module for name in _names(ast.parse(text)) if (module := _module(name))}
    if 'import_module(f"symlib.studies' in text and path not in NOT_FOLLOWED:
        found |= set((PACKAGE / "studies").glob("*.py"))
    return found


def _names(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that code imports; of `from a import b` both a and a.b, which may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(name: str) -> Path | None:
    place = ROOT.joinpath(*name.split("."))
    if name.split(".")[0] != PACKAGE.name:
        return None
    return next((p for p in (place.with_suffix(".py"), place / "__init__.py") if p.exists()), None)
