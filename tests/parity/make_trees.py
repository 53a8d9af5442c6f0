"""Makes trees.json: boosted trees and logistic regression by scikit-learn, AUC by it. Run: python make_trees.py

Columns have fewer than 255 values, some missing, so that scikit-learn's bins are ours. Its gradients are 32 bits wide.
"""
import json, pathlib
import numpy as np, sklearn
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(11)
n = 400
x = np.column_stack([rng.integers(0, 60, n), np.round(rng.normal(size=n), 1), rng.integers(0, 2, n), np.round(rng.uniform(0, 9, n), 1)]).astype(float)
odds = np.where(x[:, 0] > 30, 1.2, -1.0) + x[:, 1] * np.where(x[:, 2] > 0, 1.0, -0.5)
happened = (rng.uniform(size=n) < 1 / (1 + np.exp(-odds))).astype(float)
number = np.round(odds + x[:, 3] + rng.normal(0, 0.3, n), 3)
logistic = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, tol=1e-12, max_iter=1000)).fit(x, happened)
whole = x.copy()
x[rng.uniform(size=n) < 0.1, 3] = np.nan
common = dict(learning_rate=0.1, max_iter=20, max_leaf_nodes=6, min_samples_leaf=20, l2_regularization=1.0, early_stopping=False)
trees = HistGradientBoostingClassifier(**common).fit(x, happened)
squares = HistGradientBoostingRegressor(**common).fit(x, number)
chances = trees.predict_proba(x)[:, 1]
weights = np.round(rng.uniform(0.1, 20, n), 2)
heavy = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, tol=1e-12, max_iter=1000)).fit(whole, happened, logisticregression__sample_weight=weights)
heavy_trees = HistGradientBoostingClassifier(**common).fit(x, happened, sample_weight=weights)
weighted = dict(weights=weights.tolist(), logistic=heavy.predict_proba(whole)[:, 1].tolist(), chances=heavy_trees.predict_proba(x)[:, 1].tolist())
lists = lambda a: [[None if np.isnan(v) else v for v in row] for row in a.tolist()]
made = dict(versions={"scikit-learn": sklearn.__version__}, features=lists(x), whole=lists(whole), happened=happened.tolist(), number=number.tolist(),
            chances=chances.tolist(), numbers=squares.predict(x).tolist(), logistic=logistic.predict_proba(whole)[:, 1].tolist(),
            weighted=weighted, auc=roc_auc_score(happened, np.round(chances, 1)), log_loss=log_loss(happened, chances))
pathlib.Path(__file__).with_name("trees.json").write_text(json.dumps(made) + "\n")
