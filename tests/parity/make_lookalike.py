"""Makes lookalike.json: distances to the five nearest seeds, and to the mean seed, by scikit-learn. Run: python make_lookalike.py

Columns are standardised over all units; one has a single value, which scikit-learn leaves at 0 as we do.
"""
import json, pathlib
import numpy as np, sklearn
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(5)
n = 120
x = np.column_stack([rng.normal(3, 2, n), rng.integers(0, 2, n), rng.exponential(100, n), np.full(n, 7.0)]).round(6)
seeds = rng.uniform(size=n) < 0.25
scaled = StandardScaler().fit_transform(x)
near = NearestNeighbors(n_neighbors=5).fit(scaled[seeds]).kneighbors(scaled)[0].mean(axis=1)
to_mean = np.linalg.norm(scaled - scaled[seeds].mean(axis=0), axis=1)
made = dict(versions={"scikit-learn": sklearn.__version__}, features=x.ravel().tolist(), seeds=seeds.astype(float).tolist(), distances=near.tolist(), to_mean=to_mean.tolist())
pathlib.Path(__file__).with_name("lookalike.json").write_text(json.dumps(made) + "\n")
