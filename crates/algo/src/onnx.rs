//! Models that somebody else has fitted and brings as an ONNX file: read, checked, and run row by row.
//!
//! The file comes from outside, so nothing in it is believed. Before the runtime (tract) sees it, every tensor and every
//! operator is looked at: weights in other files, tensors larger than the file, operators that are not on the list are refused by
//! name; what the wanted output does not need is left out. Operators of scikit-learn's converter that the runtime does not
//! have, or takes on trust, are ours (`operator`). Whatever still panics inside the runtime is caught and becomes an error.
//!
//! Rows are run in blocks of a fixed size, the last one filled up, so that a row's score is the same bits alone and among
//! others.

mod operator;
mod read;
mod trees;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use flywheel_base::{Error, Result, suggest};
use tract_onnx::prelude::{Arc, DatumType, IntoTValue, TValue, TVec, Tensor, TypedSimplePlan};

/// Bytes that a model may have.
pub const SIZE_MAX: usize = 64 << 20;
/// Rows of a block, unless the file fixes them.
const BLOCK: usize = 64;
/// Rows that a file may fix.
const BLOCK_MAX: usize = 4_096;
/// Columns that an input may have, and numbers that an output may have a row.
const WIDTH_MAX: usize = 10_000;
/// Numbers that a step of the model may make at once.
const STEP_MAX: usize = 1 << 26;

/// Which number of the model is the score.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The output; the only one that holds numbers if absent.
    pub output: Option<String>,
    /// The class whose probability it is: its label where the file has labels, else its place from 0. The last one if absent.
    pub class: Option<String>,
}

/// What an input takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers with fraction, of which `NaN` says that one is not known.
    Number,
    /// Whole numbers, none of them missing.
    Integer,
    /// True or false, none of them missing.
    Flag,
    /// Texts.
    Text,
}

/// An input of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name in the file.
    pub name: String,
    /// What it takes.
    pub kind: Kind,
    /// How many columns; none if the file leaves it open.
    pub width: Option<usize>,
    element: DatumType,
    flat: bool,
}

/// What is known of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name in the file.
    pub name: String,
    /// The labels of its classes, if the file names them.
    pub labels: Vec<String>,
}

/// A column of rows to be scored.
#[derive(Clone, Copy, Debug)]
pub enum Column<'a> {
    /// Numbers, a missing one `NaN`.
    Numbers(&'a [f64]),
    /// Texts, a missing one empty.
    Texts(&'a [String]),
}

impl Column<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Numbers(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }
}

/// A model that was read and checked, and not yet told how wide its inputs are.
pub struct File {
    proto: tract_onnx::pb::ModelProto,
    inputs: Vec<Input>,
    output: Output,
    operators: Vec<String>,
    block: usize,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl File {
    /// Reads a file and checks what it says of itself.
    ///
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if it is no ONNX file, is larger than [`SIZE_MAX`], keeps weights in other files,
    /// has operators that are not run here, or no output as `wanted`.
    pub fn read(bytes: &[u8], wanted: &Wanted) -> Result<Self> {
        contained("read", || read::file(bytes, wanted))?
    }

    /// The inputs that the score needs, in the order of the file.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The output that is the score.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Names of the operators that are run, sorted.
    #[must_use]
    pub fn operators(&self) -> &[String] {
        &self.operators
    }

    /// Makes it ready to score rows whose inputs have `widths` columns.
    ///
    /// # Shape
    /// One width for each of [`File::inputs`].
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if a width is not the file's, or the operators do not fit together.
    pub fn model(self, widths: &[usize], wanted: &Wanted) -> Result<Model> {
        if widths.len() != self.inputs.len() {
            return Err(Error::invalid(format!(
                "the model has {} inputs ({}), and {} are given",
                self.inputs.len(),
                names(&self.inputs),
                widths.len()
            ))
            .hint("Give each input its columns."));
        }
        for (input, width) in self.inputs.iter().zip(widths) {
            check_width(input, *width)?;
        }
        contained("prepared", || Model::prepared(self, widths, wanted))?
    }
}

fn check_width(input: &Input, width: usize) -> Result<()> {
    let name = &input.name;
    if width == 0 || width > WIDTH_MAX {
        return Err(Error::invalid(format!("input \"{name}\" is given {width} columns"))
            .hint(format!("Give it 1 to {WIDTH_MAX}.")));
    }
    match input.width {
        Some(wanted) if wanted != width => Err(Error::invalid(format!(
            "input \"{name}\" takes {wanted} columns and is given {width}"
        ))
        .hint("List its columns under `inputs`, in the order in which the model was fitted.")),
        _ => Ok(()),
    }
}

fn names(inputs: &[Input]) -> String {
    inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// A model that scores rows.
///
/// Its memory is that of one block, however many rows there are.
pub struct Model {
    plan: Arc<TypedSimplePlan>,
    inputs: Vec<Input>,
    widths: Vec<usize>,
    block: usize,
    /// The place of the score among the numbers of a row.
    place: usize,
    /// How many numbers a row has.
    numbers: usize,
    /// Whether it has a way with numbers that are missing.
    fills: bool,
}

/// Operators that have a way with numbers that are missing.
const FILL: [&str; 4] = ["Imputer", "IsNaN", "TreeEnsembleClassifier", "TreeEnsembleRegressor"];

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl Model {
    fn prepared(file: File, widths: &[usize], wanted: &Wanted) -> Result<Self> {
        let plan = read::plan(&file, widths).map_err(|error| unfit(&error))?;
        let outlet = plan.model().output_fact(0).map_err(|error| unfit(&error))?;
        let shape: Option<Vec<usize>> = outlet.shape.as_concrete().map(<[usize]>::to_vec);
        let numbers = match shape.as_deref() {
            Some([rows]) if *rows == file.block => 1,
            Some([rows, numbers]) if *rows == file.block && (1..=WIDTH_MAX).contains(numbers) => {
                *numbers
            }
            _ => {
                return Err(Error::invalid(format!(
                    "output \"{}\" has the shape {:?}, which is not some numbers for each row",
                    file.output.name, outlet.shape
                ))
                .hint(
                    "Name another output under `output`: one of shape [rows] or [rows, classes].",
                ));
            }
        };
        let place = place(&file.output, numbers, wanted.class.as_deref())?;
        let fills = file.operators.iter().any(|name| FILL.contains(&name.as_str()));
        let (inputs, block) = (file.inputs, file.block);
        Ok(Self { plan, inputs, widths: widths.to_vec(), block, place, numbers, fills })
    }

    /// How many numbers the output has for each row, of which one is the score.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.numbers
    }

    /// The score of each row; `NaN` where the model answers no finite number, and where a number is missing that it has no
    /// way with: some steps of the runtime, such as its softmax, make a finite number of `NaN`.
    ///
    /// # Shape
    /// `columns` has the columns of the first input, then those of the second, and so on, each as long as there are rows.
    /// # Errors
    /// [`flywheel_base::ErrorKind::Invalid`] if there are too few or too many columns, one is of another kind or length, a whole
    /// number or a flag is missing, or the model fails on these values.
    /// # Cost
    /// That of the model, for `rows` rounded up to a block of 64 (or what the file fixes).
    pub fn scores(&self, columns: &[Column<'_>], rows: usize) -> Result<Vec<f64>> {
        let wanted: usize = self.widths.iter().sum();
        if columns.len() != wanted || columns.iter().any(|column| column.len() != rows) {
            return Err(Error::internal(format!(
                "a model of {wanted} columns is given {} for {rows} rows",
                columns.len()
            )));
        }
        let mut scores = Vec::with_capacity(rows);
        let mut from = 0;
        while from < rows {
            let until = rows.min(from + self.block);
            let inputs = self.block_of(columns, from, until)?;
            let run = || self.plan.run(inputs).and_then(|made| read::numbers(&made));
            let made = contained("run", run)?.map_err(|error| failed(&error))?;
            if made.len() != self.block * self.numbers {
                return Err(Error::invalid("the model answers another number of rows than it is given")
                    .hint("Use a model in which each row of the output follows from one row of the input."));
            }
            let missing = |row: usize| {
                let lacks = |column: &Column<'_>| match column {
                    Column::Numbers(values) => values.get(row).is_none_or(|value| value.is_nan()),
                    Column::Texts(_) => false,
                };
                !self.fills && columns.iter().any(lacks)
            };
            let answers = made.chunks_exact(self.numbers).zip(from..until);
            scores.extend(answers.map(|(numbers, row)| {
                let score = numbers.get(self.place).copied().filter(|score| score.is_finite());
                score.filter(|_| !missing(row)).unwrap_or(f64::NAN)
            }));
            from = until;
        }
        Ok(scores)
    }

    /// The inputs of one block, in which the last row is repeated until it is full.
    fn block_of(&self, columns: &[Column<'_>], from: usize, until: usize) -> Result<TVec<TValue>> {
        let row = |place: usize| (from + place).min(until - 1);
        let mut rest = columns;
        let mut tensors = TVec::new();
        for (input, width) in self.inputs.iter().zip(&self.widths) {
            let (own, others) = rest.split_at(*width);
            rest = others;
            let shape = if input.flat { vec![self.block] } else { vec![self.block, *width] };
            let cells = (0..self.block)
                .flat_map(|place| own.iter().map(move |column| (column, row(place))));
            tensors.push(tensor(input, &shape, cells)?.into_tvalue());
        }
        Ok(tensors)
    }
}

/// The cells of a block as the input's element type.
fn tensor<'c>(
    input: &Input,
    shape: &[usize],
    cells: impl Iterator<Item = (&'c Column<'c>, usize)>,
) -> Result<Tensor> {
    let mut numbers = Vec::new();
    let mut texts = Vec::new();
    for (column, row) in cells {
        match (column, input.kind) {
            (Column::Texts(values), Kind::Text) => texts.extend(values.get(row).cloned()),
            (Column::Numbers(values), Kind::Number) => numbers.extend(values.get(row).copied()),
            (Column::Numbers(values), Kind::Integer | Kind::Flag) => {
                numbers.push(whole(input, values.get(row).copied().unwrap_or(f64::NAN))?);
            }
            (Column::Texts(_), _) => return Err(other(input, "numbers", "texts")),
            (Column::Numbers(_), Kind::Text) => return Err(other(input, "texts", "numbers")),
        }
    }
    read::tensor(input.element, shape, numbers, texts).map_err(|error| failed(&error))
}

fn whole(input: &Input, value: f64) -> Result<f64> {
    if value.is_finite() && value.fract() == 0.0 {
        return Ok(value);
    }
    let said =
        if value.is_nan() { "is given none".to_owned() } else { format!("is given {value}") };
    Err(Error::invalid(format!("input \"{}\" takes whole numbers and {said}", input.name))
        .hint("Fill it in the query, such as `coalesce(visits, 0)`, or cast it to a whole number."))
}

fn other(input: &Input, takes: &str, given: &str) -> Error {
    Error::invalid(format!("input \"{}\" takes {takes} and is given {given}", input.name))
        .hint("Select a column of that type, or cast it in the query.")
}

/// The place of the wanted class.
fn place(output: &Output, numbers: usize, class: Option<&str>) -> Result<usize> {
    let Some(class) = class else { return Ok(numbers - 1) };
    let name = &output.name;
    if output.labels.len() == numbers {
        return output.labels.iter().position(|label| label == class).ok_or_else(|| {
            Error::invalid(format!("output \"{name}\" has no class \"{class}\""))
                .hint(suggest::hint(class, output.labels.iter().map(String::as_str)))
        });
    }
    class.parse().ok().filter(|place| *place < numbers).ok_or_else(|| {
        Error::invalid(format!("output \"{name}\" has no class \"{class}\"")).hint(format!(
            "The file names no classes: give the place of the wanted number, 0 to {}.",
            numbers - 1
        ))
    })
}

/// Runs what may panic inside the runtime.
fn contained<T>(what: &str, run: impl FnOnce() -> T) -> Result<T> {
    // The runtime has assertions and indexing of its own; nothing of ours is kept that it could leave half done.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let said = panic
            .downcast_ref::<&str>()
            .map(|said| (*said).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Error::invalid(format!("the ONNX runtime gave up when the model was {what}: {}", first_line(&said)))
            .hint("The file is damaged, or has an operator that the runtime cannot run so; export it again, for opset 18 or older.")
    })
}

/// That operators do not fit together.
fn unfit(error: &impl fmt::Display) -> Error {
    let said = first_line(&format!("{error:#}"));
    Error::invalid(format!("the model cannot be prepared: {said}"))
        .hint("Check the widths of its inputs, or export it again for opset 18 or older.")
}

/// That a model failed on rows.
fn failed(error: &impl fmt::Display) -> Error {
    Error::invalid(format!("the model fails on these rows: {}", first_line(&format!("{error:#}"))))
        .hint("Compare the columns, their order and their types with those that the model was fitted with.")
}

/// What a person reads of a long message: whole dumps of graphs follow.
fn first_line(text: &str) -> String {
    const SHOWN: usize = 300;
    text.lines().next().unwrap_or_default().chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests;
