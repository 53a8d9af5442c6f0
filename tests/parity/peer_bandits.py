"""Plays digits as a bandit with numpy's LinUCB, and learns the events of the example `bandits` with river.

    pip install scikit-learn==1.9.1 numpy river==0.26.1
    python tests/parity/peer_bandits.py digits FOLDER      # writes digits.csv, which the example reads
    python tests/parity/peer_bandits.py run FOLDER         # reads events.bin, which the example wrote

Prints the same lines as the example: name, figure, CPU seconds.
"""

import os
import sys
from pathlib import Path

import numpy as np
import river
from river import drift, linear_model, optim, preprocessing
from sklearn.datasets import load_digits

ACTIONS, PASSES, FEATURES = 10, 5, 20


def cpu_s() -> float:
    times = os.times()
    return times.user + times.system


def digits(folder: Path) -> None:
    data = load_digits()
    header = ",".join([*(f"pixel_{at}" for at in range(64)), "digit"])
    rows = np.column_stack([data.data, data.target]).astype(int)
    np.savetxt(folder / "digits.csv", rows, fmt="%d", delimiter=",", header=header, comments="")


def lin_ucb(folder: Path, alpha: float) -> None:
    rows = np.loadtxt(folder / "digits.csv", delimiter=",", skiprows=1)
    contexts, digit = np.column_stack([rows[:, :64] / 16, np.ones(len(rows))]), rows[:, 64].astype(int)
    rng, before, earned = np.random.default_rng(0), cpu_s(), 0
    inverse = np.stack([np.eye(65)] * ACTIONS)
    moment = np.zeros((ACTIONS, 65))
    for _ in range(PASSES):
        for at in rng.permutation(len(rows)):
            x = contexts[at]
            seen = inverse @ x
            action = int(np.argmax((seen * moment).sum(1) + alpha * np.sqrt(seen @ x)))
            reward = float(action == digit[at])
            earned += reward
            inverse[action] -= np.outer(seen[action], seen[action]) / (1 + seen[action] @ x)
            moment[action] += reward * x
    seconds, count = cpu_s() - before, PASSES * len(rows)
    print(f"digits lin-ucb {alpha:g} numpy-{np.__version__}\t{earned / count:.6f}\t{seconds:.2f}")
    print(f"lin-ucb decisions a second, digits numpy-{np.__version__}\t{count / seconds:.0f}\t{seconds:.2f}")


def logistic(folder: Path) -> None:
    events = np.fromfile(folder / "events.bin", np.float32).reshape(-1, FEATURES + 1)
    for name, optimizer in [("sgd .01", optim.SGD(0.01)), ("sgd .1", optim.SGD(0.1)), ("adagrad .3", optim.AdaGrad(0.3)), ("ftrl .3", optim.FTRLProximal(0.3, 1.0, 0.0, 0.0))]:
        model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer)
        right, before = 0, cpu_s()
        for event in events.tolist():
            row, happened = dict(enumerate(event[:FEATURES])), event[FEATURES] > 0.5
            right += model.predict_one(row) == happened
            model.learn_one(row, happened)
        seconds = cpu_s() - before
        print(f"{name} accuracy river-{river.__version__}\t{right / len(events):.6f}\t{seconds:.2f}")
        print(f"{name} events a second river-{river.__version__}\t{len(events) / seconds:.0f}\t{seconds:.2f}")


def adwin() -> None:
    rng = np.random.default_rng(7)
    values = (rng.uniform(size=1_000_000) < 0.2).astype(float).tolist()
    detector, alarms, before = drift.ADWIN(delta=0.002), 0, cpu_s()
    for value in values:
        detector.update(value)
        alarms += detector.drift_detected
    seconds = cpu_s() - before
    print(f"adwin false alarms in a million river-{river.__version__}\t{alarms}\t{seconds:.2f}")
    print(f"adwin values a second river-{river.__version__}\t{len(values) / seconds:.0f}\t{seconds:.2f}")
    delays = []
    for seed in range(51):
        rng, detector = np.random.default_rng(1000 + seed), drift.ADWIN(delta=0.002)
        for value in (rng.uniform(size=20_000) < 0.2).astype(float).tolist():
            detector.update(value)
        for delay in range(1, 20_001):
            detector.update(float(rng.uniform() < 0.35))
            if detector.drift_detected:
                break
        delays.append(delay)
    print(f"adwin delay, median river-{river.__version__}\t{sorted(delays)[25]}\t0")


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "digits":
        digits(folder)
    else:
        lin_ucb(folder, 0.1)
        lin_ucb(folder, 0.3)
        logistic(folder)
        adwin()
