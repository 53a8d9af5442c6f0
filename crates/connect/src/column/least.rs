//! The least type that two types of numbers have in common: what a column becomes that was widened.

use arrow::datatypes::DataType;

use super::DECIMAL_DIGITS_MAX;

/// The most digits of whole numbers that a single has room for, each of them.
const FLOAT32_DIGITS: u8 = 7;
/// The same of a double.
const FLOAT64_DIGITS: u8 = 15;

/// What a type of numbers can hold.
#[derive(Clone, Copy, Debug)]
enum Numbers {
    /// Whole numbers of so many bytes.
    Whole(u8),
    /// So many digits before and behind the point.
    Exact(u8, u8),
    /// Floating-point numbers of so many bytes.
    Float(u8),
}

impl Numbers {
    fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Int8 => Self::Whole(1),
            DataType::Int16 | DataType::UInt8 => Self::Whole(2),
            DataType::Int32 | DataType::UInt16 => Self::Whole(4),
            DataType::Int64 | DataType::UInt32 => Self::Whole(8),
            DataType::UInt64 => Self::Exact(20, 0),
            DataType::Decimal128(precision, scale) => {
                let scale = u8::try_from(*scale).ok()?;
                Self::Exact(precision.checked_sub(scale)?, scale)
            }
            DataType::Float16 | DataType::Float32 => Self::Float(4),
            DataType::Float64 => Self::Float(8),
            _ => return None,
        })
    }

    /// The most digits before and behind the point, if every one of them counts.
    fn digits(self) -> Option<(u8, u8)> {
        match self {
            Self::Whole(1) => Some((3, 0)),
            Self::Whole(2) => Some((5, 0)),
            Self::Whole(4) => Some((10, 0)),
            Self::Whole(_) => Some((19, 0)),
            Self::Exact(whole, scale) => Some((whole, scale)),
            Self::Float(_) => None,
        }
    }

    fn arrow(self) -> Option<DataType> {
        Some(match self {
            Self::Whole(1) => DataType::Int8,
            Self::Whole(2) => DataType::Int16,
            Self::Whole(4) => DataType::Int32,
            Self::Whole(_) => DataType::Int64,
            Self::Exact(whole, scale) => {
                let precision = whole.checked_add(scale).filter(|p| *p <= DECIMAL_DIGITS_MAX)?;
                DataType::Decimal128(precision, i8::try_from(scale).ok()?)
            }
            Self::Float(4) => DataType::Float32,
            Self::Float(_) => DataType::Float64,
        })
    }
}

/// The least type that holds every value of both without loss, if both are numbers and there is one.
pub(crate) fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    let numbers = match (Numbers::of(a)?, Numbers::of(b)?) {
        (Numbers::Whole(a), Numbers::Whole(b)) => Numbers::Whole(a.max(b)),
        (Numbers::Float(a), Numbers::Float(b)) => Numbers::Float(a.max(b)),
        (Numbers::Float(bytes), exact) | (exact, Numbers::Float(bytes)) => {
            let (whole, _) = exact.digits().filter(|(_, scale)| *scale == 0)?;
            match bytes {
                4 if whole <= FLOAT32_DIGITS => Numbers::Float(4),
                _ if whole <= FLOAT64_DIGITS => Numbers::Float(8),
                _ => return None,
            }
        }
        (a, b) => {
            let ((whole, scale), (w, s)) = (a.digits()?, b.digits()?);
            Numbers::Exact(whole.max(w), scale.max(s))
        }
    };
    numbers.arrow()
}

/// The type that a column needs which holds `held` and is to hold values of `given` as well; none if it
/// holds them already, or no type does.
pub(crate) fn wider(held: &DataType, given: &DataType) -> Option<DataType> {
    common(held, given).filter(|wide| wide != held)
}

/// The type that a column of files needs which held `held` so far, in a file that has `given`: as [`wider`],
/// but exact decimals never become floating-point numbers, as they do not in a table of the lake.
pub(crate) fn wider_in_file(held: &DataType, given: &DataType) -> Option<DataType> {
    if held == given {
        return None;
    }
    let decimal = |of: &DataType| matches!(of, DataType::Decimal128(..));
    let decimals = decimal(held) || decimal(given);
    wider(held, given).filter(|wide| !(decimals && wide.is_floating()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_files_keeps_its_decimals_and_its_type_if_nothing_changed() {
        for (held, given, expected) in [
            (DataType::UInt32, DataType::UInt32, None),
            (DataType::Int32, DataType::Int64, Some(DataType::Int64)),
            (DataType::Int32, DataType::Float64, Some(DataType::Float64)),
            (DataType::Decimal128(9, 0), DataType::Float64, None),
            (DataType::Float64, DataType::Decimal128(9, 0), None),
            (DataType::Int64, DataType::Decimal128(20, 0), Some(DataType::Decimal128(20, 0))),
        ] {
            assert_eq!(wider_in_file(&held, &given), expected, "{held} and {given}");
        }
    }

    #[test]
    fn a_column_widens_only_where_nothing_is_lost() {
        for (held, given, expected) in [
            (DataType::Int16, DataType::Int32, Some(DataType::Int32)),
            (DataType::Int64, DataType::Int32, None),
            (DataType::UInt32, DataType::Int64, Some(DataType::Int64)),
            (DataType::Int64, DataType::UInt64, Some(DataType::Decimal128(20, 0))),
            (DataType::Float32, DataType::Float64, Some(DataType::Float64)),
            (DataType::Int16, DataType::Float32, Some(DataType::Float32)),
            (DataType::Int32, DataType::Float32, Some(DataType::Float64)),
            (DataType::Int64, DataType::Float64, None),
            (
                DataType::Decimal128(9, 2),
                DataType::Decimal128(9, 4),
                Some(DataType::Decimal128(11, 4)),
            ),
            (DataType::Decimal128(12, 2), DataType::Decimal128(9, 2), None),
            (DataType::Decimal128(38, 0), DataType::Decimal128(9, 4), None),
            (DataType::Utf8, DataType::Int64, None),
        ] {
            assert_eq!(wider(&held, &given), expected, "{held} and {given}");
        }
    }
}
