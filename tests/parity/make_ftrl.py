"""Makes ftrl.json: algorithm 1 of McMahan et al. 2013 by plain numpy, and river's log loss. Run: python make_ftrl.py

river applies each gradient one event late, so that its numbers differ from the paper's; only its score is kept.
"""
import json, math, pathlib
import numpy as np, river
from river import linear_model, optim

rng = np.random.default_rng(13)
x = np.round(rng.normal(0, 1, (300, 4)), 3)
y = rng.uniform(size=300) < 1 / (1 + np.exp(-(x @ [1.5, -1, 0.5, 0] - 0.5)))


def by_river(rate, start):
    model = linear_model.LogisticRegression(optim.FTRLProximal(alpha=rate, beta=start, l1=0.0, l2=0.0), intercept_lr=0.0)
    loss = 0.0
    for a, b in zip(x, y):
        row = dict(enumerate([*a, 1.0]))
        p = model.predict_proba_one(row)[True]
        loss -= math.log(p if b else 1 - p)
        model.learn_one(row, bool(b))
    return loss / len(y)


def by_numpy(rate, start, lasso, ridge):
    z, n, said = np.zeros(5), np.zeros(5), []
    lasso, ridge = np.array([lasso] * 4 + [0.0]), np.array([ridge] * 4 + [0.0])
    weights = lambda: np.where(np.abs(z) <= lasso, 0.0, -(z - np.sign(z) * lasso) / ((start + np.sqrt(n)) / rate + ridge))
    for a, b in zip(x, y):
        row, w = np.append(a, 1.0), weights()
        p = 1 / (1 + np.exp(-(row @ w)))
        said.append(float(p))
        g = (p - b) * row
        z += g - (np.sqrt(n + g * g) - np.sqrt(n)) / rate * w
        n += g * g
    return dict(rate=rate, start=start, lasso=float(lasso[0]), ridge=float(ridge[0]), said=said, weights=weights().tolist())


made = dict(versions=dict(river=river.__version__, numpy=np.__version__), x=x.tolist(), y=y.tolist(),
            river=dict(rate=0.2, start=1.0, log_loss=by_river(0.2, 1.0)), pulled=[by_numpy(0.3, 1.0, 0.0, 0.0), by_numpy(0.1, 0.5, 6.0, 2.0)])
pathlib.Path(__file__).with_name("ftrl.json").write_text(json.dumps(made) + "\n")
