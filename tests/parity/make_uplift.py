"""Makes uplift.json: S-, T- and X-learners by scikit-learn, and the Qini curve by plain numpy. Run: python make_uplift.py

The experiment is drawn here from a seed. Columns are standardised within each fit, as ours are. S has the products of the treatment and
each feature among its columns, without which it could tell nobody apart.
"""
import json, pathlib
import numpy as np, sklearn
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(31)
n = 900
x = np.round(np.column_stack([rng.normal(0, 1, n), rng.normal(50, 20, n), rng.uniform(size=n) < 0.3]), 3).astype(float)
treated = rng.uniform(size=n) < 0.4
odds = -1 + 0.6 * x[:, 0] + treated * (0.3 + 0.8 * x[:, 2] - 0.02 * (x[:, 1] - 50))
happened = rng.uniform(size=n) < 1 / (1 + np.exp(-odds))
logistic = lambda a, b: make_pipeline(StandardScaler(), LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000)).fit(a, b)
chance = lambda model, rows: model.predict_proba(rows)[:, 1]
ridge = lambda a, b: make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(a, b)
both = lambda arm: np.column_stack([x, arm, x * arm[:, None]])
one = logistic(both(treated.astype(float)), happened)
s = chance(one, both(np.ones(n))) - chance(one, both(np.zeros(n)))
m1, m0 = logistic(x[treated], happened[treated]), logistic(x[~treated], happened[~treated])
t = chance(m1, x) - chance(m0, x)
t1 = ridge(x[treated], happened[treated] - chance(m0, x[treated]))
t0 = ridge(x[~treated], chance(m1, x[~treated]) - happened[~treated])
share = treated.mean()
crossed = share * t0.predict(x) + (1 - share) * t1.predict(x)


def qini(score):
    order = np.argsort(-score, kind="stable")
    w, y = treated[order], happened[order]
    gain = [0.0]
    for k in range(1, n + 1):
        a, b = w[:k].sum(), k - w[:k].sum()
        gain.append((y[:k][w[:k]].sum() - y[:k][~w[:k]].sum() * (a / b if b else w.sum() / (~w).sum())) / w.sum())
    gain = np.array(gain)
    return dict(area=float(np.trapezoid(gain, dx=1 / n) - gain[-1] / 2), effect=float(gain[-1]), thirty=float(gain[round(0.3 * n)]))


made = dict(versions=dict(numpy=np.__version__, sklearn=sklearn.__version__), x=x.ravel().tolist(), treated=treated.tolist(), happened=happened.tolist(),
            s=s.tolist(), t=t.tolist(), crossed=crossed.tolist(), qini=qini(t))
pathlib.Path(__file__).with_name("uplift.json").write_text(json.dumps(made) + "\n")
print(made["qini"])
