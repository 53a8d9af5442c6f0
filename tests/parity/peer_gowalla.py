"""Judges implicit on Gowalla in the split of LightGCN, as the example `gowalla` judges ours.

    pip install implicit==0.7.3 numpy==2.4.6 scipy==1.17.1
    python tests/parity/peer_gowalla.py FOLDER ials|bm25

FOLDER holds train.txt, valid.txt and test.txt. Prints the same line as the example: name, recall@20, ndcg@20, CPU
seconds of the fit, CPU seconds of a list of 50 for everybody. Two threads of implicit, one of BLAS.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from pathlib import Path

import implicit
import numpy as np
from scipy.sparse import csr_matrix

LISTED, DEPTH, THREADS = 50, 20, 2


def pairs(path: Path) -> np.ndarray:
    rows = []
    for line in path.read_text().splitlines():
        user, *items = map(int, line.split())
        rows.extend((user, item) for item in items)
    return np.array(rows, dtype=np.int64)


def cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def main(folder: Path, name: str) -> None:
    train = np.concatenate([pairs(folder / "train.txt"), pairs(folder / "valid.txt")])
    test = pairs(folder / "test.txt")
    users, items = (int(max(train[:, axis].max(), test[:, axis].max())) + 1 for axis in (0, 1))
    ones = np.ones(len(train), dtype=np.float32)
    owned = csr_matrix((ones, (train[:, 0], train[:, 1])), (users, items))
    sought = [set() for _ in range(users)]
    for user, item in test:
        sought[user].add(int(item))
    models = {
        "ials": lambda: implicit.als.AlternatingLeastSquares(
            factors=128, alpha=40.0, regularization=10.0, random_state=0, num_threads=THREADS
        ),
        "bm25": lambda: implicit.nearest_neighbours.BM25Recommender(K=100, K1=1.2, B=0.75, num_threads=THREADS),
    }
    start = cpu_s()
    model = models[name]()
    model.fit(owned, show_progress=False)
    fitted = cpu_s()
    lists, _ = model.recommend(np.arange(users), owned, N=LISTED, filter_already_liked_items=True)
    listed = cpu_s()
    gain = 1.0 / np.log2(np.arange(2, DEPTH + 2))
    recall, ndcg = [], []
    for found, wanted in zip(lists[:, :DEPTH], sought):
        if wanted:
            hits = np.array([int(item) in wanted for item in found])
            recall.append(hits.sum() / len(wanted))
            ndcg.append((hits * gain[: len(hits)]).sum() / gain[: min(len(wanted), DEPTH)].sum())
    figures = f"{np.mean(recall):.4f}\t{np.mean(ndcg):.4f}\t{fitted - start:.2f}\t{listed - fitted:.2f}"
    print(f"implicit-{name}-{implicit.__version__}\t{figures}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
