import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import nbformat
import pandas as pd
import pytest

from symlib import claims, records, sources

sys.path.insert(0, str(records.ROOT / "book"))
import commands
import gallery
import provenance
import scoreboard
import status


@pytest.fixture(scope="module")
def verdicts():
    return claims.scoreboard()


def test_scoreboard_has_a_row_for_every_claim_with_its_page_and_evidence(verdicts):
    page = scoreboard.page(verdicts)
    rows = re.findall(r'<tr role="row".*?</tr>', page)
    assert len(rows) == len(verdicts)
    for row, verdict in zip(rows, verdicts, strict=True):
        assert verdict.claim.id in row and f'data-verdict="{verdict.word}"' in row
        assert (records.ROOT / verdict.claim.page).exists()
        page_link = "../" + verdict.claim.page.removesuffix(".ipynb").removesuffix(".md") + ".html"
        assert f'href="{page_link}"' in row
        assert ("table.csv" in row and "make run" in row) == (verdict.word != "not run")


def test_counts_add_up(verdicts):
    cells = re.findall(r"<td>(\d+)</td></tr>", scoreboard.counts(verdicts))
    assert sum(map(int, cells)) == len(verdicts)
    words = re.findall(r'class="verdict [\w-]+">(\d+)<', scoreboard.counts(verdicts))
    assert sum(map(int, words)) == len(verdicts)


def test_statements_of_the_companion_are_not_counted_as_a_papers(verdicts):
    own = [v for v in verdicts if v.claim.own]
    assert own and len(own) == scoreboard.page(verdicts).count('data-source="own"')
    assert scoreboard.page(own).count(scoreboard.OWN) == len(own)
    paper_b = scoreboard.counts(own).split("</tr>")[2]
    assert "paper B" in paper_b and paper_b.endswith("<td>0</td>")


@pytest.mark.parametrize(
    ("id", "section"),
    [
        ("B:table1:x", "B Table 1"),
        ("B:appendixA:x", "B Appendix A"),
        ("B:sec5.1:x", "B Section 5.1"),
        ("A:lmc:x", "A Connectivity"),
    ],
)
def test_sections_read_as_in_the_papers(verdicts, id, section):
    claim = verdicts[0].claim.model_copy(update={"id": id})
    assert scoreboard._section(claims.Verdict(claim, "not run", "-", 0, "-", None)) == section


def kept():
    return [r for folder in records.RESULTS.iterdir() for r in records.find(folder.name)]


@pytest.mark.parametrize("record", kept(), ids=lambda r: r.folder.name)
def test_commands_ask_for_the_parameters_of_the_record(record):
    """Read the command back: profile and own values have to be what the record says."""
    words = shlex.split(commands.command(record))
    given = dict(word.split("=", 1) for word in words[2:])
    notebook, profile = given["NB"], given.get("PROFILE", "quick")
    own = shlex.split(given.get("P", ""))
    values = commands.defaults(notebook)
    if profile != "quick":
        values |= commands.yaml.safe_load((commands.NOTEBOOKS / "profiles" / notebook / f"{profile}.yaml").read_text())
    values |= {own[i + 1]: json.loads(own[i + 2]) for i in range(0, len(own), 3)}
    science = {key: value for key, value in values.items() if key not in commands.PRACTICAL and key in record.config}
    assert science == {key: record.config[key] for key in science}


def test_commands_with_lists_of_text_reach_the_program_whole(monkeypatch):
    record = next(r for r in kept() if r.about["study"] == "graph_connectivity")
    own = {"variants": ["standard", "w-asym 0"], "epochs": 3}
    words = shlex.split(commands.command(replace(record, about=record.about | {"config": record.config | own})))
    given = dict(word.split("=", 1) for word in words[2:])["P"]
    shell = subprocess.run(["sh", "-c", f"printf '%s\\n' {given}"], capture_output=True, text=True, check=True)
    arguments = shell.stdout.splitlines()
    assert json.loads(arguments[arguments.index("variants") + 1]) == own["variants"]


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def code(source, *outputs, tags=()):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


FIGURE = nbformat.v4.new_output("display_data", {"image/png": ""})


def printed(text):
    return nbformat.v4.new_output("stream", text=text)


def test_lines_below_figures_name_the_record_that_was_drawn():
    record = kept()[0]
    table = record.about["table_sha256"][:16]
    about = "{}: commit a, 2026-01-01\n  CPU, 1 s\n  table {}\n".format
    told = about("shown", table) + about("live", "0" * 16)
    made = notebook(
        code("n_pairs = 2", tags=["parameters"]),
        code("live = run(config)", FIGURE, tags=["remove-output"]),
        code("%matplotlib inline\nkept = largest(live)\nrows = pairs(kept)"),
        code("plot(rows)", FIGURE),
        code("plot(live)", FIGURE),
        code("print(rows)", printed("text")),
        code("plot(nothing)", FIGURE),
        code('print(records.origin({"shown": kept, "live": live}))', printed(told)),
    )
    found = provenance.annotated(made, "a_page", {table: record}).cells
    assert found == provenance.annotated(made, "a_page", {table: record}).cells
    lines = {i: cell.source for i, cell in enumerate(found) if cell.cell_type == "markdown"}
    assert list(lines) == [1, 5, 7]
    assert 'make run NB=a_page P="-p NAME VALUE"' in lines[1]
    assert record.folder.name in lines[5] and record.about["commit"] in lines[5]
    assert "The small run of this page" in lines[7] and "make run NB=a_page" in lines[7]


PAGES = (
    "resnet_connectivity",
    "swap_costs",
    "matching_objective",
    "training_speed",
    "mode_connectivity_mlp",
    "connectivity_overview",
)


@pytest.mark.parametrize("name", PAGES)
def test_pages_have_lines_that_lead_to_their_records(name):
    made = nbformat.read(records.ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    cells = provenance.annotated(made, name, provenance.by_table()).cells
    lines = [c.source for c in cells if "provenance" in c.source and "NAME VALUE" not in c.source]
    assert lines and all("make run NB=" in line and f"notebooks/{name}.ipynb" in line for line in lines)


def test_an_edited_function_marks_the_pages_that_use_it_and_no_other(tmp_path, monkeypatch):
    before = {name: sources.key(name) for name in ("bayesian", "swap_costs")}
    module = records.ROOT / "symlib" / "bayes" / "evidence.py"
    read = type(module).read_bytes
    monkeypatch.setattr(type(module), "read_bytes", lambda path: read(path) + b"#" * (path == module))
    assert sources.key("bayesian") != before["bayesian"]
    assert sources.key("swap_costs") == before["swap_costs"]


def test_status_tells_fresh_from_stale_and_run():
    made = nbformat.read(records.ROOT / "notebooks" / "swap_costs.ipynb", as_version=4)
    made.metadata["sources"] = sources.key("swap_costs")
    assert status.state("swap_costs", made) == "as committed"
    made.metadata["sources"] = "0" * 64
    assert status.state("swap_costs", made) == "**stale**"
    assert "1 of them stale" in status.page({"swap_costs": made})
    made.metadata["papermill"] = {"start_time": "2026-01-02T03:04:05", "duration": 12.3}
    assert status.state("swap_costs", made) == "run for this book"
    assert "| 2026-01-02 | 12 |" in status.page({"swap_costs": made})


def test_reached_modules_follow_imports():
    found = {path.stem for path in sources.reached(sources.NOTEBOOKS / "bayesian.py")}
    assert {"bayesian", "evidence", "layers", "training", "masks"} <= found
    assert "swap_costs" not in found


def test_pages_get_the_figures_and_verdicts_that_they_ask_for(verdicts):
    cell = code("plot()", nbformat.v4.new_output("display_data", {"image/png": "aGVsbG8="}))
    cell.metadata["mystnb"] = {"figure": {"name": "fig-one"}}
    page = "![one](_generated/fig-one.png)"
    assert gallery.pictures([page, "no figure"], [notebook(cell)]) == {"fig-one.png": b"hello"}
    with pytest.raises(ValueError, match="no notebook has a figure named fig-two"):
        gallery.pictures(["![two](_generated/fig-two.png)"], [notebook(cell)])
    first = verdicts[0]
    readings = pd.DataFrame({"architecture": ["MLP"], "variant": ["anchor"], "verdict": ["undecided"]})
    known = gallery.said(verdicts, readings)
    asked = f"It is {{verdict}}`{first.claim.id}`, {{ours}}`{first.claim.id}` nats, {{reading}}`MLP: anchor`."
    text = gallery.filled(asked, known)
    assert first.word in text and first.ours.split()[0] in text and "*undecided*." in text and "{" not in text
    with pytest.raises(ValueError, match="asks for {verdict}`B:none`"):
        gallery.filled("{verdict}`B:none`", known)


def test_pages_with_claims_count_them_below_their_title(verdicts):
    page = notebook(nbformat.v4.new_markdown_cell("# Title\n\nWords."), code("1"))
    first = scoreboard.headed(page, "resnet_connectivity", verdicts).cells[0].source
    assert first.startswith("# Title\n\n<p") and first.endswith("</p>\n\nWords.")
    mine = [v for v in verdicts if v.claim.page == "notebooks/resnet_connectivity.ipynb"]
    assert sum(map(int, re.findall(r"[✓◐✗–] (\d+) ", first))) == len(mine) > 0
    assert scoreboard.headed(page, "explainers", verdicts) == page
