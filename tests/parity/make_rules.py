"""Makes tests/parity/rules.json: what numpy says a list looks like after variety, caps and boosts (MMR).

    pip install numpy==2.4.6
    python tests/parity/make_rules.py

The file holds inputs and outputs; the unit test beside the rules reads it. Written from Carbonell & Goldstein 1998, with the
relevance 1 - place / n times the boost of an item, and without looking at the Rust code's loop.
"""

import json
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(20261130)


def mmr(similarity, boosts, diversity, groups, most, count):
    """The places of the chosen items in the ranked list, in order."""
    total = len(boosts)
    relevance = (1 - np.arange(total) / total) * boosts
    chosen = []
    while len(chosen) < count:
        worth = np.full(total, -np.inf)
        for item in range(total):
            if item in chosen:
                continue
            if most is not None and sum(groups[one] == groups[item] for one in chosen) >= most:
                continue
            nearest = max((similarity[item, one] for one in chosen), default=0.0)
            worth[item] = (1 - diversity) * relevance[item] - diversity * nearest
        if not np.isfinite(worth).any():
            break
        # Of equal worth the more relevant, then the higher ranked comes first.
        best = np.flatnonzero(worth == worth.max())
        chosen.append(int(max(best, key=lambda item: (relevance[item], -item))))
    return chosen


def case(total, width, diversity, most, boosted, count):
    vectors = RNG.normal(size=(total, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = np.clip(vectors @ vectors.T, 0, 1)
    groups = RNG.integers(0, 4, size=total)
    boosts = np.where(RNG.random(total) < 0.2, 1.7, 1.0) if boosted else np.ones(total)
    return {
        "vectors": vectors.tolist(),
        "groups": groups.tolist(),
        "boosts": boosts.tolist(),
        "diversity": diversity,
        "most": most,
        "count": count,
        "chosen": mmr(similarity, boosts, diversity, groups, most, count),
    }


def main():
    cases = [
        case(20, 3, 0.0, None, False, 10),
        case(20, 3, 0.3, None, False, 10),
        case(30, 5, 0.7, None, False, 12),
        case(30, 5, 1.0, None, False, 6),
        case(25, 4, 0.0, 2, False, 10),
        case(25, 4, 0.5, 2, True, 10),
        case(25, 4, 0.0, None, True, 25),
    ]
    made = {"made_by": "tests/parity/make_rules.py", "numpy": np.__version__, "cases": cases}
    Path(__file__).with_name("rules.json").write_text(json.dumps(made) + "\n")


main()
