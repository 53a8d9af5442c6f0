"""Forecasts what the example `m3` forecasts, with statsforecast.

    pip install statsforecast==2.1.1
    FLYWHEEL_DATA=FOLDER python tests/parity/peer_forecasts.py

Prints the same lines as the example: forecaster, set, sMAPE, MASE, CPU seconds; forecaster, carparts, RMSSE, mean
|error of the total|, CPU seconds. One thread; reading is not timed, and neither is the import.
"""

import csv
import os
import sys
import warnings
from pathlib import Path

import numpy as np
from statsforecast.models import ADIDA, IMAPA, AutoETS, CrostonClassic, CrostonSBA, DynamicOptimizedTheta, SeasonalNaive, TSB

warnings.simplefilter("ignore")
SHAPES = {"yearly": (1, 6), "quarterly": (4, 8), "monthly": (12, 18), "other": (1, 8)}
PARTS_HORIZON = 6
PARTS_SALES_MIN = 3


def cpu() -> float:
    times = os.times()
    return times.user + times.system


def m3(folder: Path) -> dict:
    made: dict = {}
    with open(folder / "m3.csv") as file:
        for row in csv.DictReader(file):
            one = made.setdefault(row["series_id"], (row["period"], [], []))
            one[1 if row["part"] == "train" else 2].append(float(row["value"]))
    return made


def points(name: str, make, series: dict) -> None:
    total = [0.0, 0.0, 0.0]
    for of, (season, horizon) in SHAPES.items():
        chosen = [(np.array(a), np.array(b)) for s, a, b in series.values() if s == of]
        smape = mase = 0.0
        seconds = 0.0
        for train, test in chosen:
            before = cpu()
            said = make(season).forecast(train, horizon)["mean"]
            seconds += cpu() - before
            smape += 200 * np.mean(np.abs(test - said) / (np.abs(test) + np.abs(said)))
            scale = np.mean(np.abs(train[season:] - train[:-season]))
            mase += np.mean(np.abs(test - said)) / scale if scale else 0.0
        print(f"{name}\t{of}\t{smape / len(chosen):.3f}\t{mase / len(chosen):.4f}\t{seconds:.2f}", flush=True)
        total = [total[0] + smape, total[1] + mase, total[2] + seconds]
    n = len(series)
    print(f"{name}\ttotal\t{total[0] / n:.3f}\t{total[1] / n:.4f}\t{total[2]:.2f}", flush=True)


def demand(name: str, model, parts: list) -> None:
    rmsse = total = 0.0
    before = cpu()
    for part in parts:
        train, test = part[:-PARTS_HORIZON], part[-PARTS_HORIZON:]
        said = model.forecast(train, PARTS_HORIZON)["mean"]
        scale = np.mean(np.diff(train) ** 2)
        rmsse += np.sqrt(np.mean((test - said) ** 2) / scale) if scale else 0.0
        total += abs(said.sum() - test.sum())
    n = len(parts)
    print(f"{name}\tcarparts\t{rmsse / n:.4f}\t{total / n:.3f}\t{cpu() - before:.2f}", flush=True)


def main(folder: Path) -> None:
    series = m3(folder)
    warm = np.arange(30.0) % 7 + 10
    for model in (DynamicOptimizedTheta(4), AutoETS(4), IMAPA(), ADIDA(), TSB(0.1, 0.1)):
        model.forecast(warm, 2)
    points("seasonal-naive", lambda season: SeasonalNaive(season), series)
    points("theta-dynamic", lambda season: DynamicOptimizedTheta(season), series)
    points("ets", lambda season: AutoETS(season), series)
    with open(folder / "carparts.csv") as file:
        rows = [[float(cell) if cell not in ("", "NA") else np.nan for cell in row] for row in list(csv.reader(file))[1:]]
    columns = np.array(rows).T
    parts = [p for p in columns if not np.isnan(p).any() and (p[:-PARTS_HORIZON] != 0).sum() >= PARTS_SALES_MIN]
    for name, model in (("croston", CrostonClassic()), ("sba", CrostonSBA()), ("tsb", TSB(0.1, 0.1)),
                        ("adida", ADIDA()), ("imapa", IMAPA())):
        demand(name, model, parts)


if __name__ == "__main__":
    data = os.environ.get("FLYWHEEL_DATA")
    if not data:
        sys.exit("set FLYWHEEL_DATA to the folder that holds m3/m3.csv")
    main(Path(data) / "m3")
