"""Run one notebook with papermill into `runs/`: `python notebooks/run.py NOTEBOOK PROFILE [-p name value ...]`.

Values are read as JSON where they are JSON (numbers, lists, true) and as text otherwise. With a value of its own a
run is no longer that profile, so it calls itself "custom".
"""

import json
import sys
from difflib import get_close_matches
from pathlib import Path

import papermill
import yaml
from papermill.exceptions import PapermillExecutionError

from symlib.records import key

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
GIVEN = ("profile", "out")  # a run with values of its own is no profile, and its folder is named after them


def profile_parameters(notebook: str, profile: str) -> dict:
    """Return what a profile sets; quick is the notebook's own defaults.

    Raises:
        ValueError: If the notebook has no such profile.
    """
    files = {file.stem: file for file in (NOTEBOOKS / "profiles" / notebook).glob("*.yaml")}
    if profile == "quick":
        return {}
    if profile not in files:
        raise ValueError(f"unknown profile {profile!r} of {notebook}: expected {', '.join(['quick', *sorted(files)])}")
    return yaml.safe_load(files[profile].read_text())


def own_parameters(notebook: str, arguments: list[str]) -> dict:
    """Read `-p name value` triples and compare the names with the notebook's parameters.

    Raises:
        ValueError: If the arguments are anything else or a name is unknown.
    """
    triples = [arguments[i : i + 3] for i in range(0, len(arguments), 3)]
    if any(len(t) != 3 or t[0] != "-p" for t in triples):
        raise ValueError(f"expected -p name value, got {' '.join(arguments)}")
    own = {name: _value(text) for _, name, text in triples}
    # Papermill itself only warns about names it does not know.
    known = [name for name in papermill.inspect_notebook(NOTEBOOKS / f"{notebook}.ipynb") if name not in GIVEN]
    for name in own.keys() - set(known):
        near = "".join(f", did you mean {n!r}?" for n in get_close_matches(name, known, n=1))
        raise ValueError(f"{notebook} has no parameter {name!r} that can be set{near}")
    return own


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def main(arguments: list[str]) -> str | None:
    """Run and return an error message, or None if all went well."""
    if len(arguments) < 2:
        return __doc__
    notebook, profile, *rest = arguments
    source = NOTEBOOKS / f"{notebook}.ipynb"
    if not source.exists():
        known = sorted(p.stem for p in NOTEBOOKS.glob("*.ipynb"))
        return f"unknown notebook {notebook!r}: expected one of {', '.join(known)}"
    try:
        parameters, own = profile_parameters(notebook, profile), own_parameters(notebook, rest)
    except ValueError as error:
        return str(error)
    # A run with values of its own gets a folder of its own, so that records of different runs cannot meet.
    name = f"{notebook}-" + (f"custom-{key(parameters | own)[:8]}" if own else profile)
    target = Path("runs") / name
    (ROOT / target).mkdir(parents=True, exist_ok=True)
    if papermill.inspect_notebook(source):
        parameters |= ({"profile": "custom"} if own else {}) | {"out": str(ROOT / target)} | own
    try:
        papermill.execute_notebook(
            source,
            ROOT / target / f"{name}.ipynb",
            parameters,
            kernel_name="python3",
            cwd=ROOT,
            log_output=True,
            progress_bar=False,
        )
    except PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}"
    print(f"Figures and tables, for any program that opens notebooks: {ROOT / target / name}.ipynb")
    if (table := ROOT / target / "record" / "table.csv").exists():
        print(f"Numbers: {table}")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
