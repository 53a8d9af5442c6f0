"""Makes forecast.json: what statsmodels and plain numpy say. Run: python make_forecast.py"""
import json, pathlib, warnings
import numpy as np, pandas, scipy, statsmodels
from statsmodels.tsa.forecasting.theta import ThetaModel
from statsmodels.tsa.holtwinters import ExponentialSmoothing

warnings.simplefilter("ignore")
rng = np.random.default_rng(1)
t = np.arange(72)
series = dict(
    seed=np.array([200, 220, 240, 260, 250, 300, 320, 340, 360, 380, 400, 420.0]),
    walk=np.round(50 + np.cumsum(rng.normal(0, 1, 60)), 3),
    trend=np.round(10 + 0.5 * t + np.cumsum(rng.normal(0, 0.5, 72)) + rng.normal(0, 1, 72), 3),
    noise=np.round(rng.normal(20, 3, 40), 3),
    season=np.round(100 + 0.3 * t + 10 * np.sin(2 * np.pi * t / 12) + rng.normal(0, 2, 72), 3),
    quarter=np.round(30 + np.tile([5, -2, 0, -3.0], 10) + np.cumsum(rng.normal(0, 0.6, 40)), 3),
)
cases = []
def replay(y, p, m, h):
    """The textbook recursion at statsmodels' parameters. Its own forecast() drops the last update of the season:
    `s[nobs + m - 1:] = [s[nobs - 1 + j % m] ...]` overwrites s[nobs + m - 1] (0.15), so period m of a horizon is off."""
    n = lambda k: 0.0 if np.isnan(p[k]) else float(p[k])
    a, b, g, phi = n("smoothing_level"), n("smoothing_trend"), n("smoothing_seasonal"), n("damping_trend") or 1.0
    l, t, s = p["initial_level"], n("initial_trend"), list(p["initial_seasons"]) if m > 1 else [0.0]
    for v in y:
        e = v - (l + phi * t + s[0])
        l, t, s = l + phi * t + a * e, phi * t + a * b * e, s[1:] + [s[0] + g * e]
    out = []
    for i in range(h):
        t = phi * t
        l += t
        out.append(float(l + s[i % len(s)]))
    return out

def add(name, trend, damped, m, init):
    y = series[name]
    model = ExponentialSmoothing(y, trend="add" if trend else None, damped_trend=damped, seasonal="add" if m > 1 else None,
                                 seasonal_periods=m if m > 1 else None, initialization_method=init)
    fit = model.fit(use_brute=True)
    cases.append(dict(series=name, trend=trend, damped=damped, season=m, initialization=init, sse=float(fit.sse),
                      alpha=float(fit.params["smoothing_level"]), forecast=replay(y, fit.params, m, 6)))
for init in ("estimated", "heuristic", "legacy-heuristic"):
    for name in ("seed", "walk", "noise", "trend"):
        for trend, damped in ((False, False), (True, False), (True, True)):
            add(name, trend, damped, 1, init)
    add("season", True, False, 12, init)
    add("season", False, False, 12, init)
    add("quarter", True, False, 4, init)

def tsb(y, a, b):
    at = np.flatnonzero(y)[0]
    p, z = 1 / (at + 1), y[at]
    for v in y:
        p += b * ((v != 0) - p)
        if v != 0:
            z += a * (v - z)
    return p * z

lumpy = np.where(rng.uniform(size=60) < 0.28, rng.poisson(4, 60) + 1, 0).astype(float)
theta = []
for name, m in (("walk", 1), ("trend", 1), ("season", 12), ("quarter", 4)):
    idx = pandas.period_range("2020-01", periods=len(series[name]), freq={1: "Y", 12: "M", 4: "Q"}[m])
    y = pandas.Series(series[name], index=idx)
    fit = ThetaModel(y, period=m if m > 1 else None, deseasonalize=m > 1, use_test=m > 1, method="auto").fit()
    theta.append(dict(series=name, season=m, forecast=fit.forecast(6).tolist()))
intervals = []
y = series["walk"]
from statsmodels.tsa.statespace.exponential_smoothing import ExponentialSmoothing as SS
for trend, damped in ((False, False), (True, False), (True, True)):
    m = SS(y, trend=trend, damped_trend=damped, initialization_method="estimated").fit(disp=0)
    f = m.get_forecast(6)
    intervals.append(dict(trend=trend, damped=damped, params=dict(zip(m.param_names, map(float, m.params))),
                          ratio=(f.se_mean / f.se_mean[0]).tolist()))
made = dict(
    versions=dict(statsmodels=statsmodels.__version__, scipy=scipy.__version__, numpy=np.__version__, pandas=pandas.__version__),
    series={k: v.tolist() for k, v in series.items()}, smoothing=cases, theta=theta, intervals=intervals,
    tsb=dict(values=lumpy.tolist(), results=[[a, b, tsb(lumpy, a, b)] for a in (0.1, 0.2) for b in (0.05, 0.1)]),
)
pathlib.Path(__file__).with_name("forecast.json").write_text(json.dumps(made) + "\n")
