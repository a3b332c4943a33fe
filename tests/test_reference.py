import ast
import sys

import nbformat
import pytest

from symlib.records import ROOT

sys.path.insert(0, str(ROOT / "book"))
import reference


@pytest.fixture(scope="module")
def library():
    return reference.Library(ROOT / "symlib")


def test_every_module_stands_in_a_room(library):
    assert {reference.room_of(module) for module in library.trees} == reference.ROOMS.keys()
    with pytest.raises(ValueError, match="'nowhere' to ROOMS"):
        reference.room_of("symlib.nowhere.module")


def test_entries_are_the_public_functions_and_classes(library):
    found = library.entries("symlib.bayes.calibration")
    assert found == [f"symlib.bayes.calibration.{n}" for n in ("Reliability", "reliability", "negative_log_likelihood")]


def test_uses_follow_names_and_dots(library):
    tree = ast.parse("from symlib import claims\nfrom symlib.seeds import seed as s\nclaims.load(), s(1)")
    assert library.used(tree, reference.imported(tree)) == {"symlib.claims.load", "symlib.seeds.seed"}


def test_tables_of_functions_and_modules_that_are_handed_on_are_used(library):
    tree = ast.parse("from symlib.population import INITIALISERS\nINITIALISERS.items()")
    assert library.used(tree, reference.imported(tree)) == {"symlib.population.INITIALISERS"}
    tree = ast.parse("from symlib import checkpoints, seeds\nrun([checkpoints]), seeds.seed")
    found = library.used(tree, reference.imported(tree))
    assert found == {"symlib.checkpoints.write", "symlib.checkpoints.read", "symlib.seeds.seed"}


def test_comments_behind_fields_stand_in_the_entry():
    text = "class Fit:\n    rest: Tensor  # |x - y|, shape (m,)\n    n: int = 0\n    @property\n    def size(self): ..."
    shown = reference.entry("symlib.a.Fit", ast.parse(text).body[0], text.splitlines(), ["page"])
    assert ":param rest: \\|x - y\\|, shape (m,)\n" in shown and ":param n:" not in shown
    assert ".. autoproperty:: symlib.a.Fit.size\n" in shown and "Used on: :doc:`/notebooks/page`\n" in shown


def test_functions_lead_to_the_pages_that_reach_them_soonest(library):
    found = library.nearest({"one": {"symlib.studies.bayesian.run"}, "two": {"symlib.bayes.evidence.divergence"}})
    assert found["symlib.bayes.evidence.divergence"] == ["two"]
    assert found["symlib.studies.bayesian.measure"] == ["one"]


def test_notebooks_end_with_the_functions_they_use(tmp_path):
    (tmp_path / "notebooks").mkdir()
    code = nbformat.v4.new_code_cell("from symlib.seeds import seed\nseed(0)")
    nbformat.write(nbformat.v4.new_notebook(cells=[code]), tmp_path / "notebooks" / "page.ipynb")
    reference.add_to(tmp_path, ROOT / "symlib")
    last = nbformat.read(tmp_path / "notebooks" / "page.ipynb", 4).cells[-1].source
    assert last == "**Functions used here**: {py:obj}`seeds.seed <symlib.seeds.seed>`"
    page = (tmp_path / "reference" / "populations.rst").read_text()
    assert ".. autofunction:: symlib.seeds.seed\n\n   Used on: :doc:`/notebooks/page`" in page
    assert len(list((tmp_path / "reference").glob("*.rst"))) == len(reference.ROOMS)
