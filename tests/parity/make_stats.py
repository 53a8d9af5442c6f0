"""Makes stats.json: what scipy, statsmodels and scikit-learn say. Run: python make_stats.py"""
import json, pathlib
import numpy as np, scipy, sklearn, statsmodels
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import brier_score_loss, log_loss
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

rng = np.random.default_rng(7)
xs = [-37.0, -8.0, -3.0, -1.0, -0.1, 0.0, 0.3, 1.96, 4.0, 8.0]
ps = [1e-300, 1e-12, 1e-6, 0.001, 0.025, 0.3, 0.5, 0.8, 0.975, 0.999, 1 - 1e-6, 1 - 1e-12]
t_cases = [(p, v) for p in (0.6, 0.9, 0.975, 0.999) for v in (1, 2, 4.5, 30, 1000, 1e6)]
wilson = []
for k, n in [(0, 10), (1, 10), (10, 10), (37, 500), (5, 7)]:
    for c in (0.8, 0.95, 0.99):
        low, high = proportion_confint(k, n, 1 - c, method="wilson")
        wilson.append([k, n, c, low, high])
newcombe = []
for a, n, b, m in [(56, 70, 48, 80), (9, 10, 3, 10), (0, 10, 2, 11), (30, 1000, 20, 1000)]:
    low, high = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff", alpha=0.05)
    newcombe.append([a, n, b, m, low, high])
lifts = []
for n, m, shift in [(5, 4, 0.0), (40, 35, 0.5), (300, 500, 0.1)]:
    a, b = rng.exponential(2, n) + shift, rng.normal(2, 0.5, m)
    cm = CompareMeans(DescrStatsW(a), DescrStatsW(b))
    low, high = cm.tconfint_diff(alpha=0.05, usevar="unequal")
    lifts.append(dict(a=a.tolist(), b=b.tolist(), low=low, high=high, p=cm.ttest_ind(usevar="unequal")[1]))
srm = []
for u, s in [([5000, 5100], [0.5, 0.5]), ([900, 100, 52], [0.85, 0.1, 0.05]), ([10, 0], [0.5, 0.5])]:
    e = np.array(s) / sum(s) * sum(u)
    r = stats.chisquare(u, e)
    srm.append(dict(units=u, shares=s, statistic=r.statistic, p=r.pvalue))
score = np.round(rng.uniform(0, 1, 60), 2)
true = rng.uniform(0, 1, 60) < score**2
grid = np.linspace(-0.2, 1.2, 29)
iso = IsotonicRegression(out_of_bounds="clip").fit(score, true)
made = dict(
    versions=dict(scipy=scipy.__version__, statsmodels=statsmodels.__version__, sklearn=sklearn.__version__, numpy=np.__version__),
    normal_cdf=[[x, stats.norm.cdf(x)] for x in xs],
    normal_quantile=[[p, stats.norm.ppf(p)] for p in ps],
    student_quantile=[[p, v, stats.t.ppf(p, v)] for p, v in t_cases],
    student_cdf=[[x, v, stats.t.cdf(x, v)] for x in (-30.0, -2.0, 0.0, 0.7, 5.0) for v in (1, 3.3, 50, 5000)],
    wilson=wilson, newcombe=newcombe, lift=lifts, srm=srm,
    calibration=dict(score=score.tolist(), came_true=true.tolist(), grid=grid.tolist(), isotonic=iso.predict(grid).tolist(),
                     brier=brier_score_loss(true, score), log_loss=log_loss(true, np.clip(score, 1e-15, 1 - 1e-15))),
)
pathlib.Path(__file__).with_name("stats.json").write_text(json.dumps(made, indent=1) + "\n")
