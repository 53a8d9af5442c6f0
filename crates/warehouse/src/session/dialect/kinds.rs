//! Names of types that the engine does not know.

use datafusion::sql::sqlparser::ast::{DataType, ExactNumberInfo, TimezoneInfo};

/// A type in words of ours, where the engine has what it means: texts that are called otherwise, whole numbers
/// that are wide enough for those without a sign, moments, bytes. `json` and `uuid` are kept as texts.
pub(super) fn ours(kind: &DataType) -> Option<DataType> {
    let digits = |count| DataType::Decimal(ExactNumberInfo::PrecisionAndScale(count, 0));
    let moment = || DataType::Timestamp(None, TimezoneInfo::None);
    Some(match kind {
        DataType::Uuid
        | DataType::JSON
        | DataType::JSONB
        | DataType::Nvarchar(_)
        | DataType::CharacterVarying(_)
        | DataType::CharVarying(_)
        | DataType::Clob(_) => DataType::Text,
        DataType::Datetime(_) => moment(),
        DataType::Blob(_) | DataType::Binary(_) | DataType::Varbinary(_) => DataType::Bytea,
        DataType::HugeInt => digits(38),
        DataType::UBigInt | DataType::UInt64 => digits(20),
        DataType::Int64 | DataType::UInt32 => DataType::BigInt(None),
        DataType::Int32 | DataType::USmallInt | DataType::UInt16 => DataType::Int(None),
        DataType::Int16 | DataType::UTinyInt | DataType::UInt8 => DataType::SmallInt(None),
        DataType::Float64 => DataType::DoublePrecision,
        DataType::Dec(number) => DataType::Decimal(*number),
        DataType::Custom(name, arguments) if arguments.is_empty() => {
            match name.to_string().to_lowercase().as_str() {
                "bpchar" | "citext" => DataType::Text,
                "timestamp_s" | "timestamp_ms" | "timestamp_us" | "timestamp_ns" => moment(),
                "uinteger" => DataType::BigInt(None),
                _ => return None,
            }
        }
        _ => return None,
    })
}
