"""DuckDB's part in the benches of TPC-H and TPC-DS.

    peer.py make NAME FOLDER SCALE PARTS              writes tables as Parquet files, TABLE/PART.parquet, and N.sql for each query
    peer.py compare FOLDER LAKE MEMORY                asks the queries of FOLDER over the Delta tables of LAKE, compares the answers
                                                      in N.csv, and prints an object of JSON for each

Texts and data are made by DuckDB's extensions when the bench runs.
"""

import collections
import csv
import decimal
import importlib
import itertools
import json
import math
import pathlib
import resource
import sys
import time

import duckdb
import sqlglot
from sqlglot import exp

# Where the engines differ by decision, not by mistake: what makes DuckDB decide as we do, and how far numbers
# that are floating-point numbers there may be apart.
SHARE = 1e-9
DECISIONS = {
    "7 / 2 is 3, as in SQL's standard": ("set integer_division = true", SHARE),
    "NULL is the largest value, as in PostgreSQL": (
        "set default_null_order = 'nulls_last_on_asc_first_on_desc'",
        SHARE,
    ),
    # A percentage has such a quotient a hundredfold, a sum has many of them.
    "a quotient of decimals is cut after six digits": ("select 1", 1e-4),
}
# Beyond so many digits our decimals are as exact as floating-point numbers.
DECIMAL_DIGITS_MAX = 12


def connect(*extensions):
    database = duckdb.connect()
    database.execute("set threads = 2")
    database.execute("set enable_progress_bar = false")
    for name in extensions:
        module = importlib.import_module(f"duckdb_extension_{name}")
        folder = pathlib.Path(module.__file__).parent
        database.load_extension(str(next(folder.rglob("*.duckdb_extension"))))
    return database


def make(name, folder, scale, parts):
    generate = {"tpch": "dbgen", "tpcds": "dsdgen"}[name]
    for part in range(parts):
        database = connect(name)
        share = f", children = {parts}, step = {part}" if parts > 1 else ""
        database.execute(f"call {generate}(sf = {scale}{share})")
        for (table,) in database.execute("show tables").fetchall():
            path = folder / table / f"{part:03}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            database.execute(f"copy {table} to '{path}' (format parquet)")
        database.close()
    database = connect(name)
    for number, text in database.execute(f"select query_nr, query from {name}_queries()").fetchall():
        (folder / f"{number}.sql").write_text(text.strip().rstrip(";"))


def theirs(value):
    """A value of DuckDB's as it is compared: a number, or text; NULL is the empty text, as in CSV."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return decimal.Decimal(value)
    if isinstance(value, (float, decimal.Decimal)):
        return value
    return str(value).strip()


def same(text, value, apart=SHARE):
    """Whether our text is DuckDB's value: whole numbers, decimals, dates and texts exactly; floating-point
    numbers but for their last digits or, where ours is a decimal, but for one in its last digit."""
    if isinstance(value, str):
        return text.strip() == value
    ours = number_or_text(text)
    if not isinstance(value, float) or not isinstance(ours, decimal.Decimal):
        return ours == value
    if math.isnan(value) or ours.is_nan():
        return math.isnan(value) and ours.is_nan()
    digits = -ours.as_tuple().exponent
    last = 10.0**-digits if 0 < digits <= DECIMAL_DIGITS_MAX and "e" not in text.lower() else 0.0
    return math.isclose(float(ours), value, rel_tol=SHARE, abs_tol=max(last, apart))


def equal(ours, row, apart):
    return len(ours) == len(row) and all(same(text, value, apart) for text, value in zip(ours, row))


def key(row, floating):
    """What rows are looked up by: their values but floating-point ones, numbers in any form."""
    kept = (str(value).strip() for value, skipped in zip(row, floating) if not skipped)
    return tuple(map(number_or_text, kept))


def number_or_text(text):
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        return text


def unlimited(text, names):
    """The query without its limit and with what it orders by as further columns, and where those columns are."""
    tree = sqlglot.parse_one(text, read="duckdb")
    tree.set("limit", None)
    order = tree.args.get("order")
    places, width = [], len(names)
    for ordered in order.expressions if order else []:
        by = ordered.this
        if isinstance(by, exp.Literal) and not by.is_string:
            places.append(int(by.this) - 1)
        elif isinstance(by, exp.Column) and by.name in names:
            places.append(names.index(by.name))
        else:
            tree.select(exp.alias_(by.copy(), f"by {width}", quoted=True), copy=False)
            places.append(width)
            width += 1
    return tree.sql(dialect="duckdb"), places


def difference(database, text, ours, apart=SHARE):
    """What is wrong with our rows, or nothing: rows that the order leaves open may come in any, and where a
    limit cuts through them any of them may be there."""
    rows = [[theirs(value) for value in row] for row in database.execute(text).fetchall()]
    if len(ours) != len(rows):
        return f"{len(ours)} rows instead of {len(rows)}"
    if all(equal(mine, row, apart) for mine, row in zip(ours, rows)):
        return ""
    columns = database.execute(f"describe {text}").fetchall()
    names = [name for name, *_ in columns]
    floating = [kind in ("DOUBLE", "FLOAT") for _, kind, *_ in columns]
    query, places = unlimited(text, names)
    answer = iter(database.execute(query).fetchall())
    rows = ([theirs(value) for value in row] for row in answer)
    at = 0
    for _, tied in itertools.groupby(rows, lambda row: [row[place] for place in places]):
        if at >= len(ours):
            break
        open_rows, count = collections.defaultdict(list), 0
        for row in tied:
            row, count = row[: len(names)], count + 1
            open_rows[key(row, floating)].append(row)
        for mine in ours[at : at + count]:
            alike = open_rows[key(mine, floating)]
            found = next((row for row in alike if equal(mine, row, apart)), None)
            if found is None:
                return f"row {at}: {mine} is none of {count}, such as {row}"
            alike.remove(found)
            at += 1
    return ""


def judge(database, text, ours):
    """`equal`, `explained` with the decision, or `differs` with the first difference."""
    told = difference(database, text, ours)
    if not told:
        return "equal", ""
    verdict = "differs", told
    for why, (setting, apart) in DECISIONS.items():
        database.execute(setting)
        if not difference(database, text, ours, apart):
            verdict = "explained", why
            break
    database.execute("reset integer_division")
    database.execute("reset default_null_order")
    return verdict


def compare(folder, lake, memory):
    database = connect("delta")
    database.execute(f"set memory_limit = '{memory}'")
    database.execute(f"set temp_directory = '{folder / 'spilled'}'")
    for path in sorted(lake.iterdir()):
        database.execute(f"create view {path.name} as select * from delta_scan('{path}')")
    numbers = sorted(int(path.stem) for path in folder.glob("*.sql"))
    for number in numbers:
        text = (folder / f"{number}.sql").read_text()
        cpu = wall = math.inf
        for _ in range(2):
            before, began = time.process_time(), time.time()
            database.execute(text).fetchall()
            cpu = min(cpu, time.process_time() - before)
            wall = min(wall, time.time() - began)
        with open(folder / f"{number}.csv", newline="") as file:
            # A row of one NULL is an empty line.
            ours = [row or [""] for row in csv.reader(file)][1:]
        verdict, told = judge(database, text, ours)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        line = {"query": number, "cpu_s": cpu, "wall_s": wall, "rows": len(ours), "verdict": verdict, "told": told}
        print(json.dumps(line | {"peak_bytes": peak}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    else:
        compare(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4])
