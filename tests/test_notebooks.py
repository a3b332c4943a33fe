import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


def cells(notebook):
    return [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in notebook.cells]


def defaults(name):
    """Return the parameters cell of a notebook as a dictionary."""
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", 4)
    found = {}
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            exec(cell.source, found)
    return {k: v for k, v in found.items() if k != "__builtins__"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_and_its_text_twin_hold_the_same_cells(path):
    assert cells(nbformat.read(path, 4)) == cells(jupytext.read(path.with_suffix(".py")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_outputs_are_those_of_one_whole_run(path):
    notebook = nbformat.read(path, 4)
    counts = [c.execution_count for c in notebook.cells if c.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(o.output_type == "error" for c in notebook.cells for o in c.get("outputs", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_figure_has_a_caption_and_words_for_those_who_do_not_see_it(path):
    for cell in nbformat.read(path, 4).cells:
        if any("image/png" in o.get("data", {}) for o in cell.get("outputs", [])):
            about = cell.metadata["mystnb"]
            assert len(about["figure"]["caption"]) > 20 and len(about["image"]["alt"]) > 20


def config_of(name):
    """Return the class that a notebook checks its parameters with."""
    source = (ROOT / f"notebooks/{name}.py").read_text()
    class_name = re.search(r"config = (\w+)\.from_cell", source)[1]
    return getattr(import_module(re.search(rf"from (symlib\.\S+) import {class_name}$", source, re.M)[1]), class_name)


PROFILES = sorted(ROOT.glob("notebooks/profiles/*/*.yaml"))


@pytest.mark.parametrize("file", PROFILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_profile_is_a_valid_configuration(file):
    parameters = defaults(file.parent.name) | yaml.safe_load(file.read_text())
    if "device" in parameters:
        parameters["device"] = "cpu"
    config = config_of(file.parent.name).checked(parameters)
    assert config.profile == ("paper" if "paper" in file.stem else "cpu")


@pytest.mark.parametrize("name", sorted({p.parent.name for p in PROFILES}))
def test_defaults_are_the_quick_profile(name):
    assert config_of(name).checked(defaults(name)).profile == "quick"


def launch(*arguments):
    command = [sys.executable, "notebooks/run.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mode_connectivity_mpl", "quick"), "unknown notebook 'mode_connectivity_mpl': expected one of"),
        (("mode_connectivity_mlp", "huge"), "unknown profile 'huge' .*: expected quick, cpu, paper"),
        (("mode_connectivity_mlp", "cpu", "-p", "epochs"), "expected -p name value, got -p epochs"),
        (
            ("mode_connectivity_mlp", "quick", "-p", "epohcs", "3"),
            "no parameter 'epohcs' .* did you mean 'epochs'",
        ),
        (("mode_connectivity_mlp", "quick", "-p", "profile", "paper"), "no parameter 'profile' that can be set"),
        (("mode_connectivity_mlp", "quick", "-p", "out", "there"), "no parameter 'out' that can be set"),
        (("asymmetric_networks", "quick", "-p", "epochs", "3"), "asymmetric_networks has no parameter 'epochs'"),
        (("mode_connectivity_mlp", "quick", "-p", "epochs", "five"), "epochs: .* valid integer, got 'five'"),
    ],
)
def test_wrong_command_ends_in_one_line_that_says_why(arguments, message, tmp_path):
    ended = launch(*arguments)
    assert ended.returncode != 0
    last = ended.stderr.strip().splitlines()[-1]
    assert re.search(message, last), ended.stderr
