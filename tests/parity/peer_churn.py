"""Learns who leaves a telephone company with scikit-learn, in the folds of the example `churn`.

    pip install scikit-learn==1.9.1 numpy
    FLYWHEEL_DATA=FOLDER python tests/parity/peer_churn.py

Prints the same lines as the example: name, mean AUC of five folds, CPU seconds.
"""

import csv
import os
from pathlib import Path

import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FOLDS = 5
NUMBERS = ["SeniorCitizen", "tenure", "MonthlyCharges", "TotalCharges"]


def read() -> tuple[np.ndarray, np.ndarray]:
    with open(Path(os.environ["FLYWHEEL_DATA"]) / "telco_churn/telco.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = []
    for name in rows[0]:
        if name in ("customerID", "Churn"):
            continue
        values = [row[name].strip() for row in rows]
        if name in NUMBERS:
            columns.append([float(value or "nan") for value in values])
        else:
            columns += [[float(value == text) for value in values] for text in sorted(set(values))]
    return np.array(columns).T, np.array([row["Churn"] == "Yes" for row in rows], float)


def folds(name: str, make, x: np.ndarray, y: np.ndarray) -> None:
    before = os.times()
    fold, found = np.arange(len(y)) % FOLDS, []
    for held in range(FOLDS):
        model = make().fit(x[fold != held], y[fold != held])
        found.append(roc_auc_score(y[fold == held], model.predict_proba(x[fold == held])[:, 1]))
    after = os.times()
    seconds = after.user + after.system - before.user - before.system
    print(f"{name} sklearn-{sklearn.__version__}\t{np.mean(found):.5f}\t{seconds:.2f}")


def main() -> None:
    x, y = read()
    folds("churn: boosted trees", lambda: HistGradientBoostingClassifier(random_state=0), x, y)
    small = dict(learning_rate=0.05, max_iter=150, max_leaf_nodes=8, l2_regularization=1.0, random_state=0)
    folds("churn: small boosted trees", lambda: HistGradientBoostingClassifier(**small), x, y)
    folds("churn: logistic regression", lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), np.nan_to_num(x), y)


if __name__ == "__main__":
    main()
