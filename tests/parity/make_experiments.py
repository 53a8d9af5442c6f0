"""Makes experiments.json: what statsmodels, scipy and numpy say of experiments drawn here. Run: python make_experiments.py"""
import json, pathlib
import numpy as np, scipy, statsmodels
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

rng = np.random.default_rng(17)


def cuped(n, m, strength):
    before = [np.round(rng.gamma(2, 3, n), 3), np.round(rng.gamma(2, 3, m), 3)]
    after = [np.round(strength * b + rng.normal(0, 2, len(b)) + shift, 3) for b, shift in zip(before, (0.4, 0.0))]
    centred = lambda values: values - values.mean()
    slope = sum((centred(b) * centred(a)).sum() for a, b in zip(after, before)) / sum((centred(b) ** 2).sum() for b in before)
    centre = np.concatenate(before).mean()
    a, b = (outcome - slope * (covariate - centre) for outcome, covariate in zip(after, before))
    compare = CompareMeans(DescrStatsW(a), DescrStatsW(b))
    low, high = compare.tconfint_diff(alpha=0.05, usevar="unequal")
    return dict(treatment=[after[0].tolist(), before[0].tolist()], holdout=[after[1].tolist(), before[1].tolist()], slope=slope,
                estimate=a.mean() - b.mean(), low=low, high=high, p=compare.ttest_ind(usevar="unequal")[1])


def ratio(n):
    size = 1 + rng.poisson(3, n)
    outcome = size * rng.normal(1.2, 0.4, n) + rng.normal(0, 1, n)
    r = outcome.sum() / size.sum()
    influence = (outcome - r * size) / size.mean()
    return dict(outcome=outcome.tolist(), size=size.tolist(), rate=r, variance=influence.var(ddof=1) / n)


quantiles = []
for n, share, confidence in [(60, 0.5, 0.95), (200, 0.9, 0.95), (1000, 0.95, 0.99), (30, 0.95, 0.95), (17, 0.25, 0.8)]:
    values = np.round(rng.lognormal(1, 0.8, n), 4)
    ordered, tail = np.sort(values), (1 - confidence) / 2
    low, high = int(stats.binom.ppf(tail, n, share)), int(stats.binom.ppf(1 - tail, n, share)) + 1
    ends = [ordered[low - 1], ordered[high - 1]] if 1 <= low and high <= n else None
    quantiles.append(dict(values=values.tolist(), share=share, confidence=confidence, quantile=np.quantile(values, share), ends=ends))
power = []
for effect, units, ratio_, error in [(0.1, 1500, 1.0, 0.05), (0.02, 10_000, 0.5, 0.05), (0.5, 60, 2.0, 0.01), (0.001, 100, 1.0, 0.1)]:
    power.append(dict(effect=effect, units=units, ratio=ratio_, error=error, power=NormalIndPower().power(effect, units, error, ratio=ratio_)))
need = [dict(effect=e, ratio=r, error=a, power=p, units=NormalIndPower().solve_power(effect_size=e, alpha=a, power=p, ratio=r))
        for e, r, a, p in [(0.1, 1.0, 0.05, 0.8), (0.02, 0.25, 0.05, 0.9), (0.8, 3.0, 0.01, 0.95)]]
p = [0.01, 0.04, 0.03, 0.005, 0.5, 0.04, 1.0, 0.0]
made = dict(
    versions=dict(scipy=scipy.__version__, statsmodels=statsmodels.__version__, numpy=np.__version__),
    cuped=[cuped(50, 60, 0.8), cuped(300, 200, 0.0), cuped(250, 250, 2.0)], ratio=ratio(80), quantiles=quantiles, power=power, need=need,
    multiple=dict(p=p, holm=multipletests(p, method="holm")[1].tolist(), benjamini_hochberg=multipletests(p, method="fdr_bh")[1].tolist()),
)
pathlib.Path(__file__).with_name("experiments.json").write_text(json.dumps(made) + "\n")
