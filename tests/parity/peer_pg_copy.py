"""What `cargo xtask bench pg-copy` asks of others.

peer_pg_copy.py dlt BACKEND URL FOLDER   copies orders_src into a Delta table below FOLDER with dlt
peer_pg_copy.py sums KIND PATH QUERY     the query's answer over a Delta table or a CSV file, by DuckDB
"""

import os
import sys


def dlt_copy(backend, url, folder):
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.sources.sql_database import sql_table

    table = sql_table(
        credentials=url,
        table="orders_src",
        schema="public",
        backend=backend,
        chunk_size=100_000,
        reflection_level="full_with_precision",
        backend_kwargs={"return_type": "arrow"} if backend == "connectorx" else None,
    )
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=os.path.join(folder, "work"),
        destination=dlt.destinations.filesystem(bucket_url="file://" + folder),
        dataset_name="shop",
    )
    print(pipeline.run(table, table_format="delta", write_disposition="replace"))


def sums(kind, path, query):
    import duckdb

    db = duckdb.connect()
    db.execute("set timezone to 'UTC'")
    if kind == "delta":
        from deltalake import DeltaTable

        files = [name.removeprefix("file://") for name in DeltaTable(path).file_uris()]
        rows = f"read_parquet({files!r})"
    else:
        rows = f"read_csv({path!r}, header = true)"
    text = query.replace("{}", rows)
    cells = db.execute(text).fetchone()
    print("|".join(str(cell) for cell in cells))


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"dlt": dlt_copy, "sums": sums}[what](*arguments)
