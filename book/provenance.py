"""Lines below figures and tables that say which record they show, how large it is, and how to make it again.

Below its parameters a page says how to run it with others.

Which records a cell shows follows from its code: those that its variables were computed from. A variable holds what
the notebook's last cell prints of it, hashes included, or all records of the study that it was looked up in.
"""

import ast
import re
from collections.abc import Mapping
from html import escape

import nbformat
from commands import command
from nbformat import NotebookNode

from symlib import records
from symlib.records import Record

LIVE = "live"  # stands for the table of the small run
EVERYWHERE = ""  # the variable of records that all figures of a page show
SIZES = {"n_pairs": "pairs", "n_networks": "networks"}


def annotated(notebook: NotebookNode, name: str, kept: Mapping[str, Record]) -> NotebookNode:
    """Return a notebook with a line below every cell that shows a figure or a table.

    Args:
        notebook: With outputs.
        name: Of its file, without ending.
        kept: Records by the first 16 digits of their table's hash.
    """
    origins = _looked_up(notebook, kept) | _printed(notebook)
    known: dict[str, set[str]] = {variable: {variable} for variable in origins}
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if "parameters" in cell.metadata.get("tags", []):
            cells.append(_below(cell, f'With other values: <code>make run NB={name} P="-p NAME VALUE"</code>'))
        elif cell.cell_type == "code":
            variables = _records_of(cell.source, known) or ({EVERYWHERE} & origins.keys())
            if variables and _shows(cell):
                tables = dict.fromkeys(table for variable in sorted(variables) for table in origins[variable])
                cells.append(_below(cell, "<br>".join(_line(table, name, kept) for table in tables)))
    return nbformat.from_dict(notebook | {"cells": cells})


def _below(cell: NotebookNode, text: str) -> NotebookNode:
    # An id that follows from the cell's, so that the same sources give the same page.
    return nbformat.v4.new_markdown_cell(f'<p class="provenance">{text}</p>', id=f"{cell.id}-below")


def by_table() -> dict[str, Record]:
    """Return all kept records by the first digits of their table's hash."""
    found = (record for folder in records.RESULTS.iterdir() for record in records.find(folder.name))
    return {record.about["table_sha256"][:16]: record for record in found}


def _looked_up(notebook: NotebookNode, kept: Mapping[str, Record]) -> dict[str, list[str]]:
    """Return variable -> tables of all kept records of a study that it gets from `records.find`, or of the live run."""
    found = {}
    for node in (node for cell in notebook.cells if cell.cell_type == "code" for node in _statements(cell.source)):
        if isinstance(node, ast.Assign):
            value = ast.unparse(node.value)
            studies = re.findall(r"records\.find\('(\w+)'\)", value)
            tables = [table for table, record in kept.items() if record.about["study"] in studies]
            tables += [LIVE] * value.endswith("run(config)")
            found |= {name: tables for target in node.targets for name in _names(target) if tables}
    return found


def _printed(notebook: NotebookNode) -> dict[str, list[str]]:
    """Return variable -> first digits of the hashes of its records' tables, as the last cell prints them.

    If that names them by an expression, the records are those of every figure of the page.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code" and (call := re.search(r"records\.origin\((\{.*\})\)", cell.source, re.DOTALL)):
            printed = "".join(output.get("text", "") for output in cell.outputs)
            tables = dict(re.findall(r"^(\S.*?): commit .*?table (\w{16})", printed, re.DOTALL | re.MULTILINE))
            named = ast.parse(call[1], mode="eval").body
            if not isinstance(named, ast.Dict):
                return {EVERYWHERE: list(tables.values())}
            labels = zip(map(ast.literal_eval, named.keys), named.values, strict=True)
            return {name: [tables[label]] for label, value in labels if label in tables for name in _names(value)}
    return {}


def _statements(source: str) -> list[ast.stmt]:
    return ast.parse("\n".join(line for line in source.splitlines() if not line.startswith(("%", "!")))).body


def _records_of(source: str, known: dict[str, set[str]]) -> set[str]:
    """Return the records that a cell uses, and learn which of its variables were computed from them."""
    used: set[str] = set()
    for node in _statements(source):
        mine = set().union(*(known.get(name, set()) for name in _names(node)))
        for target in getattr(node, "targets", []):
            for name in _names(target):
                if known.get(name) != {name}:  # what a record is called stays that record
                    known[name] = mine
        used |= mine
    return used


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _shows(cell: NotebookNode) -> bool:
    """Say whether a cell has a figure, or a table that is not hidden."""
    if "remove-output" in cell.metadata.get("tags", []) or "records.origin(" in cell.source:
        return False
    return any(output.output_type in ("display_data", "execute_result") for output in cell.outputs)


def _line(table: str, notebook: str, kept: Mapping[str, Record]) -> str:
    download = f'<a href="../_sources/notebooks/{notebook}.ipynb" download>notebook</a>'
    if table not in kept:
        again = f"make run NB={notebook}"
        return f"The small run of this page. <code>{again}</code>, {download}"
    record = kept[table]
    about, config = record.about, record.config
    sizes = [f"{config[key]} {word}" for key, word in SIZES.items() if key in config][:1]
    said = [f"profile {config['profile']}", *sizes, about["device"], f"commit {about['commit']}", about["date"]]
    place = f"../_static/results/{record.folder.parent.name}/{record.folder.name}"
    files = f'<a href="{place}/table.csv">table</a>, <a href="{place}/record.json">record</a>, {download}'
    return f"{escape(', '.join(said))}. <code>{escape(command(record))}</code>, {files}"
