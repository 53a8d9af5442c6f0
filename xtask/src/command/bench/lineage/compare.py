"""The queries of TPC-H as models, and what sqlglot says their columns are made of.

    compare.py project FOLDER     writes a project with the eight tables and a model for each query
    compare.py sqlglot FOLDER     prints, as JSON, the columns that each column of each query is made of
"""

import json
import pathlib
import sys

import duckdb
import duckdb_extension_tpch
import sqlglot
from sqlglot import exp
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify

VALUES = {"BIGINT": "1", "INTEGER": "1", "VARCHAR": "x", "DATE": "1995-01-01"}
TYPES = {"BIGINT": "int64", "INTEGER": "int64", "VARCHAR": "text", "DATE": "date"}


def tpch():
    extension = next(pathlib.Path(duckdb_extension_tpch.__file__).parent.rglob("*.duckdb_extension"))
    database = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    database.execute(f"load '{extension}'")
    queries = database.execute("select query_nr, query from tpch_queries() order by 1").fetchall()
    database.execute("call dbgen(sf=0)")
    listed = database.execute(
        "select table_name, column_name, data_type from information_schema.columns"
        " order by table_name, ordinal_position"
    ).fetchall()
    tables = {}
    for table, column, kind in listed:
        tables.setdefault(table, {})[column] = kind
    return {f"q{number:02}": text.strip().rstrip(";") for number, text in queries}, tables


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


def project(folder):
    queries, tables = tpch()
    write = lambda path, text: (
        (folder / path).parent.mkdir(parents=True, exist_ok=True),
        (folder / path).write_text(text),
    )
    write("flywheel.yaml", "name: tpch\n")
    write("connections/files.yaml", "connection: files\ntype: csv\noptions: {folder: data}\n")
    streams = []
    for table, columns in tables.items():
        write(
            f"data/{table}.csv",
            ",".join(columns) + "\n" + ",".join(VALUES.get(kind, "1.5") for kind in columns.values()) + "\n",
        )
        declared = ", ".join(
            "{name: %s, type: '%s'}" % (name, TYPES.get(kind, "decimal(15,2)")) for name, kind in columns.items()
        )
        streams.append(f"  - {{stream: {table}, options: {{path: {table}.csv}}, columns: [{declared}]}}\n")
    write("syncs/tpch.yaml", "sync: tpch\nconnection: files\nstreams:\n" + "".join(streams))
    for name, text in queries.items():
        write(f"models/mart/{name}.sql", model(text) + "\n")


def origins(text, tables):
    """By column, the table columns at the leaves of sqlglot's lineage."""
    schema = {table: dict(columns) for table, columns in tables.items()}
    tree = qualify(sqlglot.parse_one(text, read="duckdb"), schema=schema, dialect="duckdb")
    found = {}
    for name in tree.named_selects:
        leaves = set()
        for node in lineage(name, tree.copy(), schema=schema, dialect="duckdb").walk():
            if not node.downstream and isinstance(node.source, exp.Table):
                column = node.name.split(".")[-1].strip('"')
                leaves.add(f"raw.{node.source.name}.{column}")
        found[name] = sorted(leaves)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "project":
        project(pathlib.Path(sys.argv[2]))
    else:
        queries, tables = tpch()
        print(json.dumps({name: origins(text, tables) for name, text in queries.items()}))
