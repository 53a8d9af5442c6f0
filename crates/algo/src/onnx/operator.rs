//! Operators of scikit-learn's converter that are ours: those that the runtime lacks, and trees, whose file it would trust.

use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::tract_ndarray::ArrayD;
use tract_onnx::prelude::{
    Arc, Datum, DatumType, IntoTValue, SpecialOps, TDim, TValue, TVec, Tensor, ToDim, TractResult,
    TypedFact, TypedModel, tvec,
};
use tract_onnx::tract_hir::internal::{
    DimLike, EvalContext, EvalOp, Expansion, InferenceOp, InferenceResult, Op, OutletId, Solver,
    StaticName, TensorProxy, TypedOp, args_1, as_op, bail, check_input_arity, check_output_arity,
    expand, op_as_typed_op, op_out_of_plan,
};

use super::trees::{Ensemble, floats, int, ints, strings};

/// Names of our operators in a file.
pub(super) const OURS: [&str; 5] =
    ["Imputer", "OneHotEncoder", "Scaler", "TreeEnsembleClassifier", "TreeEnsembleRegressor"];

/// Adds them to those of the runtime.
pub(super) fn register(register: &mut OnnxOpRegister) {
    for name in OURS {
        register.insert(name, build);
    }
}

fn build(
    _: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let step = match node.op_type.as_str() {
        "Imputer" => Step::imputer(node),
        "OneHotEncoder" => Step::one_hot(node),
        "Scaler" => Step::scaler(node),
        _ => Ensemble::parse(node).map(|ensemble| Step::Trees(Arc::new(ensemble))),
    };
    Ok((expand(step?), Vec::new()))
}

/// What is made of rows, each by itself. Numbers are kept as their bits, which can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// A number for each class or target.
    Trees(Arc<Ensemble>),
    /// `(x - offset) · scale`.
    Scaler { offset: Vec<u32>, scale: Vec<u32> },
    /// What is not known, or is a number that stands for it, becomes another one.
    Imputer { values: Vec<u32>, replaced: u32 },
    /// A flag for each category.
    OneHot { categories: Categories, others_are_zeros: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Categories {
    Texts(Vec<String>),
    Numbers(Vec<i64>),
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The value for a column: its own, or the one for all.
fn of_column(values: &[u32], column: usize) -> f32 {
    f32::from_bits(
        values.get(if values.len() == 1 { 0 } else { column }).copied().unwrap_or_default(),
    )
}

impl Step {
    fn scaler(node: &NodeProto) -> TractResult<Self> {
        let (offset, scale) = (bits(floats(node, "offset")), bits(floats(node, "scale")));
        if offset.is_empty() || scale.is_empty() {
            bail!("Scaler has no offset or no scale");
        }
        Ok(Self::Scaler { offset, scale })
    }

    fn imputer(node: &NodeProto) -> TractResult<Self> {
        let values = bits(floats(node, "imputed_value_floats"));
        if values.is_empty() {
            bail!("Imputer has no imputed_value_floats; whole numbers are not filled here");
        }
        let replaced = node.attribute.iter().find(|one| one.name == "replaced_value_float");
        Ok(Self::Imputer { values, replaced: replaced.map_or(0.0, |one| one.f).to_bits() })
    }

    fn one_hot(node: &NodeProto) -> TractResult<Self> {
        let (texts, numbers) = (strings(node, "cats_strings"), ints(node, "cats_int64s"));
        let categories = match (texts.is_empty(), numbers.is_empty()) {
            (false, true) => Categories::Texts(texts),
            (true, false) => Categories::Numbers(numbers.to_vec()),
            _ => bail!("OneHotEncoder has not either cats_strings or cats_int64s"),
        };
        Ok(Self::OneHot { categories, others_are_zeros: int(node, "zeros").unwrap_or(1) != 0 })
    }

    /// The shape of what is made.
    fn shape(&self, shape: &[TDim]) -> TractResult<TVec<TDim>> {
        let known = |len: usize, name: &str| -> TractResult<TVec<TDim>> {
            match shape.last().and_then(|last| last.to_usize().ok()) {
                Some(width) if len != 1 && len != width => {
                    bail!("{name} is of {len} columns and is given {width}")
                }
                _ => Ok(shape.iter().cloned().collect()),
            }
        };
        match self {
            Self::Trees(trees) => {
                let [rows, width] = shape else {
                    bail!("trees take a table, and are given {shape:?}")
                };
                if width.to_usize().is_ok_and(|width| width < trees.width) {
                    bail!("trees ask for column {} of {width}", trees.width);
                }
                Ok(tvec!(rows.clone(), trees.outputs.to_dim()))
            }
            Self::Scaler { offset, scale } => {
                known(offset.len(), "Scaler").and_then(|_| known(scale.len(), "Scaler"))
            }
            Self::Imputer { values, .. } => known(values.len(), "Imputer"),
            Self::OneHot { categories, .. } => {
                let count = match categories {
                    Categories::Texts(texts) => texts.len(),
                    Categories::Numbers(numbers) => numbers.len(),
                };
                Ok(shape.iter().cloned().chain([count.to_dim()]).collect())
            }
        }
    }

    fn run(&self, input: &Tensor) -> TractResult<Vec<f32>> {
        match self {
            Self::OneHot { categories: Categories::Texts(texts), others_are_zeros } => {
                if input.datum_type() != String::datum_type() {
                    bail!("OneHotEncoder compares texts and is given {:?}", input.datum_type());
                }
                one_hot(input.to_plain_array_view::<String>()?.iter(), texts, *others_are_zeros)
            }
            Self::OneHot { categories: Categories::Numbers(numbers), others_are_zeros } => {
                let input = input.cast_to::<i64>()?;
                one_hot(input.to_plain_array_view::<i64>()?.iter(), numbers, *others_are_zeros)
            }
            Self::Trees(_) | Self::Scaler { .. } | Self::Imputer { .. } => {
                let width = input.shape().last().copied().unwrap_or(1).max(1);
                let input = input.cast_to::<f32>()?;
                let values: Vec<f32> =
                    input.to_plain_array_view::<f32>()?.iter().copied().collect();
                Ok(self.numbers(&values, width))
            }
        }
    }

    fn numbers(&self, values: &[f32], width: usize) -> Vec<f32> {
        let of_each = |change: &dyn Fn(usize, f32) -> f32| -> Vec<f32> {
            values.iter().enumerate().map(|(at, value)| change(at % width, *value)).collect()
        };
        match self {
            Self::Trees(trees) => {
                let mut made = Vec::with_capacity(values.len() / width * trees.outputs);
                values.chunks_exact(width).for_each(|row| trees.score(row, &mut made));
                made
            }
            Self::Scaler { offset, scale } => of_each(&|column, value| {
                (value - of_column(offset, column)) * of_column(scale, column)
            }),
            Self::Imputer { values, replaced } => {
                let replaced = f32::from_bits(*replaced);
                of_each(&|column, value| {
                    let missing =
                        if replaced.is_nan() { value.is_nan() } else { value == replaced };
                    if missing { of_column(values, column) } else { value }
                })
            }
            Self::OneHot { .. } => Vec::new(),
        }
    }
}

fn one_hot<'v, V: PartialEq + std::fmt::Debug + 'v>(
    values: impl Iterator<Item = &'v V>,
    categories: &[V],
    others_are_zeros: bool,
) -> TractResult<Vec<f32>> {
    let mut made = Vec::new();
    for value in values {
        if !others_are_zeros && !categories.contains(value) {
            bail!(
                "OneHotEncoder is given a value that is none of its {} categories",
                categories.len()
            );
        }
        made.extend(categories.iter().map(|category| f32::from(u8::from(category == value))));
    }
    Ok(made)
}

impl Expansion for Step {
    fn name(&self) -> StaticName {
        "Step".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, DatumType::F32)?;
        s.given(&inputs[0].shape, move |s, shape| s.equals(&outputs[0].shape, self.shape(&shape)?))
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Step {
    fn name(&self) -> StaticName {
        "Step".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Step {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext<'_>, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let dims: TVec<TDim> = input.shape().iter().map(|dim| dim.to_dim()).collect();
        let shape = self
            .shape(&dims)?
            .iter()
            .map(|dim| Ok(dim.to_usize()?))
            .collect::<TractResult<Vec<_>>>()?;
        let made: Tensor = ArrayD::from_shape_vec(shape, self.run(&input)?)?.into();
        Ok(tvec!(made.into_tvalue()))
    }
}

impl TypedOp for Step {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let Some(input) = inputs.first() else { bail!("an operator has no input") };
        let shape: TVec<TDim> = input.shape.iter().cloned().collect();
        Ok(tvec!(TypedFact::dt_shape(DatumType::F32, self.shape(&shape)?)))
    }

    as_op!();
}
