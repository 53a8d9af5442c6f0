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

# Metrics that an experiment declares. A generator of their own, so that what was drawn above stays as it is.
declared = np.random.default_rng(29)


def always_valid(error, units, confidence=0.95, tuned=5000.0):
    """Half the width of the confidence sequence, eq. 24 of Waudby-Smith et al. 2021."""
    alpha = 1 - confidence
    square = (-2 * np.log(alpha) + np.log(-2 * np.log(alpha) + 1)) / tuned
    scaled = units * square + 1
    return error * np.sqrt(2 * scaled / (units * square) * np.log(np.sqrt(scaled) / alpha))


def linear(numerator, denominator):
    ratio_ = numerator.sum() / denominator.sum()
    return ratio_, ratio_ + (numerator - ratio_ * denominator) / denominator.mean()


def ratios(n, m, lift_):
    arms = []
    for count, shift in ((n, lift_), (m, 0.0)):
        before = np.round(declared.gamma(2, 3, count), 3)
        orders = declared.poisson(1.5, count).astype(float)
        revenue = np.round(orders * (9 + shift + 0.8 * before) + declared.normal(0, 4, count) * (orders > 0), 3)
        arms.append((revenue, orders, before))
    (a, linear_a), (b, linear_b) = (linear(revenue, orders) for revenue, orders, _ in arms)
    error = np.sqrt(linear_a.var(ddof=1) / n + linear_b.var(ddof=1) / m)
    centred = lambda values: values - values.mean()
    pairs_ = [(linear_a, arms[0][2]), (linear_b, arms[1][2])]
    product = sum((centred(y) * centred(x)).sum() for y, x in pairs_)
    square = sum((centred(x) ** 2).sum() for _, x in pairs_)
    total = sum((centred(y) ** 2).sum() for y, _ in pairs_)
    centre = np.concatenate([x for _, x in pairs_]).mean()
    adjusted = [y - product / square * (x - centre) for y, x in pairs_]
    less = np.sqrt(adjusted[0].var(ddof=1) / n + adjusted[1].var(ddof=1) / m)
    plain, fine = a - b, adjusted[0].mean() - adjusted[1].mean()
    wide, narrow = always_valid(error, n + m), always_valid(less, n + m)
    return dict(treatment=[column.tolist() for column in arms[0]], holdout=[column.tolist() for column in arms[1]], rates=[a, b],
                plain=[plain, plain - wide, plain + wide], adjusted=[fine, fine - narrow, fine + narrow], saved=product**2 / (square * total))


def clustered(units, share):
    """Standard error of a quantile by the outer interval of Deng, Knoblich & Lu 2018, and by a bootstrap over units."""
    values = np.concatenate(units)
    quantile, z, ordered = np.quantile(values, share), stats.norm.ppf(0.975), np.sort(values)
    below, count = np.array([(u <= quantile).sum() for u in units], float), np.array([len(u) for u in units], float)
    reach = z * np.sqrt(linear(below, count)[1].var(ddof=1) / len(units))
    low, high = int(np.floor(len(values) * (share - reach))), int(np.floor(len(values) * (share + reach))) + 1
    error = (ordered[high - 1] - ordered[low - 1]) / (2 * z) if 1 <= low and high <= len(values) else None
    drawn = [np.quantile(np.concatenate([units[i] for i in declared.integers(0, len(units), len(units))]), share) for _ in range(1000)]
    return quantile, error, float(np.std(drawn, ddof=1))


def waits(n, m, share, each):
    arms = []
    for count, scale in ((n, 1.15), (m, 1.0)):
        own = declared.normal(0, 0.5, count)
        size = 1 + declared.poisson(each, count) if each else np.ones(count, int)
        arms.append([np.round(scale * np.exp(1 + mean + declared.normal(0, 0.6, k)), 4) for mean, k in zip(own, size)])
    (a, from_a, drawn_a), (b, from_b, drawn_b) = (clustered(arm, share) for arm in arms)
    known = from_a is not None and from_b is not None
    margin = always_valid(np.hypot(from_a, from_b), n + m) if known else None
    return dict(treatment=[u.tolist() for u in arms[0]], holdout=[u.tolist() for u in arms[1]], share=share, quantiles=[a, b],
                errors=[from_a, from_b], bootstrap=[drawn_a, drawn_b], difference=[a - b, a - b - margin, a - b + margin] if known else None)


made = dict(
    versions=dict(scipy=scipy.__version__, statsmodels=statsmodels.__version__, numpy=np.__version__),
    cuped=[cuped(50, 60, 0.8), cuped(300, 200, 0.0), cuped(250, 250, 2.0)], ratio=ratio(80), quantiles=quantiles, power=power, need=need,
    ratios=[ratios(300, 260, 1.0), ratios(60, 50, 0.0)],
    clustered=[waits(220, 200, 0.5, 2), waits(220, 200, 0.9, 2), waits(300, 300, 0.9, 0), waits(20, 20, 0.99, 0)],
    multiple=dict(p=p, holm=multipletests(p, method="holm")[1].tolist(), benjamini_hochberg=multipletests(p, method="fdr_bh")[1].tolist()),
)
pathlib.Path(__file__).with_name("experiments.json").write_text(json.dumps(made) + "\n")
