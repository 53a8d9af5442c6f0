"""Makes tests/parity/hours.json.

    python make_hours.py > hours.json          with numpy 2.4.6 and scipy 1.17.1

Counts of made-up people by hour, and what scipy's Dirichlet-multinomial says of them: log-likelihoods (without the coefficient of a
sequence's order), the concentration of greatest likelihood, the mean of each posterior and the window of three hours with the largest.
"""

import json
import sys

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from scipy.stats import dirichlet_multinomial

rng = np.random.default_rng(8)
HOURS, UNITS = 24, 40
day = 1 + 3 * np.exp(-((np.arange(HOURS) - 19) ** 2) / 8) + np.exp(-((np.arange(HOURS) - 12) ** 2) / 4)
truth = rng.dirichlet(6 * day / day.sum(), UNITS)
counts = np.array([rng.multinomial(int(rng.integers(1, 40)), own) for own in truth])

shares = (np.full(HOURS, 1 / HOURS) + (counts / counts.sum(1, keepdims=True)).sum(0)) / (1 + UNITS)


def likelihood(pull):
    whole = dirichlet_multinomial.logpmf(counts, pull * shares, counts.sum(1)).sum()
    return float(whole - (gammaln(counts.sum(1) + 1) - gammaln(counts + 1).sum(1)).sum())


found = minimize_scalar(
    lambda x: -likelihood(np.exp(x)), bounds=(np.log(0.1), np.log(1e5)), method="bounded", options={"xatol": 1e-9}
)
pull = float(np.exp(found.x))
posterior = (counts + pull * shares) / (counts.sum(1, keepdims=True) + pull)
windows = posterior + np.roll(posterior, -1, 1) + np.roll(posterior, -2, 1)
json.dump(
    {
        "counts": counts.tolist(),
        "shares": shares.tolist(),
        "likelihoods": [(pull, likelihood(pull)) for pull in (0.5, 3.0, 20.0, 1000.0)],
        "pull": pull,
        "posterior": posterior.tolist(),
        "best": windows.argmax(1).tolist(),
    },
    sys.stdout,
)
