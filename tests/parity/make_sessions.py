"""Makes tests/parity/sessions.json.

    python make_sessions.py > sessions.json          with numpy 2.4.6

Association rules (AR) and sequential rules (SR) of Ludewig & Jannach 2018, each weight divided by the sessions that hold the item
it starts from, written down as the formulas say: a session is what one person did without a pause of more than 30 minutes, an item
counts at its last moment, and items of one moment share a place.
"""

import json
import sys

import numpy as np

GAP = 30
rng = np.random.default_rng(5)


def sessions(events):
    """Lists of {item: place}, oldest first."""
    made, last = [], None
    for minute, item in sorted(events):
        if last is None or minute - last > GAP:
            made.append([])
        made[-1].append((minute, item))
        last = minute
    placed = []
    for one in made:
        minutes = sorted({minute for minute, _ in one})
        placed.append({item: minutes.index(minute) for minute, item in one})
    return placed


def case(order):
    users, items = 12, 9
    events = []
    for user in range(users):
        minute = int(rng.integers(0, 50))
        for _ in range(int(rng.integers(3, 14))):
            minute += int(rng.choice([0, 1, 5, 29, 30, 31, 200]))
            events.append((user, int(rng.integers(items)), minute))
    of_user = [sessions([(m, i) for u, i, m in events if u == user]) for user in range(users)]
    weights, holding = np.zeros((items, items)), np.zeros(items)
    for session in (s for one in of_user for s in one):
        for i, at in session.items():
            holding[i] += 1
            for j, then in session.items():
                if i != j and order == "together":
                    weights[i, j] += 1
                elif i != j and then > at:
                    weights[i, j] += 1 / (then - at)
    weights /= np.maximum(holding, 1)[:, None]
    scores = np.zeros((users, items))
    for user, mine in enumerate(of_user):
        last = max(mine[-1].values())
        for item, place in mine[-1].items():
            scores[user] += weights[item] / (1 + last - place)
    return {
        "order": order,
        "users": users,
        "items": items,
        "events": events,
        "weights": weights.tolist(),
        "scores": scores.tolist(),
    }


json.dump([case("together"), case("next")], sys.stdout)
