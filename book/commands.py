"""The command that makes a kept record again."""

import ast
import json
import shlex
from functools import cache
from pathlib import Path

import jupytext
import yaml

from symlib.records import Record

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
# What a run is told besides its science: where it works and what it calls itself.
PRACTICAL = {"profile", "workers", "scheduler", "device", "out", "networks"}


def notebook_of(record: Record) -> str:
    """Return the notebook that made a kept record, after which its folder is named."""
    names = [path.stem for path in NOTEBOOKS.glob("*.ipynb") if record.folder.name.startswith(path.stem)]
    return max(names, key=len)


def command(record: Record) -> str:
    """Return the command with the profile that is nearest to the parameters of a record, and what differs from it."""
    notebook = notebook_of(record)
    profiles = {"quick": {}}
    for file in sorted((NOTEBOOKS / "profiles" / notebook).glob("*.yaml")):
        profiles[file.stem] = yaml.safe_load(file.read_text())
    different = {name: _differences(record, defaults(notebook) | own) for name, own in profiles.items()}
    named = record.config.get("profile")
    best = min(profiles, key=lambda name: (len(different[name]), not name.startswith(str(named))))
    words = ["make", "run", f"NB={notebook}", *([f"PROFILE={best}"] if best != "quick" else [])]
    if own := different[best]:
        given = " ".join(f"-p {key} {shlex.quote(json.dumps(value))}" for key, value in own.items())
        words.append('P="' + given.replace('"', r"\"") + '"')
    return " ".join(words)


def _differences(record: Record, parameters: dict) -> dict:
    config = record.config
    return {
        key: config[key]
        for key, value in parameters.items()
        if key in config and key not in PRACTICAL and config[key] != value
    }


@cache
def defaults(notebook: str) -> dict:
    """Return the parameters of a notebook as its cell tagged so assigns them."""
    cells = jupytext.read(NOTEBOOKS / f"{notebook}.py").cells
    (source,) = (cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return {node.targets[0].id: ast.literal_eval(node.value) for node in assigned}
