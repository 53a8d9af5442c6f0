"""Clusters the rows that the example `customers` wrote, with scikit-learn.

    pip install scikit-learn==1.9.1 numpy
    python tests/parity/peer_customers.py FOLDER

Prints the same line as the example: name, inertia, CPU seconds. The same rows in float32, the same first centres, the
same 50 iterations.
"""

import os
import sys
from pathlib import Path

import numpy as np
import sklearn
from sklearn.cluster import KMeans

COLUMNS = CLUSTERS = 8
ITERATIONS = 50


def timed(name: str, model: KMeans, rows: np.ndarray) -> None:
    before = os.times()
    model.fit(rows)
    after = os.times()
    seconds = after.user + after.system - before.user - before.system
    print(f"{name} sklearn-{sklearn.__version__}\t{model.inertia_:.6f}\t{seconds:.2f}")


def main(folder: Path) -> None:
    rows = np.fromfile(folder / "rows.bin", np.float32).reshape(-1, COLUMNS)
    centres = np.fromfile(folder / "centres.bin", np.float32).reshape(-1, COLUMNS)
    same = dict(n_clusters=CLUSTERS, n_init=1, max_iter=ITERATIONS, tol=0.0, random_state=0)
    timed("k-means from given centres", KMeans(init=centres, **same), rows)
    timed("k-means++", KMeans(**same), rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
