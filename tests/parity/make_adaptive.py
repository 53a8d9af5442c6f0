"""Makes tests/parity/adaptive.json: the levels of adaptive conformal intervals (Gibbs & Candès 2021), by numpy.

    pip install numpy==2.4.6
    python tests/parity/make_adaptive.py

`levels[t]` is the share outside that the interval of step t is asked for, before its truth is known: in closed form
alpha + gamma * sum over s < t of (alpha - missed[s]).
"""

import json
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(20261130)


def case(inside, gamma, chance, steps=400):
    missed = RNG.random(steps) < chance
    alpha = 1 - inside
    moved = np.concatenate([[0.0], np.cumsum(alpha - missed.astype(float))[:-1]])
    return {
        "inside": inside,
        "gamma": gamma,
        "missed": missed.tolist(),
        "levels": (alpha + gamma * moved).tolist(),
    }


def main():
    cases = [case(0.9, 0.005, 0.1), case(0.8, 0.01, 0.5), case(0.95, 0.05, 0.02)]
    made = {"made_by": "tests/parity/make_adaptive.py", "numpy": np.__version__, "cases": cases}
    Path(__file__).with_name("adaptive.json").write_text(json.dumps(made) + "\n")


main()
