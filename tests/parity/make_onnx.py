"""Makes onnx/*.onnx and onnx.json: small models by scikit-learn and by hand, and what onnxruntime answers for ten rows each.

Run: pip install scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2 onnxruntime==1.32.0 pandas && python make_onnx.py
"""
import json, pathlib
import numpy as np, onnx, onnxruntime, pandas as pd
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

here = pathlib.Path(__file__).parent
folder = here / "onnx"
folder.mkdir(exist_ok=True)
rng = np.random.default_rng(7)
X = rng.normal(size=(400, 3)).astype(np.float32)
y = (X[:, 0] + X[:, 1] * X[:, 2] + rng.normal(size=400) * 0.3 > 0).astype(int)
three = np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])
amount = (2 * X[:, 0] - X[:, 1] + np.abs(X[:, 2])).astype(np.float32)
plan = rng.choice(["monthly", "yearly", "two years"], 400)
holes = X.copy()
holes[rng.random(X.shape) < 0.1] = np.nan
frame = pd.DataFrame({"plan": plan, "months": X[:, 0], "charge": X[:, 1]})
named = np.where(y == 1, "leaves", "stays")
made = {}


def note(name, model, inputs, output, place):
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    assert path.stat().st_size < 50_000, name
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    answer = session.run([output], inputs)[0]
    if isinstance(answer, list):
        answer = np.array([list(row.values()) for row in answer])
    answer = np.asarray(answer, dtype=np.float64)
    score = answer if answer.ndim == 1 else answer[:, place]
    columns = []
    for value in inputs.values():
        value = value.reshape(len(value), -1)
        for column in value.T:
            if column.dtype.kind in "OU":
                columns.append([str(one) for one in column])
            else:
                columns.append([None if np.isnan(one) else float(one) for one in column.astype(np.float64)])
    made[name] = {"inputs": list(inputs), "columns": columns, "scores": [float(one) for one in score]}


def fit(name, model, rows, target, output="probabilities", place=-1, zipmap=False):
    options = {id(model): {"zipmap": zipmap}} if hasattr(model, "predict_proba") else None
    if zipmap:
        options = None
    made_of = to_onnx(model.fit(rows, target), X[:1], options=options, target_opset=18)
    note(name, made_of, {"X": rows[:10]}, output, place)


fit("logistic", LogisticRegression(), X, y)
fit("logistic-maps", LogisticRegression(), X, named, output="output_probability", zipmap=True)
fit("three-classes", LogisticRegression(), X, three)
fit("boosted-trees", GradientBoostingClassifier(n_estimators=20, random_state=1), X, y)
fit("boosted-trees-three", GradientBoostingClassifier(n_estimators=5, random_state=1), X, three)
fit("forest", RandomForestClassifier(n_estimators=10, max_depth=4, random_state=1), X, y)
fit("boosted-amount", GradientBoostingRegressor(n_estimators=20, random_state=1), X, amount, output="variable")
fit("linear", LinearRegression(), X, amount, output="variable")
fit("network", MLPClassifier((8,), max_iter=300, random_state=1), X, y)
fit("filled", make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), holes, y)

pipeline = make_pipeline(
    ColumnTransformer([("texts", OneHotEncoder(handle_unknown="ignore"), ["plan"]), ("numbers", StandardScaler(), ["months", "charge"])]),
    LogisticRegression(),
).fit(frame, y)
types = [("plan", StringTensorType([None, 1])), ("months", FloatTensorType([None, 1])), ("charge", FloatTensorType([None, 1]))]
of_texts = to_onnx(pipeline, initial_types=types, options={id(pipeline): {"zipmap": False}}, target_opset=18)
rows = frame[:10].copy()
rows.loc[3, "plan"] = "never seen"
note("texts", of_texts, {"plan": rows[["plan"]].to_numpy().astype(object), "months": rows[["months"]].to_numpy(), "charge": rows[["charge"]].to_numpy()}, "probabilities", -1)


def by_hand(nodes, inputs, outputs, weights=(), version=18):
    graph = helper.make_graph(nodes, "by hand", inputs, outputs, [numpy_helper.from_array(value, name) for name, value in weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)


def value(name, shape, element=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, element, shape)


weights = [("w", np.array([[0.5], [-1.0], [0.25]], np.float32))]
times = [helper.make_node("MatMul", ["x", "w"], ["y"])]
note("one-row", by_hand(times, [value("x", [1, 3])], [value("y", [1, 1])], weights), {"x": X[:1]}, "y", -1)

logarithm = by_hand([helper.make_node("Log", ["x"], ["y"])], [value("x", ["n", 1])], [value("y", ["n", 1])])
(folder / "logarithm.onnx").write_bytes(logarithm.SerializeToString())

# Files that are refused, each for one reason.
bad = {}
bad["unknown-operators"] = by_hand(
    [helper.make_node("NonZero", ["x"], ["z"]), helper.make_node("Tokenize", ["z"], ["y"], domain="com.example")],
    [value("x", ["n", 3])], [value("y", ["n", 1])])
bad["huge-input"] = by_hand([helper.make_node("Relu", ["x"], ["y"])], [value("x", ["n", 10**12])], [value("y", ["n", 10**12])])
bad["picture"] = by_hand([helper.make_node("Relu", ["x"], ["y"])], [value("x", ["n", 3, 8, 8])], [value("y", ["n", 3, 8, 8])])
bad["wrong-width"] = by_hand([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["n", "m"])], [value("y", ["n", 1])], weights)
bad["two-outputs"] = by_hand(
    [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Sigmoid", ["x"], ["z"])],
    [value("x", ["n", 1])], [value("y", ["n", 1]), value("z", ["n", 1])])
huge = by_hand(times, [value("x", ["n", 3])], [value("y", ["n", 1])], weights)
huge.graph.initializer[0].dims[:] = [2**40, 2**40]
bad["huge-weights"] = huge
short = by_hand(times, [value("x", ["n", 3])], [value("y", ["n", 1])], weights)
short.graph.initializer[0].raw_data = short.graph.initializer[0].raw_data[:-4]
bad["short-weights"] = short
outside = by_hand(times, [value("x", ["n", 3])], [value("y", ["n", 1])], weights)
tensor = outside.graph.initializer[0]
tensor.ClearField("raw_data")
tensor.data_location = TensorProto.EXTERNAL
entry = tensor.external_data.add()
entry.key, entry.value = "location", "/etc/passwd"
bad["weights-elsewhere"] = outside
circle = onnx.load(folder / "boosted-trees.onnx")
for attribute in circle.graph.node[0].attribute:
    if attribute.name == "nodes_truenodeids":
        attribute.ints[1] = 0
bad["round-trees"] = circle
far = onnx.load(folder / "boosted-trees.onnx")
for attribute in far.graph.node[0].attribute:
    if attribute.name == "nodes_truenodeids":
        attribute.ints[0] = 10**6
bad["far-trees"] = far
for name, model in bad.items():
    (folder / f"bad-{name}.onnx").write_bytes(model.SerializeToString())
(here / "onnx.json").write_text(json.dumps(made) + "\n")
