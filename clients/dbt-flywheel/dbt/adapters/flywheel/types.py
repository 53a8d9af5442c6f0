"""Arrow's types, which the server names, in the words of SQL, and values of answers as Python has them."""

from __future__ import annotations

import datetime
import decimal
import re
from typing import Any

_PLAIN = {
    "Boolean": "boolean",
    "Int8": "tinyint",
    "Int16": "smallint",
    "Int32": "integer",
    "Int64": "bigint",
    "UInt8": "tinyint unsigned",
    "UInt16": "smallint unsigned",
    "UInt32": "integer unsigned",
    "UInt64": "bigint unsigned",
    "Float16": "real",
    "Float32": "real",
    "Float64": "double",
    "Utf8": "text",
    "LargeUtf8": "text",
    "Utf8View": "text",
    "Binary": "bytea",
    "LargeBinary": "bytea",
    "BinaryView": "bytea",
    "Date32": "date",
    "Date64": "date",
}
_DECIMAL = re.compile(r"^Decimal\d+\((\d+), *(-?\d+)\)$")


def sql_type(arrow_type: str) -> str:
    """The SQL type of an Arrow type; what SQL has no word for stays as it is.

    >>> sql_type("Timestamp(Microsecond, None)"), sql_type("Decimal128(10, 2)")
    ('timestamp', 'decimal(10, 2)')
    """
    plain = _PLAIN.get(arrow_type)
    if plain is not None:
        return plain
    exact = _DECIMAL.match(arrow_type)
    if exact:
        return f"decimal({exact.group(1)}, {exact.group(2)})"
    if arrow_type.startswith("Timestamp("):
        # The lake keeps moments in UTC, so that one without a zone and one in UTC are the same.
        return "timestamp"
    if arrow_type.startswith("Time"):
        return "time"
    return arrow_type


def value(raw: Any, kind: str, arrow_type: str) -> Any:
    """A cell of an answer, whose JSON was read with exact numbers.

    `kind` is the server's simple type. A day or moment that Python has no form for stays a text.
    """
    if raw is None:
        return None
    if kind == "integer":
        return int(raw)
    if kind == "number":
        if arrow_type.startswith("Decimal"):
            return decimal.Decimal(str(raw))
        return float(raw)
    if kind == "day":
        return _or_text(raw, datetime.date.fromisoformat)
    if kind == "moment":
        return _or_text(raw, _moment)
    return raw


def _moment(text: str) -> datetime.datetime:
    # All moments are in UTC, and `timestamp` has no zone, so that they compare as they do in SQL.
    whole, _, fraction = text.removesuffix("Z").partition(".")
    found = datetime.datetime.fromisoformat(whole)
    if fraction:
        # Python keeps microseconds.
        found = found.replace(microsecond=int(fraction[:6].ljust(6, "0")))
    return found


def _or_text(raw: Any, read: Any) -> Any:
    try:
        return read(raw)
    except (TypeError, ValueError):
        return raw
