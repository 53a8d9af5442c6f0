"""Makes segment.json: what scikit-learn says. Run: python make_segment.py"""
import json, pathlib
import numpy as np, sklearn
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

def case(name, x, k, scaled):
    z = StandardScaler().fit_transform(x) if scaled else x
    fit = min((KMeans(k, n_init=50, random_state=s, tol=0).fit(z) for s in range(4)), key=lambda m: m.inertia_)
    return dict(name=name, rows=x.ravel().tolist(), columns=x.shape[1], clusters=k, scaled=scaled,
                inertia=fit.inertia_, labels=fit.labels_.tolist())

rng = np.random.default_rng(3)
seed = np.array([[5, 500, 10], [2, 100, 40], [10, 1200, 5], [1, 50, 90], [4, 300, 20]], float)
blobs = np.round(np.concatenate([rng.normal(c, 0.6, (40, 2)) for c in ([0, 0], [4, 0], [0, 5], [6, 6])]), 3)
flat = np.round(np.c_[rng.normal(0, 1, 120), rng.normal(1000, 300, 120), np.full(120, 7.0)], 3)
cases = [case("seed raw", seed, 3, False), case("seed standardised", seed, 3, True), case("blobs", blobs, 4, False),
         case("blobs standardised", blobs, 4, True), case("constant column", flat, 3, True), case("one cluster", blobs, 1, False)]
made = dict(versions=dict(sklearn=sklearn.__version__, numpy=np.__version__), kmeans=cases)
pathlib.Path(__file__).with_name("segment.json").write_text(json.dumps(made) + "\n")
