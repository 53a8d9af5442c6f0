"""Compares every Delta table of a project as three readers see it: ours, DuckDB and Polars.

Usage: python interop.py FLYWHEEL PROJECT
Prints `ok TABLE READER ROWS HASH` or `DIFFERENT TABLE READER …` for each table and reader, and ends
with 1 if one differs. The hash is a sum over the rows' hashes, so the order of rows does not matter;
equal rows count as often as they occur.
"""

import datetime
import decimal
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import urllib.parse

import deltalake
import duckdb
import duckdb_extension_delta
import polars
import pyarrow as pa

MODULUS = 1 << 256
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?$"
)


def main(flywheel, project):
    tables = ask(flywheel, project, "select name, location, version from system.tables order by name")
    tables = [table for table in tables if table["location"] and table["version"] is not None]
    if not tables:
        print("DIFFERENT system.tables lists no table with a location")
        return 1
    connection = connect_duckdb()
    different = 0
    for table in tables:
        path = folder(project, table["location"])
        schema = arrow_schema(path, table["version"])
        ours = digest(our_rows(flywheel, project, table["name"], schema))
        others = {
            "duckdb": lambda: duckdb_table(connection, path, table["version"]),
            "polars": lambda: polars_table(path, table["version"]),
        }
        for reader, read in others.items():
            different += not compare(table["name"], reader, ours, schema, read)
    return 1 if different else 0


def compare(name, reader, ours, schema, read):
    """Prints the verdict on one table and reader; whether they agree."""
    try:
        theirs = digest(arrow_rows(read(), schema))
    except Exception as error:  # whatever the other system says belongs in the verdict
        print(f"DIFFERENT {name} {reader}: {type(error).__name__}: {error}")
        return False
    if ours[:2] == theirs[:2]:
        print(f"ok {name} {reader} {ours[0]} rows {ours[1]:064x}"[:120])
        return True
    print(f"DIFFERENT {name} {reader}: {ours[0]} rows here, {theirs[0]} there{first_difference(ours, theirs)}")
    return False


def first_difference(ours, theirs):
    """A row that only one of them has, for the person who looks for the cause."""
    here, there = set(ours[2]) - set(theirs[2]), set(theirs[2]) - set(ours[2])
    parts = [f"; only {word}: {min(rows)}" for word, rows in (("here", here), ("there", there)) if rows]
    return "".join(parts)


def ask(flywheel, project, query):
    """Rows of a query, with every number as it is written."""
    command = [flywheel, "-C", project, "sql", query, "--output", "json"]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    if text.lstrip().startswith("["):
        return json.loads(text, parse_float=decimal.Decimal)
    return [json.loads(line, parse_float=decimal.Decimal) for line in text.splitlines() if line.strip()]


def folder(project, location):
    """The folder of a table, from a file URL or a path below the project."""
    if location.startswith("file:"):
        return urllib.parse.unquote(urllib.parse.urlparse(location).path)
    return str(pathlib.Path(project, location).resolve())


def connect_duckdb():
    package = pathlib.Path(duckdb_extension_delta.__file__).parent
    connection = duckdb.connect()
    connection.execute(f"load '{next(package.glob('extensions/*/delta.duckdb_extension'))}'")
    connection.execute("set TimeZone = 'UTC'")
    return connection


def duckdb_table(connection, path, version):
    quoted = path.replace("'", "''")
    return connection.execute(f"select * from delta_scan('{quoted}', version => {version})").arrow()


def polars_table(path, version):
    return polars.scan_delta(path, version=version).collect().to_arrow()


def arrow_schema(path, version):
    """The columns as the Delta log declares them."""
    schema = deltalake.DeltaTable(path, version=version).schema().to_arrow()
    return pa.schema(schema)


def our_rows(flywheel, project, name, schema):
    for row in ask(flywheel, project, f"select * from {name}"):
        missing = set(schema.names) ^ set(row)
        # Absent keys stand for nulls in JSON written without them; unknown keys are a difference.
        unknown = missing - set(schema.names)
        if unknown:
            raise SystemExit(f"{name} has columns that the log does not declare: {sorted(unknown)}")
        yield "\x1f".join(text(row.get(field.name), field.type) for field in schema)


def arrow_rows(table, schema):
    if isinstance(table, pa.RecordBatchReader):
        table = table.read_all()
    if set(table.schema.names) != set(schema.names):
        raise ValueError(f"columns {table.schema.names} instead of {schema.names}")
    for batch in table.select(schema.names).to_batches():
        for row in zip(*(column.to_pylist() for column in batch.columns)):
            yield "\x1f".join(text(value, field.type) for value, field in zip(row, schema))


def text(value, kind):
    """One spelling per value, whichever reader it came from."""
    if value is None:
        return "null"
    if pa.types.is_boolean(kind):
        return "true" if value else "false"
    if pa.types.is_integer(kind):
        return str(int(value))
    if pa.types.is_floating(kind):
        return repr(float(value))
    if pa.types.is_decimal(kind):
        return str(decimal.Decimal(str(value)).quantize(decimal.Decimal(1).scaleb(-kind.scale)))
    if pa.types.is_timestamp(kind):
        return str(microseconds(value))
    if pa.types.is_date(kind):
        return value[:10] if isinstance(value, str) else value.isoformat()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return value if isinstance(value, str) else value.hex()
    if isinstance(value, str) and pa.types.is_nested(kind):
        value = json.loads(value)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return "[" + "\x1e".join(text(item, kind.value_type) for item in value) + "]"
    if pa.types.is_struct(kind):
        return "{" + "\x1e".join(text(value.get(field.name), field.type) for field in kind) + "}"
    if pa.types.is_map(kind):
        pairs = value.items() if isinstance(value, dict) else value
        spelled = (text(key, kind.key_type) + "\x1d" + text(item, kind.item_type) for key, item in pairs)
        return "{" + "\x1e".join(sorted(spelled)) + "}"
    return json.dumps(str(value), ensure_ascii=False)


def microseconds(value):
    if isinstance(value, str):
        value = parse_timestamp(value)
    if value.tzinfo is None:
        value = value.replace(tzinfo=datetime.timezone.utc)
    return (value - EPOCH) // datetime.timedelta(microseconds=1)


def parse_timestamp(written):
    match = TIMESTAMP.match(written)
    if not match:
        raise ValueError(f"not a timestamp: {written!r}")
    *parts, fraction, zone = match.groups()
    micros = int(((fraction or "") + "000000")[:6])
    value = datetime.datetime(*map(int, parts), micros, tzinfo=datetime.timezone.utc)
    if zone and zone != "Z":
        sign = -1 if zone[0] == "-" else 1
        digits = zone[1:].replace(":", "")
        value -= sign * datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return value


def digest(rows):
    """Number of rows, the sum of their hashes, and the rows themselves."""
    kept, total = [], 0
    for row in rows:
        kept.append(row)
        total += int.from_bytes(hashlib.blake2b(row.encode(), digest_size=32).digest(), "big")
    return len(kept), total % MODULUS, kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
