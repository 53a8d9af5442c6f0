"""Makes offpolicy.json: IPS, SNIPS and DR by plain numpy, on decisions drawn here. Run: python make_offpolicy.py

The formulas are those of the Open Bandit Pipeline (`obp.ope`): IPS = mean(w r), SNIPS = mean(w r) / mean(w),
DR = mean(q_challenger + w (r - q_chosen)), its gain beside the logging policy mean(q_challenger - q_logged + (w - 1) (r - q_chosen)); intervals are normal, SNIPS by the delta method; the bound is Maurer & Pontil's.
"""
import json, math, pathlib
import numpy as np, scipy
from scipy import stats

rng = np.random.default_rng(4)
n, k, z = 400, 5, stats.norm.ppf(0.975)
logging, challenger = rng.dirichlet(np.ones(k), n), rng.dirichlet(np.ones(k), n)
q = np.round(rng.uniform(0.1, 0.9, (n, k)), 4)
action = np.array([rng.choice(k, p=p) for p in logging])
at = np.arange(n)
reward = (rng.uniform(size=n) < q[at, action]).astype(float)
model = np.clip(q + rng.normal(0, 0.05, q.shape), 0, 1)
rows = dict(reward=reward, propensity=logging[at, action], challenger=challenger[at, action], model_chosen=model[at, action],
            model_challenger=(model * challenger).sum(1), model_logged=(model * logging).sum(1))


def around(value, influence):
    half = z * influence.std(ddof=1) / math.sqrt(n)
    return [value, value - half, value + half]


def said(most):
    raw = rows["challenger"] / rows["propensity"]
    w = np.minimum(raw, most or np.inf)
    snips = (w * reward).mean() / w.mean()
    influence = w / w.mean() * (reward - snips)
    dr = rows["model_challenger"] + w * (reward - rows["model_chosen"])
    beside = rows["model_challenger"] - rows["model_logged"] + (w - 1) * (reward - rows["model_chosen"])
    log, x = math.log(4 / 0.05), w * reward
    slack = math.sqrt(2 * x.var(ddof=1) * log / n) + 7 * (most or w.max()) * log / (3 * (n - 1))
    return dict(weight_max=most, ips=around((w * reward).mean(), w * reward), ips_gain=around(((w - 1) * reward).mean(), (w - 1) * reward),
                snips=around(snips, influence), snips_gain=around(snips - reward.mean(), influence - (reward - reward.mean())),
                dr=around(dr.mean(), dr), dr_gain=around((dr - reward).mean(), dr - reward), dr_gain_beside=around(beside.mean(), beside),
                effective=w.sum() ** 2 / (w * w).sum(), bound=max(x.mean() - slack, 0), cut=int((raw > w).sum()))


made = dict(versions=dict(numpy=np.__version__, scipy=scipy.__version__), rows={name: values.tolist() for name, values in rows.items()},
            cases=[said(None), said(3.0)])
pathlib.Path(__file__).with_name("offpolicy.json").write_text(json.dumps(made) + "\n")
