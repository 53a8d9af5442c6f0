"""The queries of TPC-H or TPC-DS as models, and what sqlglot says of their columns and of those of other models.

    compare.py project NAME FOLDER     writes a project with the tables and a model for each query
    compare.py sqlglot NAME            prints, as JSON, what each column of each query is made of and which
                                       columns its filters and joins compare
    compare.py models FILE             prints the same of the models in a file: {"queries": {MODEL: SQL}, "tables":
                                       {SCHEMA: {TABLE: {COLUMN: TYPE}}}}
"""

import importlib
import json
import pathlib
import sys

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import traverse_scope

GENERATORS = {"tpch": "dbgen", "tpcds": "dsdgen"}
VALUES = {"BIGINT": "1", "INTEGER": "1", "VARCHAR": "x", "DATE": "1995-01-01"}
TYPES = {"BIGINT": "int64", "INTEGER": "int64", "VARCHAR": "text", "DATE": "date"}


def suite(name):
    extension = importlib.import_module(f"duckdb_extension_{name}")
    database = duckdb.connect()
    database.load_extension(str(next(pathlib.Path(extension.__file__).parent.rglob("*.duckdb_extension"))))
    queries = database.execute(f"select query_nr, query from {name}_queries() order by 1").fetchall()
    database.execute(f"call {GENERATORS[name]}(sf=0)")
    listed = database.execute(
        "select table_name, column_name, data_type from information_schema.columns"
        " order by table_name, ordinal_position"
    ).fetchall()
    tables = {}
    for table, column, kind in listed:
        tables.setdefault(table, {})[column] = kind
    return {f"q{number:02}": named(text) for number, text in queries}, tables


def named(text):
    """The query with a name for each column, in small letters: every engine names what has none as it likes."""
    tree = sqlglot.parse_one(text, read="duckdb")
    first = tree
    while isinstance(first, exp.SetOperation):
        first = first.this
    columns = []
    for place, column in enumerate(first.expressions):
        plain = isinstance(column, (exp.Column, exp.Star))
        name = column.alias or f"column_{place}"
        columns.append(column if plain else exp.alias_(column.unalias(), name.lower(), quoted=True))
    first.set("expressions", columns)
    return tree.sql(dialect="duckdb")


def model(text):
    tree = sqlglot.parse_one(text, read="duckdb")
    named = {cte.alias for cte in tree.find_all(exp.CTE)}
    for table in tree.find_all(exp.Table):
        if table.name not in named:
            alias = table.alias or table.name
            table.replace(exp.to_table(f"source__{table.name}", alias=alias))
    text = tree.sql(dialect="postgres")
    for table in sorted({t.name for t in tree.find_all(exp.Table)}, key=len, reverse=True):
        if table.startswith("source__"):
            text = text.replace(table, "{{ source('raw', '" + table[8:] + "') }}")
    return text


def project(name, folder):
    queries, tables = suite(name)
    write = lambda path, text: (
        (folder / path).parent.mkdir(parents=True, exist_ok=True),
        (folder / path).write_text(text),
    )
    write("flywheel.yaml", f"name: {name}\n")
    write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
    streams = []
    for table, columns in tables.items():
        write(
            f"data/{table}.csv",
            ",".join(columns) + "\n" + ",".join(VALUES.get(kind, "1.5") for kind in columns.values()) + "\n",
        )
        declared = ", ".join(
            "{name: %s, type: '%s'}" % (column, TYPES.get(kind, "decimal(15,2)")) for column, kind in columns.items()
        )
        streams.append(f"  - {{stream: {table}, options: {{path: {table}.csv}}, columns: [{declared}]}}\n")
    write("syncs/tables.yaml", "sync: tables\nconnection: files\nstreams:\n" + "".join(streams))
    for query, text in queries.items():
        write(f"models/mart/{query}.sql", model(text) + "\n")


def qualified(text, tables):
    return qualify(sqlglot.parse_one(text, read="duckdb"), schema=tables, dialect="duckdb")


def place(table):
    """A table with its schema; the queries name none, and their tables are landed ones."""
    return f"{table.db or 'raw'}.{table.name}"


def origins(text, tables):
    """By column, the table columns at the leaves of sqlglot's lineage."""
    tree = qualified(text, tables)
    found = {}
    for name in tree.named_selects:
        leaves = set()
        for node in lineage(name, tree.copy(), schema=tables, dialect="duckdb").walk():
            if not node.downstream and isinstance(node.source, exp.Table):
                column = node.name.split(".")[-1].strip('"')
                leaves.add(f"{place(node.source)}.{column}")
        found[name] = sorted(leaves)
    return found


def deciding(text, tables):
    """The table columns in conditions of filters and joins, wherever in the query."""
    found = set()
    for scope in traverse_scope(qualified(text, tables)):
        conditions = [scope.expression.args.get("where")]
        conditions += [join.args.get("on") for join in scope.expression.args.get("joins") or []]
        for condition in filter(None, conditions):
            # Columns of a query inside are met in its own scope, with the tables that it names.
            for column in condition.find_all(exp.Column):
                near = scope.sources.get(column.table)
                if isinstance(near, exp.Table) and column.find_ancestor(exp.Query) is scope.expression:
                    found.add(f"{place(near)}.{column.name}")
    return sorted(found)


if __name__ == "__main__":
    if sys.argv[1] == "project":
        project(sys.argv[2], pathlib.Path(sys.argv[3]))
    else:
        if sys.argv[1] == "models":
            given = json.loads(pathlib.Path(sys.argv[2]).read_text())
            queries, tables = given["queries"], given["tables"]
        else:
            queries, tables = suite(sys.argv[2])
        said = {
            name: {"origins": origins(text, tables), "deciding": deciding(text, tables)}
            for name, text in queries.items()
        }
        print(json.dumps(said))
