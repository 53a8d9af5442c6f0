"""Makes drift.json: when river's ADWIN and PageHinkley ring, on streams drawn here. Run: python make_drift.py"""
import json, pathlib
import numpy as np, river
from river import drift

rng = np.random.default_rng(9)


def rings(detector, stream):
    made = []
    for at, value in enumerate(stream):
        detector.update(value)
        if detector.drift_detected:
            made.append(at)
    return made


bits = np.concatenate([rng.uniform(size=5000) < 0.2, rng.uniform(size=3000) < 0.35, rng.uniform(size=3000) < 0.1]).astype(float)
level = np.round(np.concatenate([rng.normal(0, 1, 1500), rng.normal(0.8, 1, 1500), rng.normal(-0.5, 2, 1500)]), 3)
made = dict(
    versions=dict(river=river.__version__, numpy=np.__version__),
    bits="".join("1" if bit else "0" for bit in bits), level=level.tolist(),
    adwin_bits=rings(drift.ADWIN(delta=0.002), bits), adwin_level=rings(drift.ADWIN(delta=0.002), level),
    page_hinkley_level={mode: rings(drift.PageHinkley(threshold=30.0, mode=mode), level) for mode in ("up", "down", "both")},
)
pathlib.Path(__file__).with_name("drift.json").write_text(json.dumps(made) + "\n")
print({key: value for key, value in made.items() if key.startswith(("adwin", "page"))})
