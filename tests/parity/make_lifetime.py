"""Makes lifetime.json: what lifetimes, scipy and mpmath say. Run: python make_lifetime.py

Its customers are drawn here from a seed; no row of a real data set is kept. BG/BB is also fitted to the donors that the
lifetimes package carries, of which only the fitted numbers are kept.
"""
import json, pathlib, warnings
import lifetimes, mpmath, numpy as np, scipy
from lifetimes import BetaGeoBetaBinomFitter, BetaGeoFitter, GammaGammaFitter, ModifiedBetaGeoFitter, ParetoNBDFitter
from lifetimes.datasets import load_donations
from scipy.special import betaln, gammaln

warnings.filterwarnings("ignore")
mpmath.mp.dps = 40
rng = np.random.default_rng(11)


def customers(count):
    """Buyers by a Gamma rate who leave at a Gamma-exponential moment, in weeks, to one decimal."""
    age = np.round(rng.uniform(20, 52, count), 1)
    rate, end = rng.gamma(0.9, 1 / 8.0, count), rng.exponential(1 / rng.gamma(0.8, 1 / 15.0, count))
    made = []
    for T, l, e in zip(age, rate, end):
        at, x, last = rng.exponential(1 / l), 0, 0.0
        while at < min(T, e):
            x, last, at = x + 1, at, at + rng.exponential(1 / l)
        made.append((x, min(max(round(last, 1), 0.1), T) if x else 0.0, T))
    return np.array(made)


def asked(fit, names, points, horizons):
    x, tx, T = points.T
    return dict(parameters=[float(fit.params_[n]) for n in names],
                alive=np.ravel(fit.conditional_probability_alive(x, tx, T)).tolist(),
                expected=[np.ravel(fit.conditional_expected_number_of_purchases_up_to_time(h, x, tx, T)).tolist() for h in horizons])


data = customers(800)
x, tx, T = data.T
points = np.concatenate([data[:40], data[np.argsort(-x)[:5]]])
horizons, models = [1.0, 13.0, 52.0], {}
for name, fitter, names, more in [("bg-nbd", BetaGeoFitter, "r alpha a b", dict(tol=1e-8)),
                                  ("mbg-nbd", ModifiedBetaGeoFitter, "r alpha a b", dict(tol=1e-8)),
                                  ("pareto-nbd", ParetoNBDFitter, "r alpha s beta", dict(tol=1e-10, maxiter=20000))]:
    fit = fitter()
    fit.fit(x, tx, T, **more)
    models[name] = asked(fit, names.split(), points, horizons)
    if name != "pareto-nbd":
        models[name]["errors"] = fit.standard_errors_.tolist()
    else:
        models[name]["log_likelihood"] = float(fit._conditional_log_likelihood(fit.params_.values, x, tx, T).sum())

# BG/BB: the donors of Fader, Hardie & Shang 2010, only what was fitted to them.
d = load_donations()
fit = BetaGeoBetaBinomFitter()
fit.fit(d["frequency"], d["recency"], d["periods"], d["weights"], tol=1e-8)
shown = np.array([(0, 0, 6), (1, 2, 6), (3, 6, 6), (6, 6, 6), (2, 3, 6)])
sx, st, sn = shown.T
donors = dict(points=shown.tolist(), parameters=fit.params_.tolist(),
              alive=np.ravel(fit.conditional_probability_alive(1, sx, st, sn)).tolist(),
              expected=[np.ravel(fit.conditional_expected_number_of_purchases_up_to_time(m, sx, st, sn)).tolist() for m in (1, 5)])
# And a fit to drawn people, whose rows can be kept.
ps, qs = rng.beta(1.2, 0.75, 4000), rng.beta(0.66, 2.8, 4000)
rows = {}
for p, q in zip(ps, qs):
    left = rng.geometric(q) - 1
    seen = [i for i in range(1, 9) if i <= left and rng.random() < p]
    key = (len(seen), seen[-1] if seen else 0, 8)
    rows[key] = rows.get(key, 0) + 1
counted = np.array([(*k, n) for k, n in sorted(rows.items())])
fit = BetaGeoBetaBinomFitter()
fit.fit(*counted.T, tol=1e-8)
drawn = dict(rows=counted.tolist(), parameters=fit.params_.tolist())

spend = np.round(rng.gamma(6.0 * np.maximum(x, 1), 1 / rng.gamma(3.8, 1 / 15.5, len(x)) / np.maximum(x, 1)), 2)
many = x > 0
fit = GammaGammaFitter()
fit.fit(x[many], spend[many], tol=1e-8)
money = dict(spend=spend.tolist(), parameters=fit.params_.tolist(), errors=fit.standard_errors_.tolist(),
             expected=fit.conditional_expected_average_profit(x[:40], spend[:40]).tolist())

hyper = []
for a, b, z in [(1.2, 0.5, 0.1), (1.2, 0.5, 0.9), (3.5, 1.7, 0.5), (3.5, 1.7, 0.999), (0.8, 1.6, 0.99999), (250.0, 249.0, 0.3),
                (2500.0, 1.6, 0.97), (2500.0, 2499.5, 0.6), (40.0, 0.2, 0.0), (1e5, 3.0, 0.9999)]:
    hyper.append([a, b, z, float(mpmath.log(mpmath.hyp2f1(a, b, a + 1, z)))])
betas = [[p, q, float(betaln(p, q))] for p, q in [(0.1, 0.2), (1, 1), (3.5, 80.0), (1e-3, 1e4), (2e5, 3e5)]]
gammas = [[v, float(gammaln(v))] for v in (1e-6, 0.3, 1.0, 2.5, 170.0, 1e6)]

made = dict(versions=dict(lifetimes=lifetimes.__version__, scipy=scipy.__version__, mpmath=mpmath.__version__, numpy=np.__version__),
            rows=data.tolist(), points=points.tolist(), horizons=horizons, models=models, donors=donors, drawn=drawn, money=money,
            hyper=hyper, ln_beta=betas, ln_gamma=gammas)
pathlib.Path(__file__).with_name("lifetime.json").write_text(json.dumps(made) + "\n")
