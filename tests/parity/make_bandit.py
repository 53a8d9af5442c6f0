"""Makes bandit.json: LinUCB and linear Thompson by plain numpy, chances to be the largest by scipy. Run: python make_bandit.py

All numbers are drawn here from a seed. numpy inverts the whole matrix after every reward (Li et al. 2010, algorithm 1), scipy
integrates the density of each posterior times the distributions of all others.
"""
import json, pathlib
import numpy as np, scipy
from scipy import stats
from scipy.integrate import quad

rng = np.random.default_rng(21)


def largest(posteriors, low, high, points):
    made = []
    for i, one in enumerate(posteriors):
        rest = [other for j, other in enumerate(posteriors) if j != i]
        made.append(quad(lambda x: one.pdf(x) * np.prod([r.cdf(x) for r in rest]), low, high, points=points, limit=2000)[0])
    return made


normal, beta = [], []
for case in ([(0, 1), (0, 1)], [(0, 1), (1, 0.5), (-2, 3)], [(0.1, 0.01), (0.12, 0.02), (0.0, 1.0)], [(5, 0.1), (0, 0.1)], [(i / 10, 0.3) for i in range(10)]):
    middles = sorted({m for m, _ in case})
    normal.append(dict(values=case, largest=largest([stats.norm(*c) for c in case], min(m - 9 * s for m, s in case), max(m + 9 * s for m, s in case), middles)))
for case in ([(1, 1), (1, 1)], [(2, 5), (3, 4), (1, 1)], [(30, 970), (45, 955), (1, 1)], [(1200, 98800), (1300, 98700)], [(0.5 + 1, 20.5), (7.2, 33.1), (80, 400), (3, 9)]):
    middles = sorted({a / (a + b) for a, b in case})
    beta.append(dict(values=case, largest=largest([stats.beta(*c) for c in case], 0, 1, middles)))

arms, width, ridge, alpha = 4, 6, 0.7, 0.4
truth = rng.normal(0, 1, (arms, width + 1))
A, b = [ridge * np.eye(width + 1) for _ in range(arms)], [np.zeros(width + 1) for _ in range(arms)]
steps = []
for _ in range(200):
    context = np.round(rng.normal(0, 1, width), 3)
    x = np.append(context, 1.0)
    inverse = [np.linalg.inv(a) for a in A]
    mean = [float(x @ i @ v) for i, v in zip(inverse, b)]
    deviation = [float(np.sqrt(x @ i @ x)) for i in inverse]
    hope = [m + alpha * d for m, d in zip(mean, deviation)]
    action = int(np.argmax(hope))
    reward = round(float(truth[action] @ x + rng.normal(0, 0.3)), 3)
    A[action] += np.outer(x, x)
    b[action] += reward * x
    steps.append(dict(context=context.tolist(), mean=mean, action=action, reward=reward))
made = dict(versions=dict(numpy=np.__version__, scipy=scipy.__version__), normal=normal, beta=beta,
            lin_ucb=dict(actions=arms, features=width, ridge=ridge, width=alpha, steps=steps))
pathlib.Path(__file__).with_name("bandit.json").write_text(json.dumps(made) + "\n")
