"""Makes tests/parity/bpr.json.

    python make_bpr.py > bpr.json          with numpy 2.3 and implicit 0.7.3 (scipy 1.16)

`triples` are steps of LearnBPR (Rendle et al. 2009, figure 4), taken by numpy in single precision; the last number of a user
stays 1 as in implicit. `quality` is a made-up shop of two tastes and how well implicit's BPR ranks what was held back, over all
items that a user does not have.
"""

import json
import os
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import scipy.sparse as sp
from implicit.bpr import BayesianPersonalizedRanking

rng = np.random.default_rng(11)


def steps():
    factors, users, items = 5, 4, 7
    rate, penalty = np.float32(0.05), np.float32(0.01)
    u = rng.normal(0, 0.3, (users, factors + 1)).astype(np.float32)
    v = rng.normal(0, 0.3, (items, factors + 1)).astype(np.float32)
    u[:, -1] = 1.0
    made = {
        "factors": factors,
        "learning_rate": float(rate),
        "penalty": float(penalty),
        "users": u.tolist(),
        "items": v.tolist(),
    }
    triples = []
    for _ in range(300):
        user = int(rng.integers(users))
        had, other = (int(i) for i in rng.choice(items, 2, replace=False))
        triples.append((user, had, other))
        person, i, j = u[user].copy(), v[had].copy(), v[other].copy()
        pull = np.float32(1) / (np.float32(1) + np.exp(person @ i - person @ j))
        u[user, :-1] += rate * (pull * (i - j) - penalty * person)[:-1]
        v[had] += rate * (pull * person - penalty * i)
        v[other] += rate * (-pull * person - penalty * j)
    return made | {"triples": triples, "users_after": u.tolist(), "items_after": v.tolist()}


def quality():
    users, items, each = 300, 60, 14
    cells, held = [], []
    for user in range(users):
        liked = np.where(np.arange(items) % 3 == user % 3, 20.0, 1.0) / (1 + np.arange(items) % 10)
        had = rng.choice(items, each, replace=False, p=liked / liked.sum())
        cells += [(user, int(item)) for item in had[:-2]]
        held += [(user, int(item)) for item in had[-2:]]
    rows, columns = zip(*cells)
    matrix = sp.csr_matrix((np.ones(len(cells), np.float32), (rows, columns)), (users, items))
    model = BayesianPersonalizedRanking(
        factors=16, learning_rate=0.05, regularization=0.01, iterations=60, num_threads=1, random_state=3
    )
    model.fit(matrix, show_progress=False)
    ahead = pairs = 0
    for user, item in held:
        scores = model.item_factors @ model.user_factors[user]
        hidden = {other for person, other in held if person == user}
        hidden |= set(matrix[user].indices.tolist())
        others = [other for other in range(items) if other not in hidden]
        ahead += sum(scores[other] < scores[item] for other in others)
        pairs += len(others)
    return {
        "users": users,
        "items": items,
        "cells": cells,
        "held": held,
        "implicit_auc": float(ahead / pairs),
    }


json.dump(steps() | {"quality": quality()}, sys.stdout)
