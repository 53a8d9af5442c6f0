"""Writes what dbt makes of the project `library`, to be compared with what we make of it.

    pip install dbt-core==1.11.16 dbt-duckdb==1.11.1
    python tests/dbt/make_expected.py

Each model becomes a file of `expected/`, a line per row in the order of the first column. Sums of money are
rounded to two digits, so that two engines that add in another order agree.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import duckdb

HERE = pathlib.Path(__file__).parent
MODELS = ["loans", "members", "raw_fees", "raw_loans", "raw_members", "stg_fees", "stg_loans", "stg_members"]


def text(value):
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value)


def main():
    with tempfile.TemporaryDirectory() as folder:
        project = pathlib.Path(folder) / "library"
        shutil.copytree(HERE / "library", project)
        dbt = pathlib.Path(sys.executable).with_name("dbt")
        subprocess.run([dbt, "build", "--profiles-dir", "."], cwd=project, check=True)
        results = json.loads((project / "target" / "run_results.json").read_text())["results"]
        nodes = sorted(f"{r['unique_id'].split('.')[0]} {r['status']}" for r in results)
        out = HERE / "expected"
        out.mkdir(exist_ok=True)
        counts = {node: nodes.count(node) for node in sorted(set(nodes))}
        (out / "nodes.json").write_text(json.dumps(counts, indent=1) + "\n")
        database = duckdb.connect(str(project / "library.duckdb"), read_only=True)
        for model in MODELS:
            rows = database.execute(f"select * from main.{model} order by 1").fetchall()
            lines = ["|".join(text(value) for value in row) for row in rows]
            (out / f"{model}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
