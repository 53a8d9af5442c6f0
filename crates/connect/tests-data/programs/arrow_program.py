"""A program of our own protocol, for tests: it reads and writes the Parquet file `path` of its config."""

import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq


def say(**words):
    sys.stdout.buffer.write(json.dumps(words).encode() + b"\n")
    sys.stdout.buffer.flush()


def read(request, path):
    done = request["position"] or 0
    for batch in pq.read_table(path).slice(done).to_batches(max_chunksize=request["batch_rows"]):
        with pa.ipc.new_stream(sys.stdout.buffer, batch.schema) as stream:
            stream.write_batch(batch)
        done += len(batch)
        say(position=done)


def by_key(rows, key):
    """Rows in their order; of those with one key the last one, with what only earlier ones have."""
    merged = {}
    for row in rows:
        merged.setdefault(tuple(row[name] for name in key), {}).update(row)
    return list(merged.values())


def store(tables, path, key):
    if not tables:
        return
    if os.path.exists(path):
        tables = [pq.read_table(path), *tables]
    whole = pa.concat_tables(tables, promote_options="default")
    if key:
        rows = [row for table in tables for row in table.to_pylist()]
        whole = pa.Table.from_pylist(by_key(rows, key), whole.schema)
    pq.write_table(whole, path + ".new")
    os.rename(path + ".new", path)


def write(request, path):
    waiting = []
    while head := sys.stdin.buffer.peek(1)[:1]:
        if head == b"\xff":
            waiting.append(pa.ipc.open_stream(sys.stdin.buffer).read_all())
        else:
            commit = json.loads(sys.stdin.buffer.readline())["commit"]
            store(waiting, path, request["key"])
            waiting = []
            say(stored=commit)


def main():
    request = json.loads(sys.stdin.buffer.readline())
    say(flywheel=1)
    path = request["config"]["path"]
    if request["verb"] == "describe":
        say(stream={"name": "t"})
        schema = pq.read_schema(path)
        with pa.ipc.new_stream(sys.stdout.buffer, schema):
            pass
    elif request["verb"] == "read":
        read(request, path)
    elif request["verb"] == "write":
        write(request, path)


main()
