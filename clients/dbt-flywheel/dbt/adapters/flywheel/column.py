"""Columns and their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Dict

from dbt.adapters.base.column import Column

_TEXTS = ("text", "varchar", "character varying", "character", "char", "string")
_FLOATS = ("double", "double precision", "real", "float", "float4", "float8")
_INTEGERS = (
    "tinyint",
    "smallint",
    "integer",
    "int",
    "bigint",
    "tinyint unsigned",
    "smallint unsigned",
    "integer unsigned",
    "bigint unsigned",
)


@dataclass
class FlywheelColumn(Column):
    """A column. Texts have no longest length here, so none ever has to be widened."""

    TYPE_LABELS: ClassVar[Dict[str, str]] = {
        "STRING": "text",
        "TIMESTAMP": "timestamp",
        "FLOAT": "double",
        "INTEGER": "integer",
        "BIGINT": "bigint",
        "NUMERIC": "decimal",
        "BOOLEAN": "boolean",
    }

    @property
    def data_type(self) -> str:
        """The type as it is written in a statement."""
        return self.dtype

    def is_string(self) -> bool:
        """Whether it holds texts."""
        return self.dtype.lower().split("(")[0].strip() in _TEXTS

    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.lower() in _FLOATS

    def is_integer(self) -> bool:
        """Whether it holds whole numbers."""
        return self.dtype.lower() in _INTEGERS

    def is_numeric(self) -> bool:
        """Whether it holds decimals."""
        return self.dtype.lower().startswith(("decimal", "numeric"))

    def string_size(self) -> int:
        """The longest text there can be."""
        return 0

    def can_expand_to(self, other_column: Column) -> bool:
        """Never needed: texts have no longest length."""
        return False

    @classmethod
    def string_type(cls, size: int) -> str:
        """Texts of any length."""
        return "text"
