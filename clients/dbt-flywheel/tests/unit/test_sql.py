"""Scripts, values and types, without a server."""

import datetime
import decimal

import pytest

from dbt.adapters.flywheel import sql
from dbt.adapters.flywheel.types import sql_type, value


@pytest.mark.parametrize(
    "script, expected",
    [
        ("select 1", ["select 1"]),
        ("select 1;", ["select 1"]),
        ("delete from a; insert into a select 1 ;\n", ["delete from a", "insert into a select 1"]),
        ("insert into a values ('x; y', 'it''s; ')", ["insert into a values ('x; y', 'it''s; ')"]),
        ('select 1 as "a;b"; select 2', ['select 1 as "a;b"', "select 2"]),
        ("/* a; b */ select 1; -- c; d\nselect 2", ["/* a; b */ select 1", "-- c; d\nselect 2"]),
        ("/* one /* two; */ three; */ select 1", ["/* one /* two; */ three; */ select 1"]),
        ("-- nothing\n", []),
        (" ; ; ", []),
        ("select 'never ends; ", ["select 'never ends;"]),
    ],
)
def test_scripts_are_taken_apart_where_a_statement_ends(script, expected):
    assert sql.statements(script) == expected


@pytest.mark.parametrize(
    "statement, reading",
    [
        ("select 1", True),
        ('/* {"app": "dbt"} */\n\n  -- c\n (Select 1)', True),
        ("with a as (select 1) select * from a", True),
        ("describe x", True),
        ("insert into a select 1", False),
        ("create or replace view v as select 1", False),
        ("/* select */ drop table x", False),
        ("", False),
    ],
)
def test_queries_are_told_from_changes_by_their_first_word(statement, reading):
    assert sql.reads(statement) is reading


def test_values_are_written_so_that_no_text_ends_early():
    values = [None, True, 7, decimal.Decimal("1.50"), "it's", datetime.date(2024, 2, 29)]
    assert sql.bound("values (%s,%s,%s,%s,%s,%s)", values) == (
        "values (NULL,true,7,'1.50','it''s','2024-02-29')"
    )
    assert sql.bound("select '%s', %s -- %s", ["a"]) == "select '%s', 'a' -- %s"
    assert sql.bound("select '100%'", None) == "select '100%'"
    for places, given in [("%s %s", ["a"]), ("%s", ["a", "b"])]:
        with pytest.raises(ValueError):
            sql.bound(places, given)


@pytest.mark.parametrize(
    "arrow, expected",
    [
        ("Int64", "bigint"),
        ("Utf8View", "text"),
        ("Decimal128(10, 2)", "decimal(10, 2)"),
        ("Timestamp(Microsecond, None)", "timestamp"),
        ("Timestamp(µs)", "timestamp"),
        ('Timestamp(Microsecond, Some("UTC"))', "timestamp"),
        ('Timestamp(µs, "UTC")', "timestamp"),
        ("List(Int64)", "List(Int64)"),
    ],
)
def test_types_have_the_words_of_sql(arrow, expected):
    assert sql_type(arrow) == expected


def test_values_keep_what_they_are():
    assert value("9007199254740993", "integer", "Int64") == 9007199254740993
    assert value(decimal.Decimal("0.10"), "number", "Decimal128(5, 2)") == decimal.Decimal("0.10")
    assert value(decimal.Decimal("0.5"), "number", "Float64") == 0.5
    assert value("2024-02-29", "day", "Date32") == datetime.date(2024, 2, 29)
    moment = "2024-02-29T12:00:00.123456789"
    assert value(moment, "moment", "") == datetime.datetime(2024, 2, 29, 12, 0, 0, 123456)
    assert value("2024-02-29T12:00:00Z", "moment", "") == datetime.datetime(2024, 2, 29, 12)
    assert value("-262143-01-01", "day", "Date32") == "-262143-01-01"
    assert value(None, "text", "Utf8") is None
