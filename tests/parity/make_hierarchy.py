"""Makes hierarchy.json: reconciled forecasts of hierarchicalforecast. Run: python make_hierarchy.py

A total, two categories and five items; forecasts of 3 steps and residuals of 30 moments, both not coherent. The shrinkage
of MinT is checked against the formula of Schäfer & Strimmer 2005 that the package cites.
"""
import importlib.metadata, json, pathlib, warnings
import numpy as np
from hierarchicalforecast.methods import BottomUp, MinTrace, TopDown

warnings.simplefilter("ignore")
rng = np.random.default_rng(7)
groups = [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4]]
S = np.vstack([[1.0 if i in g else 0.0 for i in range(5)] for g in groups] + [np.eye(5)])
tags = dict(total=np.array([0]), category=np.array([1, 2]), item=np.arange(3, 8))
bottom = np.round(rng.uniform(2, 30, (5, 1)) + rng.normal(0, 2, (5, 30)), 3)
actual = S @ bottom
mixed = np.linalg.cholesky(0.4 * np.ones((8, 8)) + 0.6 * np.eye(8)) * 1.7
fitted = np.round(actual - mixed @ rng.normal(0, 1, (8, 30)), 3)
forecast = np.round(actual[:, -3:] + rng.normal(0, 3, (8, 3)), 3)
cases = []
def add(name, method, **more):
    made = method.fit_predict(S=S, y_hat=forecast.copy(), tags=tags, **more)
    cases.append(dict(method=name, mean=made["mean"].tolist()))

sample = dict(y_insample=actual, y_hat_insample=fitted)
cases.append(dict(method="bottom-up", mean=BottomUp().fit_predict(S=S, y_hat=forecast)["mean"].tolist()))
add("top-down", TopDown("forecast_proportions"))
add("top-down-average", TopDown("proportion_averages"), **sample)
for name, method in {"ols": "ols", "wls-structure": "wls_struct", "wls-variance": "wls_var", "mint": "mint_shrink"}.items():
    add(name, MinTrace(method), **({} if "var" not in method and "mint" not in method else sample))

def shrunk(r):
    n, t = r.shape
    x = r - r.mean(1, keepdims=True)
    z = x / (r.std(1, keepdims=True) + 2e-8)
    z = z - z.mean(1, keepdims=True)
    var, sq = 0.0, 0.0
    for i in range(n):
        for j in range(i):
            w = z[i] * z[j]
            var += ((w - w.mean()) ** 2).sum()
            sq += w.mean() ** 2
    lam = min(max(var / (t * (t - 1)) / (sq + 2e-8), 0), 1)
    W = x @ x.T / (t - 1)
    return lam, np.where(np.eye(n) > 0, np.maximum(W, 2e-8), (1 - lam) * W)
mint = MinTrace("mint_shrink")
lam, W = shrunk(actual - fitted)
P, theirs = mint._get_PW_matrices(S=S, y_hat=forecast, **sample)
print(lam, np.abs(W - theirs).max())
assert np.allclose(W, theirs, atol=1e-9)
versions = {name: importlib.metadata.version(name) for name in ("hierarchicalforecast", "numpy")}
made = dict(versions=versions, groups=groups, forecast=forecast.tolist(), residuals=(actual - fitted).tolist(),
            actual=actual.tolist(), shrinkage=lam, cases=cases)
pathlib.Path(__file__).with_name("hierarchy.json").write_text(json.dumps(made, indent=None) + "\n")
