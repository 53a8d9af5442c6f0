"""Makes online.json: what scikit-learn and river say. Run: python make_online.py"""
import json, math, pathlib
import numpy as np, river, sklearn
from river import linear_model, optim, preprocessing
from sklearn.linear_model import Ridge, SGDRegressor

rng = np.random.default_rng(5)
def sgd(x, y):
    m, path = SGDRegressor(), []
    for a, b in zip(x, y):
        m.partial_fit([a], [b])
        path.append([*m.coef_.tolist(), float(m.intercept_[0])])
    return dict(x=x.tolist(), y=y.tolist(), path=path)

seed = np.array([[10 + i, 11 + i] for i in (0, 1, 2)] * 7, float)
x = np.round(rng.normal(0, 1, (60, 3)), 4)
y = np.round(x @ [1, -2, 0.5] + 3 + rng.normal(0, 0.1, 60), 4)
wild = x * [1, 1000, 0.01] + [0, 5, 100]
d, s = wild.mean(0), wild.std(0)
ridge = Ridge(alpha=1e-3).fit((wild - d) / s, y)
xl = np.round(rng.normal(0, 1, (1500, 4)) * [1, 50, 0.1, 1] + [0, 300, 0, 2], 3)
yl = rng.uniform(0, 1, 1500) < 1 / (1 + np.exp(-((xl - [0, 300, 0, 2]) / [1, 50, 0.1, 1] @ [1.5, -1, 0.5, 0] - 0.5)))
def running(optimizer):
    m = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer)
    loss = 0.0
    for a, b in zip(xl, yl):
        row = dict(enumerate(a))
        p = min(max(m.predict_proba_one(row).get(True, 0.5), 1e-12), 1 - 1e-12)
        loss -= math.log(p if b else 1 - p)
        m.learn_one(row, bool(b))
    return loss / len(yl)
made = dict(
    versions=dict(sklearn=sklearn.__version__, river=river.__version__, numpy=np.__version__),
    sgd=[sgd(seed, np.array([4.0, 5, 6] * 7)), sgd(x, y)],
    ridge=dict(x=wild.tolist(), y=y.tolist(), weights=(ridge.coef_ / s).tolist(), intercept=float(ridge.intercept_ - ridge.coef_ / s @ d)),
    logistic=dict(x=xl.tolist(), y=yl.tolist(), log_loss_sgd=running(optim.SGD(0.01)), log_loss_best=min(running(optim.SGD(r)) for r in (0.02, 0.05, 0.1, 0.2)),
                  log_loss_adagrad=min(running(optim.AdaGrad(r)) for r in (0.1, 0.3, 0.5))),
)
pathlib.Path(__file__).with_name("online.json").write_text(json.dumps(made) + "\n")
print({k: v for k, v in made["logistic"].items() if k.startswith("log")})
