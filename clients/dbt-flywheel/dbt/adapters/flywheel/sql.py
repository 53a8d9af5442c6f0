"""SQL as text: taking scripts apart, telling queries from changes, and writing values into statements."""

from __future__ import annotations

import datetime
import decimal
from typing import Any, Iterator, List, Optional, Sequence

# The first words of statements that only read. All others go to the door that changes things.
READING = frozenset(
    {"select", "with", "values", "show", "describe", "desc", "explain", "table", "from"}
)

# What dbt sends around statements where there are transactions. Here one statement is one commit.
TRANSACTIONS = frozenset({"begin", "commit", "rollback", "start", "end"})


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yields (kind, piece): `code`, `quoted` for texts and names in quotes, or `comment`.

    A quote is doubled within its own kind; `--` ends with the line; `/* */` may be nested.
    """
    at, code = 0, 0
    while at < len(text):
        kind, end = "", at
        if text[at] in "'\"":
            kind, quote, end = "quoted", text[at], at + 1
            while end < len(text):
                if text[end] == quote:
                    if text[end + 1 : end + 2] != quote:
                        break
                    end += 1
                end += 1
            end += 1
        elif text.startswith("--", at):
            kind, end = "comment", text.find("\n", at)
            end = len(text) if end < 0 else end
        elif text.startswith("/*", at):
            kind, depth, end = "comment", 1, at + 2
            while end < len(text) and depth:
                if text.startswith("/*", end):
                    depth, end = depth + 1, end + 2
                elif text.startswith("*/", end):
                    depth, end = depth - 1, end + 2
                else:
                    end += 1
        if not kind:
            at += 1
            continue
        if code < at:
            yield "code", text[code:at]
        yield kind, text[at:end]
        at = code = end
    if code < len(text):
        yield "code", text[code:]


def statements(text: str) -> List[str]:
    """The statements of a script, without those that are empty but for comments.

    A comment stays with the statement that follows it, so that dbt's query comment is in the audit log.
    """
    found: List[str] = []
    current: List[str] = []
    filled = False
    for kind, piece in pieces(text):
        if kind != "code":
            filled = filled or kind == "quoted"
            current.append(piece)
            continue
        parts = piece.split(";")
        for number, part in enumerate(parts):
            current.append(part)
            filled = filled or bool(part.strip())
            if number + 1 < len(parts):
                if filled:
                    found.append("".join(current).strip())
                    current = []
                filled = False
    if filled:
        found.append("".join(current).strip())
    return found


def first_word(statement: str) -> str:
    """The first word of a statement in lower case, whatever comments and parentheses stand before it."""
    for kind, piece in pieces(statement):
        if kind == "comment":
            continue
        if kind == "quoted":
            return ""
        text = piece.lstrip(" \t\r\n(")
        if text:
            end = 0
            while end < len(text) and (text[end].isalnum() or text[end] == "_"):
                end += 1
            return text[:end].lower()
    return ""


def reads(statement: str) -> bool:
    """Whether a statement only reads, as far as its first word says; the server has the last word."""
    return first_word(statement) in READING


def literal(value: Any) -> str:
    """A value as SQL has it. Numbers are exact; what has no form of its own is its text.

    Texts, days and moments are written as texts: the server converts them to the type of their column.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, decimal.Decimal)):
        return f"'{value}'" if isinstance(value, decimal.Decimal) else str(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return f"'{value.isoformat()}'"
    text = str(value).replace("'", "''")
    return f"'{text}'"


def bound(statement: str, bindings: Optional[Sequence[Any]]) -> str:
    """The statement with its `%s` replaced by values; those in quotes and comments stay.

    Raises ValueError if there are more or fewer places than values.
    """
    if bindings is None:
        return statement
    values = iter(bindings)
    out: List[str] = []
    for kind, piece in pieces(statement):
        if kind != "code" or "%s" not in piece:
            out.append(piece)
            continue
        parts = piece.split("%s")
        out.append(parts[0])
        for part in parts[1:]:
            try:
                out.append(literal(next(values)))
            except StopIteration:
                raise ValueError("a statement has more places than values") from None
            out.append(part)
    if next(values, out) is not out:
        raise ValueError("a statement has fewer places than values")
    return "".join(out)
