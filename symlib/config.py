"""Checked parameters: what a notebook's parameters cell becomes before any work starts."""

import ast
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

_LITERALS = (bool, int, float, str, list, tuple, dict, type(None))


class Config(BaseModel):
    """Base of every study's parameters: frozen, no unknown names, no text for numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @classmethod
    def from_cell(cls, names: Mapping[str, object]) -> Self:
        """Make the configuration from the globals of a notebook.

        Papermill injects unknown names with no more than a warning. Every plain literal that was assigned before
        the parameters were first checked is therefore taken for a parameter, so that a misspelt one is refused.
        What later cells assign is no parameter: the check can be run again after a change.

        Raises:
            ValueError: Naming every parameter that is wrong, with what was expected and what arrived.
        """
        plain = {k: v for k, v in names.items() if isinstance(v, _LITERALS) and k[0] != "_" and k not in ("In", "Out")}
        early = _parameter_names(names["In"], set(cls.model_fields)) if "In" in names else plain.keys()
        return cls.checked({k: v for k, v in plain.items() if k in early or k in cls.model_fields})

    @classmethod
    def checked(cls, values: Mapping[str, object]) -> Self:
        """Make the configuration from a mapping; raises as `from_cell` does."""
        try:
            return cls(**values)
        except ValidationError as error:
            problems = [cls._explain(e) for e in error.errors(include_url=False)]
        # Outside the handler, so that the one message is not preceded by pydantic's own.
        raise ValueError(f"{cls.__name__}: " + "; ".join(problems))

    @classmethod
    def _explain(cls, error: Mapping) -> str:
        name, got = ".".join(map(str, error["loc"])), error.get("input")
        if error["type"] == "extra_forbidden":
            near = get_close_matches(name, cls.model_fields, n=1)
            return f"unknown parameter {name!r} (= {got!r})" + (f", did you mean {near[0]!r}?" if near else "")
        if error["type"] == "missing":
            return f"parameter {name!r} is missing"
        if error["type"] == "value_error":
            return str(error["ctx"]["error"])
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if _is_power_of_ten_as_text(got) else ""
        return f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}, got {got!r}{hint}"


def _parameter_names(history: Sequence[str], known: set[str]) -> set[str]:
    """Return the names assigned by a kernel's parameter cells.

    These are the cells up to the first that calls `from_cell`, and later ones that assign a known parameter.
    """
    names, checked = set(), False
    for source in history:
        assigned = _assigned(source)
        if not checked or assigned & known:
            names |= assigned
        checked = checked or "from_cell" in source
    return names


def _assigned(source: str) -> set[str]:
    """Return the names that a cell assigns at its top level; none if it is no valid Python."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return set()
    statements = [node for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
    parts = [part for statement in statements for part in ast.walk(statement)]
    return {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _is_power_of_ten_as_text(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[+-]?\d+e[+-]?\d+", value, re.IGNORECASE) is not None
