"""Judges implicit's ALS on the train and test pairs that the example `online_retail` wrote.

    pip install implicit==0.7.3 numpy scipy
    python tests/parity/peer_online_retail.py FOLDER

Prints the same line as the example: name, ndcg@10 new, recall@20 new, ndcg@10 all, recall@20 all,
fit seconds. Same protocol: full ranking, recall over all items to be found, users with something
to be found.
"""

import sys
import time
from pathlib import Path

import implicit
import numpy as np
from scipy.sparse import csr_matrix

RECALL_AT, NDCG_AT = 20, 10


def pairs(path: Path) -> np.ndarray:
    return np.loadtxt(path, dtype=np.int64, delimiter="\t").reshape(-1, 2)


def matrix(rows: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((np.ones(len(rows), dtype=np.float32), (rows[:, 0], rows[:, 1])), shape)


def judge(scores: np.ndarray, owned: np.ndarray, sought: np.ndarray, new: bool) -> tuple[float, float]:
    scores, sought = scores.copy(), sought.copy()
    if new:
        scores[owned], sought[owned] = -np.inf, False
    count = sought.sum(axis=1)
    scores, sought, count = scores[count > 0], sought[count > 0], count[count > 0]
    top = np.argsort(-scores, axis=1, kind="stable")[:, :RECALL_AT]
    hits = np.take_along_axis(sought, top, axis=1)
    gain = 1.0 / np.log2(np.arange(2, NDCG_AT + 2))
    best = np.array([gain[: min(n, NDCG_AT)].sum() for n in count])
    ndcg = (hits[:, :NDCG_AT] * gain).sum(axis=1) / best
    return float(ndcg.mean()), float((hits.sum(axis=1) / count).mean())


def main(folder: Path) -> None:
    train, test = pairs(folder / "train.tsv"), pairs(folder / "test.tsv")
    shape = tuple(int(max(train[:, axis].max(), test[:, axis].max())) + 1 for axis in (0, 1))
    owned, sought = matrix(train, shape), matrix(test, shape)
    started = time.perf_counter()
    model = implicit.als.AlternatingLeastSquares(factors=64, alpha=5.0, random_state=0)
    model.fit(owned, show_progress=False)
    seconds = time.perf_counter() - started
    users = np.unique(test[:, 0])
    scores = model.user_factors[users] @ model.item_factors.T
    known = np.asarray(owned.sum(axis=0)).ravel() > 0
    scores[:, ~known] = -np.inf
    had, wanted = owned[users].toarray() > 0, sought[users].toarray() > 0
    new, every = judge(scores, had, wanted, True), judge(scores, had, wanted, False)
    figures = "\t".join(f"{figure:.4f}" for figure in (*new, *every))
    print(f"implicit-als-{implicit.__version__}\t{figures}\t{seconds:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
