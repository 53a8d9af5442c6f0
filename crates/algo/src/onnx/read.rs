//! What a file says of itself, before the runtime sees it.

use std::collections::{BTreeMap, BTreeSet};

use flywheel_base::{Error, Result, suggest};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use tract_onnx::prelude::{
    Arc, DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, TValue, TVec,
    Tensor, TractResult, TypedSimplePlan, tract_ndarray::ArrayD,
};
use tract_onnx::tract_hir::internal::bail;

use super::trees::strings;
use super::{BLOCK, BLOCK_MAX, File, Input, Kind, Output, SIZE_MAX, STEP_MAX, WIDTH_MAX, Wanted};
use super::{operator, trees};

/// Operators that are run, beside [`operator::OURS`]: each makes at most what its inputs say, so that a small file cannot ask
/// for all memory, and none reads a file, a clock or chance.
const RUN: [&str; 86] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "ArrayFeatureExtractor",
    "BatchNormalization",
    "Cast",
    "CategoryMapper",
    "Ceil",
    "Celu",
    "Clip",
    "Concat",
    "Constant",
    "Cos",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Flatten",
    "Floor",
    "Gather",
    "Gelu",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "LinearClassifier",
    "LinearRegressor",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Normalizer",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "ThresholdedRelu",
    "Transpose",
    "Unsqueeze",
    "Where",
    "Xor",
];

/// What files begin with that people take for ONNX.
const OTHERS: [(&[u8], &str, &str); 4] = [
    (
        b"PK",
        "a zip archive, such as PyTorch writes",
        "Export it: `torch.onnx.export(model, example, \"model.onnx\")`.",
    ),
    (
        b"\x80",
        "a pickle",
        "Convert it with skl2onnx: `to_onnx(model, X[:1])`; a pickle is a program and is never opened here.",
    ),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS to the file",
        "Fetch the file: `git lfs pull`.",
    ),
    (b"\x89HDF", "an HDF5 file, such as Keras writes", "Convert it with tf2onnx."),
];

pub(super) fn file(bytes: &[u8], wanted: &Wanted) -> Result<File> {
    let mut proto = parsed(bytes)?;
    let Some(graph) = proto.graph.as_mut() else {
        return Err(Error::invalid("the file is no ONNX model: it has no graph")
            .hint("Export the model again, and check it with `onnx.checker.check_model`."));
    };
    tensors(graph, bytes.len())?;
    let mut output = output(graph, wanted)?;
    output.labels = labelled(graph, &output.name);
    maps(graph);
    prune(graph, &output.name)?;
    let operators = operators(graph)?;
    ours(graph)?;
    let inputs = graph.input.iter().map(input).collect::<Result<Vec<(Input, Option<usize>)>>>()?;
    let block = block(&inputs)?;
    let inputs = inputs.into_iter().map(|(input, _)| input).collect();
    Ok(File { proto, inputs, output, operators, block })
}

fn parsed(bytes: &[u8]) -> Result<ModelProto> {
    if bytes.len() > SIZE_MAX {
        return Err(Error::invalid(format!(
            "the file has {} MiB, and a model may have {}",
            bytes.len() >> 20,
            SIZE_MAX >> 20
        ))
        .hint("Bring a smaller model: fewer or shallower trees, or fewer layers."));
    }
    if bytes.is_empty() {
        return Err(Error::invalid("the file is empty").hint("Export the model again."));
    }
    if let Some((_, what, hint)) = OTHERS.iter().find(|(start, ..)| bytes.starts_with(start)) {
        return Err(Error::invalid(format!("the file is no ONNX model, it is {what}")).hint(*hint));
    }
    let mut reader = bytes;
    tract_onnx::onnx().proto_model_for_read(&mut reader).map_err(|error| {
        let said = super::first_line(&error.root_cause().to_string());
        Error::invalid(format!("the file is no whole ONNX model: {said}"))
            .hint("It is cut off or another kind of file: export or copy it again.")
    })
}

/// Refuses tensors that are not whole in the file.
fn tensors(graph: &GraphProto, file_bytes: usize) -> Result<()> {
    if !graph.sparse_initializer.is_empty() {
        return Err(Error::invalid("the model has sparse weights, which are not read here")
            .hint("Export it with dense weights."));
    }
    for tensor in &graph.initializer {
        check_tensor(tensor, file_bytes)?;
    }
    for attribute in graph.node.iter().flat_map(|node| &node.attribute) {
        for tensor in attribute.t.iter().chain(&attribute.tensors) {
            check_tensor(tensor, file_bytes)?;
        }
    }
    Ok(())
}

fn check_tensor(tensor: &TensorProto, file_bytes: usize) -> Result<()> {
    let name = &tensor.name;
    if tensor.data_location == Some(DataLocation::External as i32)
        || !tensor.external_data.is_empty()
    {
        return Err(Error::invalid(format!("the weights of \"{name}\" are in another file"))
            .hint("Save the model as one file: `onnx.save(onnx.load(path), path)` does, or `external_data=False` of torch.onnx.export."));
    }
    let count = tensor.dims.iter().try_fold(1_usize, |count, dim| {
        usize::try_from(*dim).ok().and_then(|dim| count.checked_mul(dim))
    });
    // Every number takes a byte at least, so that a larger tensor cannot be in the file.
    let count = count.filter(|count| *count <= file_bytes);
    let Some(count) = count else {
        return Err(Error::invalid(format!(
            "tensor \"{name}\" says that its shape is {:?}, which the file has no room for",
            tensor.dims
        ))
        .hint("The file is damaged: export or copy it again."));
    };
    let size = match tensor.data_type {
        1 | 6 | 12 => 4,
        2 | 3 | 9 => 1,
        4 | 5 | 10 => 2,
        7 | 11 | 13 => 8,
        _ => return Ok(()),
    };
    if tensor.raw_data.is_empty() || tensor.raw_data.len() == count * size {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "tensor \"{name}\" of shape {:?} has {} bytes, and not {}",
        tensor.dims,
        tensor.raw_data.len(),
        count * size
    ))
    .hint("The file is damaged: export or copy it again."))
}

/// The element type of a value; none of a sequence or map.
fn element(value: &ValueInfoProto) -> Option<i32> {
    let Some(Type::TensorType(tensor)) = value.r#type.as_ref()?.value.as_ref() else { return None };
    Some(tensor.elem_type)
}

/// The output that is the score.
fn output(graph: &GraphProto, wanted: &Wanted) -> Result<Output> {
    let named = |output: &ValueInfoProto| Output { name: output.name.clone(), labels: Vec::new() };
    let names = || graph.output.iter().map(|output| output.name.as_str());
    if let Some(name) = &wanted.output {
        let found = graph.output.iter().find(|output| output.name == *name).ok_or_else(|| {
            Error::invalid(format!("the model has no output \"{name}\""))
                .hint(suggest::hint(name, names()))
        })?;
        if element(found) == Some(8) {
            return Err(Error::invalid(format!(
                "output \"{name}\" holds texts, and a score is a number"
            ))
            .hint(format!(
                "Name the one with probabilities under `output`; there are {}.",
                listed(names())
            )));
        }
        return Ok(named(found));
    }
    // Probabilities and amounts have a fraction; what is whole beside them is the label.
    let fractions: Vec<&ValueInfoProto> = graph
        .output
        .iter()
        .filter(|output| matches!(element(output), None | Some(1 | 10 | 11)))
        .collect();
    match (fractions.as_slice(), graph.output.as_slice()) {
        ([one], _) => Ok(named(one)),
        ([], [one]) if element(one) != Some(8) => Ok(named(one)),
        _ => Err(Error::invalid("which output of the model is the score is not clear")
            .hint(format!("Name it under `output`; there are {}.", listed(names())))),
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    names.map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// The labels that a classifier or map has in the file.
pub(super) fn labels(node: &NodeProto) -> Vec<String> {
    for key in ["classlabels_int64s", "classlabels_ints"] {
        let found = trees::ints(node, key);
        if !found.is_empty() {
            return found.iter().map(i64::to_string).collect();
        }
    }
    strings(node, "classlabels_strings")
}

/// The labels of the operator that makes a value, through what only passes it on.
fn labelled(graph: &GraphProto, value: &str) -> Vec<String> {
    let mut value = value;
    for _ in 0..graph.node.len() {
        let made = graph.node.iter().find(|node| node.output.iter().any(|one| one == value));
        let Some(node) = made else { return Vec::new() };
        let labels = labels(node);
        if !labels.is_empty() {
            return labels;
        }
        match (node.op_type.as_str(), node.input.first()) {
            ("Identity" | "Cast" | "ZipMap" | "Normalizer", Some(input)) => value = input,
            _ => return Vec::new(),
        }
    }
    Vec::new()
}

/// Takes the probabilities themselves where the file makes a list of maps of them.
fn maps(graph: &mut GraphProto) {
    for node in graph.node.iter_mut().filter(|node| node.op_type == "ZipMap") {
        "Identity".clone_into(&mut node.op_type);
        node.domain.clear();
        node.attribute.clear();
    }
}

/// Leaves out what the output does not need.
fn prune(graph: &mut GraphProto, output: &str) -> Result<()> {
    let mut makers: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, node) in graph.node.iter().enumerate() {
        for made in node.output.iter().filter(|made| !made.is_empty()) {
            if makers.insert(made, at).is_some() {
                return Err(Error::invalid(format!("two operators of the model make \"{made}\""))
                    .hint("The file is damaged: check it with `onnx.checker.check_model`."));
            }
        }
    }
    let given: BTreeSet<&str> = graph
        .input
        .iter()
        .map(|input| input.name.as_str())
        .chain(graph.initializer.iter().map(|tensor| tensor.name.as_str()))
        .collect();
    let (mut values, mut nodes) = (BTreeSet::from([output]), BTreeSet::new());
    let mut open = vec![output];
    while let Some(value) = open.pop() {
        let Some(at) = makers.get(value) else {
            if given.contains(value) {
                continue;
            }
            return Err(Error::invalid(format!(
                "the model reads \"{value}\", which nothing makes"
            ))
            .hint("The file is damaged: check it with `onnx.checker.check_model`."));
        };
        if !nodes.insert(*at) {
            continue;
        }
        let inputs = graph.node.get(*at).into_iter().flat_map(|node| &node.input);
        for input in inputs.filter(|input| !input.is_empty()) {
            if values.insert(input) {
                open.push(input);
            }
        }
    }
    let values: BTreeSet<String> = values.into_iter().map(str::to_owned).collect();
    let mut at = 0;
    graph.node.retain(|_| {
        at += 1;
        nodes.contains(&(at - 1))
    });
    graph.initializer.retain(|tensor| values.contains(&tensor.name));
    let constant: BTreeSet<&str> =
        graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    graph
        .input
        .retain(|input| values.contains(&input.name) && !constant.contains(input.name.as_str()));
    graph.output.retain(|one| one.name == output);
    // Of a list of maps the type is none that the runtime knows, and it finds types by itself.
    graph.output.iter_mut().for_each(|one| one.r#type = None);
    graph.value_info.clear();
    if graph.input.is_empty() {
        return Err(Error::invalid(format!("output \"{output}\" does not depend on any input"))
            .hint("Name another output under `output`."));
    }
    Ok(())
}

/// The operators that are run, or which of them are not.
fn operators(graph: &GraphProto) -> Result<Vec<String>> {
    let (mut run, mut not) = (BTreeSet::new(), BTreeSet::new());
    for node in &graph.node {
        let name = node.op_type.as_str();
        let known = matches!(node.domain.as_str(), "" | "ai.onnx" | "ai.onnx.ml")
            && (RUN.contains(&name) || operator::OURS.contains(&name));
        let full = match node.domain.as_str() {
            "" | "ai.onnx" | "ai.onnx.ml" => name.to_owned(),
            domain => format!("{domain}.{name}"),
        };
        if known {
            run.insert(full)
        } else {
            not.insert(full)
        };
    }
    if !not.is_empty() {
        let not: Vec<String> = not.into_iter().collect();
        return Err(Error::invalid(format!("the model has operators that are not run here: {}", not.join(", ")))
            .hint("Do that step in the SQL of `rows`, or fit a model without it; docs/guides/bring-a-model.md lists the operators."));
    }
    Ok(run.into_iter().collect())
}

/// Makes our operators give one output, the numbers.
fn ours(graph: &mut GraphProto) -> Result<()> {
    let asked: BTreeSet<String> = graph
        .node
        .iter()
        .flat_map(|node| node.input.iter())
        .chain(graph.output.iter().map(|output| &output.name))
        .cloned()
        .collect();
    for node in graph.node.iter_mut().filter(|node| node.op_type == "TreeEnsembleClassifier") {
        if node.output.first().is_some_and(|label| asked.contains(label)) {
            return Err(Error::invalid("the score would be the label of a classifier of trees")
                .hint("Name the output with probabilities under `output`."));
        }
        node.output = node.output.split_off(1.min(node.output.len()));
    }
    // The runtime would prepare labels that are texts, and cannot; nobody asks for them, so their places stand for them.
    for node in graph.node.iter_mut().filter(|node| node.op_type == "LinearClassifier") {
        if node.output.first().is_some_and(|label| asked.contains(label)) {
            return Err(Error::invalid("the score would be the label of a linear classifier")
                .hint("Name the output with probabilities under `output`."));
        }
        let texts = |name: &str| name == "classlabels_strings";
        let Some(labels) = node.attribute.iter_mut().find(|one| texts(&one.name)) else { continue };
        "classlabels_ints".clone_into(&mut labels.name);
        labels.r#type = AttributeType::Ints as i32;
        let count = std::mem::take(&mut labels.strings).len();
        labels.ints = (0_i64..).take(count).collect();
    }
    Ok(())
}

/// An input, and how many rows the file fixes.
fn input(value: &ValueInfoProto) -> Result<(Input, Option<usize>)> {
    let name = value.name.clone();
    let Some(Type::TensorType(tensor)) = value.r#type.as_ref().and_then(|one| one.value.as_ref())
    else {
        return Err(Error::invalid(format!("input \"{name}\" is no tensor"))
            .hint("Export the model with tensors as inputs, without lists and maps."));
    };
    let (kind, element) = match tensor.elem_type {
        1 => (Kind::Number, DatumType::F32),
        11 => (Kind::Number, DatumType::F64),
        6 => (Kind::Integer, DatumType::I32),
        7 => (Kind::Integer, DatumType::I64),
        9 => (Kind::Flag, DatumType::Bool),
        8 => (Kind::Text, DatumType::String),
        other => {
            return Err(Error::invalid(format!(
                "input \"{name}\" has the element type {other}, which is not given here"
            ))
            .hint("Export it with inputs of float, double, int32, int64, bool or string."));
        }
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| shape.dim.as_slice());
    let size = |at: usize| match dims.get(at).and_then(|dim| dim.value.as_ref()) {
        Some(Dim::DimValue(size)) => usize::try_from(*size).ok().filter(|size| *size > 0),
        Some(Dim::DimParam(_)) | None => None,
    };
    let (flat, width) = match dims.len() {
        1 => (true, Some(1)),
        2 => (false, size(1)),
        count => {
            return Err(Error::invalid(format!(
                "input \"{name}\" has {count} dimensions, and rows have [rows] or [rows, columns]"
            ))
            .hint(
                "Export a model that takes a table; sequences and pictures are not scored here.",
            ));
        }
    };
    if let Some(width) = width.filter(|width| *width > WIDTH_MAX) {
        return Err(Error::invalid(format!(
            "input \"{name}\" takes {width} columns, and {WIDTH_MAX} may be given"
        ))
        .hint("The file is damaged, or made for something else than rows of a table."));
    }
    Ok((Input { name, kind, width, element, flat }, size(0)))
}

/// How many rows are run at once.
fn block(inputs: &[(Input, Option<usize>)]) -> Result<usize> {
    let fixed: BTreeSet<usize> = inputs.iter().filter_map(|(_, rows)| *rows).collect();
    match fixed.iter().copied().collect::<Vec<_>>().as_slice() {
        [] => Ok(BLOCK),
        [rows] if *rows <= BLOCK_MAX => Ok(*rows),
        [rows] => Err(Error::invalid(format!(
            "the model takes {rows} rows at once, and {BLOCK_MAX} may be given"
        ))
        .hint("Export it with an open number of rows: `dynamic_axes={\"X\": {0: \"rows\"}}`.")),
        _ => Err(Error::invalid(format!(
            "the inputs of the model take different numbers of rows: {fixed:?}"
        ))
        .hint("Export it with an open number of rows: `dynamic_axes={\"X\": {0: \"rows\"}}`.")),
    }
}

/// Lets the runtime prepare the model for rows of these widths.
pub(super) fn plan(file: &File, widths: &[usize]) -> TractResult<Arc<TypedSimplePlan>> {
    let mut onnx =
        tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_output_types(true);
    operator::register(&mut onnx.op_register);
    let parsed = onnx.parse(&file.proto, None)?;
    if !parsed.unresolved_inputs.is_empty() {
        bail!("the model reads {:?}, which nothing makes", parsed.unresolved_inputs);
    }
    let mut model = parsed.model;
    for (place, (input, width)) in file.inputs.iter().zip(widths).enumerate() {
        let fact = match input.flat {
            true => InferenceFact::dt_shape(input.element, [file.block]),
            false => InferenceFact::dt_shape(input.element, [file.block, *width]),
        };
        model.set_input_fact(place, fact)?;
    }
    let typed = model.into_typed()?;
    for node in typed.nodes() {
        for outlet in &node.outputs {
            let count = outlet.fact.shape.as_concrete().and_then(|shape| {
                shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size))
            });
            if count.is_none_or(|count| count > STEP_MAX) {
                bail!(
                    "operator \"{}\" would make {:?} numbers at once",
                    node.name,
                    outlet.fact.shape
                );
            }
        }
    }
    typed.into_optimized()?.into_runnable()
}

/// The numbers of the first output.
pub(super) fn numbers(made: &TVec<TValue>) -> TractResult<Vec<f64>> {
    let Some(first) = made.first() else { bail!("the model answers nothing") };
    let numbers = first.cast_to::<f64>()?;
    Ok(numbers.to_plain_array_view::<f64>()?.iter().copied().collect())
}

/// A tensor of one of the types that [`input`] knows.
pub(super) fn tensor(
    element: DatumType,
    shape: &[usize],
    numbers: Vec<f64>,
    texts: Vec<String>,
) -> TractResult<Tensor> {
    Ok(match element {
        DatumType::String => ArrayD::from_shape_vec(shape, texts)?.into(),
        DatumType::F32 => {
            ArrayD::from_shape_vec(shape, numbers.iter().map(|n| *n as f32).collect())?.into()
        }
        DatumType::F64 => ArrayD::from_shape_vec(shape, numbers)?.into(),
        DatumType::I32 => {
            ArrayD::from_shape_vec(shape, numbers.iter().map(|n| *n as i32).collect())?.into()
        }
        DatumType::I64 => {
            ArrayD::from_shape_vec(shape, numbers.iter().map(|n| *n as i64).collect())?.into()
        }
        DatumType::Bool => {
            ArrayD::from_shape_vec(shape, numbers.iter().map(|n| *n != 0.0).collect())?.into()
        }
        other => bail!("an input of type {other:?}"),
    })
}
