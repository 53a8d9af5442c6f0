"""Makes tests/parity/recommend.json: what scikit-learn and numpy say where our recommenders must agree.

    pip install scikit-learn==1.9.1 numpy scipy
    python tests/parity/make_recommend.py

The file holds inputs and outputs; the unit test beside the algorithms reads it.
"""

import json
import platform
import warnings
from pathlib import Path

import numpy as np
import scipy
import sklearn
from sklearn.decomposition import NMF
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics.pairwise import cosine_similarity, linear_kernel

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


def random_cells(users: int, items: int, share: float) -> list[list[float]]:
    kept = RNG.random((users, items)) < share
    kept[np.arange(users), RNG.integers(0, items, users)] = True
    values = RNG.integers(1, 6, (users, items))
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
    }
    path = Path(__file__).with_name("recommend.json")
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
