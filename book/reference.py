"""The reference: a page for every room of `symlib`, and the links between its functions and the pages that use them.

Who uses what is read from the sources. The entries themselves are docstrings, which Sphinx imports while it renders.
"""

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path

import nbformat

# Room -> its title and what stands in it: folders of `symlib`, or single files.
ROOMS = {
    "networks": ("Networks and asymmetry", ("networks", "asymmetry", "masks", "figlu", "presets")),
    "populations": ("Populations and training", ("population", "training", "checkpoints", "seeds")),
    "data": ("Data", ("data",)),
    "lines": ("Interpolation and alignment", ("interpolation", "alignment", "similarity")),
    "effective": ("What neurons can express", ("effective", "feature_learning", "ntk")),
    "bayes": ("Bayesian networks", ("bayes",)),
    "metanetworks": ("Metanetworks", ("metanetworks",)),
    "theory": ("Theory", ("theory",)),
    "studies": ("Studies and records", ("config", "records", "claims", "sources", "studies")),
    "figures": ("Figures", ("plots",)),
}
DOCUMENTED = ast.FunctionDef | ast.ClassDef
DEFINING = DOCUMENTED | ast.Assign | ast.AnnAssign


def imported(tree: ast.AST) -> dict[str, str]:
    """Return local name -> full name of all that a program imports from `symlib`."""
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in statements
        if node.module.partition(".")[0] == "symlib"
        for alias in node.names
    }


def defined(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return name -> statement of all that a module defines at its top level."""
    found = {}
    for node in tree.body:
        if isinstance(node, DOCUMENTED):
            found[node.name] = node
        elif isinstance(node, DEFINING):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


class Library:
    """What the modules of `symlib` define, and who uses whom."""

    def __init__(self, package: Path) -> None:
        paths = [path for path in sorted(package.rglob("*.py")) if not path.stem.startswith("__")]
        self.texts = {dotted(path, package): path.read_text(encoding="utf-8") for path in paths}
        self.trees = {module: ast.parse(text) for module, text in self.texts.items()}
        self.objects = {f"{m}.{name}": node for m, tree in self.trees.items() for name, node in defined(tree).items()}

    def public(self, name: str) -> bool:
        """Tell whether an object has an entry in the reference."""
        return isinstance(self.objects[name], DOCUMENTED) and not name.rpartition(".")[2].startswith("_")

    def entries(self, module: str) -> list[str]:
        """Return the full names of the entries of a module, in the order of its file."""
        return [full for name in defined(self.trees[module]) if self.public(full := f"{module}.{name}")]

    def used(self, tree: ast.AST, names: Mapping[str, str]) -> set[str]:
        """Return the full names of the objects that a piece of program mentions, `names` being what it can see."""
        nodes = list(ast.walk(tree))
        plain = [node for node in nodes if isinstance(node, ast.Name) and node.id in names]
        dots = [node for node in nodes if isinstance(node, ast.Attribute) and node.value in plain]
        said = {names[node.id] for node in plain} | {f"{names[node.value.id]}.{node.attr}" for node in dots}
        # A module that is handed on, as in a list of modules, is used as a whole.
        alone = {names[node.id] for node in plain if node not in [dot.value for dot in dots]}
        handed_on = {name for module in alone & self.trees.keys() for name in self.entries(module)}
        return said & self.objects.keys() | handed_on

    @cached_property
    def uses(self) -> dict[str, set[str]]:
        """Full name of an object -> full names of those that its definition mentions."""
        found = {}
        for module, tree in self.trees.items():
            names = imported(tree) | {name: f"{module}.{name}" for name in defined(tree)}
            found |= {f"{module}.{name}": self.used(node, names) for name, node in defined(tree).items()}
        return found

    def nearest(self, pages: Mapping[str, set[str]]) -> dict[str, list[str]]:
        """Return full name -> the pages that need the fewest steps to it: that name it, or else reach it soonest.

        Args:
            pages: Page -> full names of what it mentions itself.
        """
        reached: dict[str, list[str]] = {}
        front = pages
        while any(front.values()):
            met = sorted({name for names in front.values() for name in names})
            reached |= {name: [page for page, names in front.items() if name in names] for name in met}
            front = {
                page: {other for name in names for other in self.uses[name]} - reached.keys()
                for page, names in front.items()
            }
        return reached


def dotted(path: Path, package: Path) -> str:
    """Return the full name of a module from its file."""
    return ".".join((package.name, *path.relative_to(package).with_suffix("").parts))


def room_of(module: str) -> str:
    """Return the room that a module stands in.

    Raises:
        ValueError: If there is none.
    """
    part = module.split(".")[1]
    for room, (_, parts) in ROOMS.items():
        if part in parts:
            return room
    raise ValueError(f"{module} stands in no room of the reference; add {part!r} to ROOMS in book/reference.py")


def program(notebook: nbformat.NotebookNode) -> ast.Module:
    """Return the code of a notebook as one program."""
    return ast.parse("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code"))


def here(names: Iterable[str]) -> str:
    """Return the line at the end of a page: links to the functions that it uses."""
    links = [f"{{py:obj}}`{'.'.join(name.split('.')[-2:])} <{name}>`" for name in sorted(names)]
    return f"**Functions used here**: {', '.join(links)}"


def described(node: ast.ClassDef, lines: Sequence[str]) -> list[str]:
    """Return what the comments behind the fields of a class say of them."""
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    comments = {field.target.id: lines[field.end_lineno - 1].partition("  # ")[2] for field in fields}
    return [f":param {name}: {literal(comment)}" for name, comment in comments.items() if comment]


def literal(comment: str) -> str:
    """Return a comment as reStructuredText that shows it as it is."""
    return re.sub(r"[|*]", r"\\\g<0>", comment)


def methods(name: str, node: ast.ClassDef) -> list[str]:
    """Return a directive for every public method and property of a class."""
    # Named one by one: asked for all members, autodoc changes the annotations that pydantic builds its models from.
    found = [part for part in node.body if isinstance(part, ast.FunctionDef) and not part.name.startswith("_")]
    return [f".. auto{'property' if is_property(part) else 'method'}:: {name}.{part.name}" for part in found]


def is_property(node: ast.FunctionDef) -> bool:
    """Tell whether a method is called without parentheses."""
    return any(ast.unparse(decorator).endswith("property") for decorator in node.decorator_list)


def entry(name: str, node: ast.stmt, lines: Sequence[str], pages: Iterable[str]) -> str:
    """Return the directive for one object, with links to the pages that use it.

    Args:
        name: Full name.
        node: Its definition.
        lines: The file that holds the definition.
        pages: Names of notebooks.
    """
    kind, below = "autofunction", []
    if isinstance(node, ast.ClassDef):
        kind, below = "autoclass", [*described(node, lines), "", *methods(name, node)]
    used = [f"Used on: {', '.join(f':doc:`/notebooks/{page}`' for page in pages)}", ""] * bool(pages)
    return f".. {kind}:: {name}\n\n" + "".join(f"   {line}".rstrip() + "\n" for line in [*used, *below])


def room_page(title: str, modules: Iterable[str], library: Library, reached: Mapping[str, list[str]]) -> str:
    """Return the page of one room: a section a module, in it an entry for every public function and class."""
    parts = [f"{title}\n{'=' * len(title)}\n"]
    for module in modules:
        parts.append(f"{module}\n{'-' * len(module)}\n\n.. automodule:: {module}\n")
        names, lines = library.entries(module), library.texts[module].splitlines()
        around = sorted({page for name in names for page in reached.get(name, [])})
        # What is only found while a program runs, such as a rule for an operator, is used where its module is.
        parts += [entry(name, library.objects[name], lines, reached.get(name, around)) for name in names]
    return "\n".join(parts)


def add_to(source: Path, package: Path) -> None:
    """Write the reference into the gathered sources of the book, and links to it at the end of every notebook.

    Args:
        source: Folder with the gathered sources.
        package: Folder of `symlib`.
    """
    library, pages = Library(package), {}
    for path in sorted((source / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, 4)
        tree = program(notebook)
        pages[path.stem] = library.used(tree, imported(tree))
        line = here(filter(library.public, pages[path.stem]))
        # A fixed id, so that the same sources give the same page.
        notebook.cells.append(nbformat.v4.new_markdown_cell(line, id="functions-used-here"))
        nbformat.write(notebook, path)
    reached = library.nearest(pages)
    (source / "reference").mkdir()
    for room, modules in groupby(sorted(library.trees, key=order), key=room_of):
        text = room_page(ROOMS[room][0], modules, library, reached)
        (source / "reference" / f"{room}.rst").write_text(text, encoding="utf-8")


def order(module: str) -> tuple[int, str]:
    """Return where a module comes: by room, then by name."""
    return list(ROOMS).index(room_of(module)), module
