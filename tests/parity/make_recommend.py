"""Makes tests/parity/recommend.json: what scikit-learn, numpy, scipy and implicit say where our recommenders must agree.

    pip install scikit-learn==1.9.1 implicit==0.7.3 numpy==2.4.6 scipy==1.17.1
    python tests/parity/make_recommend.py

The file holds inputs and outputs; the unit test beside the algorithms reads it.
"""

import json
import platform
import warnings
from pathlib import Path

import implicit
import numpy as np
import scipy
import sklearn
from implicit.cpu import _als
from implicit.nearest_neighbours import bm25_weight
from sklearn.decomposition import NMF
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity, linear_kernel

# The graph's and the factors' own, so that what was made before them stays as it is.
LINEAR_RNG = np.random.default_rng(20261127)
RNG = np.random.default_rng(20261120)
SEED_TEXTS = [
    "High-performance laptop",
    "Latest smartphone model",
    "Affordable tablet",
    "High-resolution monitor",
]
SEED_CELLS = [
    [0, 0, 5], [0, 1, 4], [0, 2, 3], [1, 0, 4], [1, 3, 5], [2, 1, 2], [2, 2, 3], [2, 3, 4],
]
SEED_MATRIX = [[5, 3, 0, 1], [4, 0, 0, 1], [1, 1, 0, 5], [1, 0, 0, 4], [0, 1, 5, 4]]
WORDS = (
    "mug plate lamp red blue ceramic wooden small large set_of 12 vintage garden kitchen x2 "
    "Crème brûlée naïve café straße ΣΊΣΥΦΟΣ a I 7 e-book t-light"
).split()


def tfidf(texts: list[str], stop_words: str | None) -> dict:
    vectorizer = TfidfVectorizer(stop_words=stop_words)
    rows = vectorizer.fit_transform(texts)
    return {
        "texts": texts,
        "stop_words": stop_words is not None,
        "terms": vectorizer.get_feature_names_out().tolist(),
        "rarity": vectorizer.idf_.tolist(),
        "similarity": linear_kernel(rows, rows).tolist(),
    }


def compat_lists(similarity: list[list[float]], count: int) -> list[list[int]]:
    """The article's list: sorted by similarity, ties in row order, the first one dropped."""
    order = [sorted(enumerate(row), key=lambda pair: pair[1], reverse=True) for row in similarity]
    return [[index for index, _ in row[1 : count + 1]] for row in order]


def random_texts(count: int) -> list[str]:
    punctuation = [" ", " ", "  ", ", ", "-", "/", ". "]
    return [
        "".join(
            RNG.choice(WORDS) + RNG.choice(punctuation) for _ in range(int(RNG.integers(0, 12)))
        )
        for _ in range(count)
    ]


def dense(cells: list[list[float]], users: int, items: int) -> np.ndarray:
    matrix = np.zeros((users, items))
    for user, item, value in cells:
        matrix[int(user), int(item)] = value
    return matrix


def user_neighbours(cells: list[list[float]], users: int, items: int, count: int) -> dict:
    matrix = dense(cells, users, items)
    similarity = cosine_similarity(matrix)
    lists = []
    for user in range(users):
        near = [other for other in np.argsort(-similarity[user], kind="stable") if other != user]
        mean = matrix[near[:count]].mean(axis=0)
        lists.append(
            [[int(item), float(mean[item])] for item in range(items) if matrix[user, item] == 0 and mean[item] > 0]
        )
    return {
        "cells": cells,
        "users": users,
        "items": items,
        "count": count,
        "similarity": similarity.tolist(),
        "item_similarity": cosine_similarity(matrix.T).tolist(),
        "new": lists,
    }


def random_cells(users: int, items: int, share: float, rng: np.random.Generator = RNG) -> list[list[float]]:
    kept = rng.random((users, items)) < share
    kept[np.arange(users), rng.integers(0, items, users)] = True
    values = rng.integers(1, 6, (users, items))
    return [[int(u), int(i), float(values[u, i])] for u, i in zip(*np.nonzero(kept))]


def nmf(cells: list[list[float]], users: int, items: int, rank: int, seeds: int) -> dict:
    matrix = dense(cells, users, items)
    best = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(seeds):
            model = NMF(rank, init="random", random_state=seed, tol=1e-10, max_iter=20_000)
            users_factor = model.fit_transform(matrix)
            if best is None or model.reconstruction_err_ < best[0]:
                best = (model.reconstruction_err_, users_factor @ model.components_)
    return {
        "cells": cells,
        "users": users,
        "items": items,
        "rank": rank,
        "error": float(best[0]),
        "predicted": best[1].tolist(),
    }


def ease(cells: list[list[float]], users: int, items: int, penalty: float) -> dict:
    matrix = (dense(cells, users, items) > 0).astype(float)
    inverse = np.linalg.inv(matrix.T @ matrix + penalty * np.eye(items))
    coefficients = -inverse / np.diag(inverse)
    np.fill_diagonal(coefficients, 0.0)
    return {
        "cells": cells,
        "users": users,
        "items": items,
        "penalty": penalty,
        "coefficients": coefficients.tolist(),
        "scores": (matrix @ coefficients).tolist(),
    }


def linear(cells: list[list[float]], users: int, items: int, weights: np.ndarray, **parameters: float) -> dict:
    presence = (dense(cells, users, items) > 0).astype(float)
    return {
        "cells": cells,
        "users": users,
        "items": items,
        **parameters,
        "weights": weights.tolist(),
        "scores": (presence @ weights).tolist(),
    }


def gf_cf(cells: list[list[float]], users: int, items: int, factors: int, low_pass: float, beta: float = 0.5) -> dict:
    """Shen et al. 2021, eq. 12, by the full SVD, on the pairs of items that somebody has both of; theirs is beta 0.5."""
    presence = (dense(cells, users, items) > 0).astype(float)
    of_users, of_items = np.maximum(presence.sum(axis=1), 1), np.maximum(presence.sum(axis=0), 1)
    normal = presence / np.sqrt(of_users)[:, None] / np.sqrt(of_items)
    right = np.linalg.svd(normal, full_matrices=False)[2][:factors]
    ideal = (right.T @ right) / np.sqrt(of_items)[:, None] * np.sqrt(of_items)
    smooth = (normal.T @ normal) * of_items[:, None] ** (beta - 0.5) * of_items ** (0.5 - beta)
    weights = np.where(presence.T @ presence > 0, smooth + low_pass * ideal, 0.0)
    return linear(cells, users, items, weights, factors=factors, low_pass=low_pass, beta=beta)


def rp3beta(cells: list[list[float]], users: int, items: int, alpha: float, beta: float) -> dict:
    """Paudel et al. 2017: transition matrices to the power alpha, popularity to the power beta."""
    presence = scipy.sparse.csr_array((dense(cells, users, items) > 0).astype(float))
    of_users, of_items = (np.maximum(presence.sum(axis=axis), 1) for axis in (1, 0))
    to_items = (scipy.sparse.diags_array(1 / of_users) @ presence).power(alpha)
    to_users = (scipy.sparse.diags_array(1 / of_items) @ presence.T).power(alpha)
    weights = (to_users @ to_items @ scipy.sparse.diags_array(of_items**-beta)).toarray()
    np.fill_diagonal(weights, 0.0)
    return linear(cells, users, items, weights, alpha=alpha, beta=beta)


def bm25(cells: list[list[float]], users: int, items: int) -> dict:
    """Item neighbours by the dot product of implicit's BM25 weights, items as documents."""
    presence = (dense(cells, users, items) > 0).astype(float)
    weighted = bm25_weight(scipy.sparse.coo_matrix(presence.T), K1=1.2, B=0.75).toarray()
    weights = weighted @ weighted.T
    np.fill_diagonal(weights, 0.0)
    return linear(cells, users, items, weights)


def ials(cells: list[list[float]], users: int, items: int, factors: int, penalty: float, confidence: float) -> dict:
    """One half of a sweep of implicit's ALS from given factors: three steps of CG, and the exact solution."""
    counts = scipy.sparse.csr_matrix((dense(cells, users, items) * confidence).astype(np.float32))
    fixed = LINEAR_RNG.normal(0, 0.3, (items, factors)).astype(np.float32)
    start = LINEAR_RNG.normal(0, 0.1, (users, factors)).astype(np.float32)
    stepped, exact = start.copy(), start.copy()
    _als.least_squares_cg(counts, stepped, fixed, penalty, num_threads=1, cg_steps=3)
    _als.least_squares(counts, exact, fixed, penalty, num_threads=1)
    return {
        "cells": cells,
        "users": users,
        "items": items,
        "factors": factors,
        "penalty": penalty,
        "confidence": confidence,
        "fixed": fixed.ravel().tolist(),
        "start": start.ravel().tolist(),
        "stepped": stepped.ravel().tolist(),
        "exact": exact.ravel().tolist(),
    }


def linear_cells(users: int, items: int, share: float) -> tuple[list[list[float]], int, int]:
    return random_cells(users, items, share, LINEAR_RNG), users, items


def main() -> None:
    seed_tfidf = tfidf(SEED_TEXTS, "english")
    seed_tfidf["compat"] = compat_lists(seed_tfidf["similarity"], 2)
    seed_nmf = [[u, i, v] for u, row in enumerate(SEED_MATRIX) for i, v in enumerate(row) if v]
    content = {
        "made_with": {
            "python": platform.python_version(),
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "implicit": implicit.__version__,
        },
        "tfidf": [seed_tfidf, *(tfidf(random_texts(n), None) for n in (8, 25))],
        "users": [
            user_neighbours(SEED_CELLS, 3, 4, 2),
            *(user_neighbours(random_cells(u, i, 0.4), u, i, k) for u, i, k in ((12, 9, 3), (30, 15, 5))),
        ],
        "nmf": [
            nmf(seed_nmf, 5, 4, 2, 20),
            nmf(random_cells(12, 8, 0.7), 12, 8, 2, 20),
        ],
        "ease": [ease(random_cells(u, i, 0.3), u, i, p) for u, i, p in ((20, 10, 1.0), (60, 25, 50.0))],
        "gf_cf": [
            gf_cf(*linear_cells(20, 12, 0.3), 3, 0.3),
            gf_cf(*linear_cells(60, 40, 0.08), 5, 1.5),
            gf_cf(*linear_cells(50, 30, 0.12), 4, 0.3, 0.3),
        ],
        "rp3beta": [
            rp3beta(*linear_cells(20, 12, 0.3), 1.0, 0.3),
            rp3beta(*linear_cells(60, 50, 0.06), 1.4, 0.7),
        ],
        "bm25": [bm25(*linear_cells(20, 12, 0.3)), bm25(*linear_cells(60, 30, 0.1))],
        "ials": [
            ials(*linear_cells(20, 12, 0.3), 4, 0.5, 10.0),
            ials(*linear_cells(70, 25, 0.1), 17, 2.0, 4.0),
        ],
    }
    path = Path(__file__).with_name("recommend.json")
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
