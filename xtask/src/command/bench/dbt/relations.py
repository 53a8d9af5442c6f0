"""What a DuckDB file holds.

    relations.py FILE              prints each table and view with its number of columns
    relations.py FILE TABLE        prints the rows of one, each a JSON object, in the order of all columns
"""

import datetime
import json
import sys

import duckdb


def told(value):
    """A moment without a zone as the lake has it, in UTC; everything else as text."""
    if isinstance(value, datetime.datetime) and value.tzinfo is None:
        fraction = f".{value.microsecond:06}".rstrip("0") if value.microsecond else ""
        return f"{value:%Y-%m-%dT%H:%M:%S}{fraction}Z"
    return str(value)


database = duckdb.connect(sys.argv[1], read_only=True)
if len(sys.argv) == 2:
    found = database.execute(
        "select table_schema || '.' || table_name, count(*) from information_schema.columns group by 1 order by 1"
    )
    for relation, columns in found.fetchall():
        print(relation, columns)
else:
    found = database.execute(f"select * from {sys.argv[2]} order by all")
    names = [column[0] for column in found.description]
    for row in found.fetchall():
        print(json.dumps(dict(zip(names, row)), default=told))
