"""Checked parameters: what a notebook's parameters cell becomes before any work starts."""

from collections.abc import Mapping
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

        Papermill injects unknown names with no more than a warning. Every plain literal among the globals is
        therefore taken for a parameter, so that a misspelt one is refused.

        Raises:
            ValueError: Naming every parameter that is wrong, with what was expected and what arrived.
        """
        hidden = ("In", "Out")  # IPython's own
        return cls.checked(
            {k: v for k, v in names.items() if isinstance(v, _LITERALS) and k[0] != "_" and k not in hidden}
        )

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
        hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if _is_number_as_text(got) else ""
        return f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}, got {got!r}{hint}"


def _is_number_as_text(value: object) -> bool:
    try:
        return isinstance(value, str) and float(value) is not None
    except ValueError:
        return False
