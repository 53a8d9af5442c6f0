"""Makes forecast_ets.json: what statsforecast and statsmodels say of small made-up series.

    pip install statsforecast==2.1.1 statsmodels==0.15.0
    python tests/parity/make_forecast_ets.py
"""

import json
from pathlib import Path

import numpy as np
import statsforecast
import statsmodels
from statsforecast.ets import ets_f, forecast_ets
from statsforecast.models import ADIDA, IMAPA, MSTL, CrostonClassic, CrostonSBA
from statsforecast.theta import auto_theta, forecast_theta
from statsmodels.tsa.seasonal import STL

HORIZON = 8
rng = np.random.default_rng(5)


def noise(n: int, size: float) -> np.ndarray:
    return rng.normal(0, size, n)


t = np.arange(96)
wave = np.sin(2 * np.pi * t / 12)
quarter = np.tile([1.3, 0.8, 0.7, 1.2], 16)
SERIES = {
    "walk": (1, 60 + np.cumsum(noise(60, 1))),
    "line": (1, 20 + 0.8 * np.arange(45) + noise(45, 2)),
    "fading": (1, 100 * (1 - 0.9 ** np.arange(50)) + 20 + noise(50, 1.5)),
    "growth": (1, 10 * 1.04 ** np.arange(50) * np.exp(noise(50, 0.05))),
    "below-zero": (1, np.cumsum(noise(40, 1))),
    "short": (1, np.array([12.0, 15, 14, 18, 17, 21, 20, 24, 26])),
    "months": (12, 200 + 1.5 * t + 30 * wave + noise(96, 6)),
    "growing-months": (12, (50 + 1.2 * t) * (1 + 0.35 * wave) * np.exp(noise(96, 0.05))),
    "quarters": (4, (80 + np.cumsum(noise(64, 1.5))) * quarter),
    "flat-quarters": (4, 40 + np.tile([6, -2, -7, 3.0], 10) + noise(40, 1.5)),
}
SERIES = {name: (m, np.round(values, 3)) for name, (m, values) in SERIES.items()}
FORMS = ["ANN", "MNN", "AAN", "MAN", "AAdN", "MAdN", "ANA", "AAA", "AAdA", "MNA", "MNM", "MAM", "MAdM"]


def ets(name: str, m: int, values: np.ndarray, form: str) -> dict | None:
    damped = None if form == "ZZZ" else "d" in form
    try:
        fit = ets_f(values, m, model=form.replace("d", ""), damped=damped)
    except (ValueError, NotImplementedError):
        return None
    if not np.isfinite(fit["aicc"]):
        return None
    mean = forecast_ets(fit, h=HORIZON)["mean"]
    found = fit["components"]
    trend = found[1] + ("d" if found[3] == "D" else "")
    return dict(series=name, season=m, form=form, found=f"ETS({found[0]},{trend},{found[2]})",
                deviance=-2 * fit["loglik"], aicc=fit["aicc"], forecast=mean.tolist())


def theta(name: str, m: int, values: np.ndarray, kind: str) -> dict:
    fit = auto_theta(values, m, model=kind)
    # Its own "mse" is over the mean of the values; its residuals have the season put back on.
    errors = fit["residuals"]
    if fit.get("decompose"):
        season = fit["seas_forecast"]["mean"][(np.arange(len(values)) - len(values)) % m]
        errors = errors / season if fit["decomposition_type"] == "multiplicative" else errors - season
    return dict(series=name, season=m, kind=kind, mean_square=float(np.mean(errors[3:] ** 2)),
                forecast=forecast_theta(fit, HORIZON)["mean"].tolist())


def lumpy(n: int, share: float) -> np.ndarray:
    return np.where(rng.uniform(size=n) < share, rng.poisson(3, n) + 1, 0).astype(float)


def demand(values: np.ndarray) -> dict:
    say = lambda model: float(model.forecast(values, 1)["mean"][0])
    return dict(values=values.tolist(), croston=say(CrostonClassic()), sba=say(CrostonSBA()), adida=say(ADIDA()),
                imapa=say(IMAPA()))


def two_seasons() -> dict:
    n = np.arange(150)
    values = np.round(50 + 0.1 * n + 8 * np.sin(2 * np.pi * n / 7) + 12 * np.sin(2 * np.pi * n / 30) + noise(150, 1.5), 3)
    model = MSTL(season_length=[7, 30]).fit(values)
    return dict(values=values.tolist(), seasons=[7, 30], weekly=model.model_["seasonal7"].tolist(),
                monthly=model.model_["seasonal30"].tolist(), forecast=model.predict(30)["mean"].tolist())


def main() -> None:
    fits = [ets(name, m, values, form) for name, (m, values) in SERIES.items()
            for form in [*FORMS, "ZZZ"] if m > 1 or form[-1] in "NZ"]
    one = SERIES["months"][1]
    stl = STL(one, period=12, seasonal=11, seasonal_deg=0).fit()
    made = dict(
        versions=dict(statsforecast=statsforecast.__version__, statsmodels=statsmodels.__version__, numpy=np.__version__),
        series={name: values.tolist() for name, (_, values) in SERIES.items()},
        ets=[fit for fit in fits if fit],
        theta=[theta(name, m, values, kind) for name, (m, values) in SERIES.items() for kind in ("OTM", "DOTM")],
        demand=[demand(lumpy(n, share)) for n, share in ((60, 0.3), (45, 0.15), (80, 0.5), (24, 0.1))],
        stl=dict(series="months", period=12, window=11, season=stl.seasonal.tolist(), trend=stl.trend.tolist()),
        mstl=two_seasons(),
    )
    Path(__file__).with_name("forecast_ets.json").write_text(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
