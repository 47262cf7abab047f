//! Rows as arrays, one for each column.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{pipe::Param, rows::Time};
use crate::clock::Timestamp;

/// A value in a row.
pub(super) trait Value: ToSql + Sync + Send {
    /// Whether it may be NULL.
    const OPTIONAL: bool = false;

    /// Whether it is NULL, 0 or the beginning of time.
    fn is_blank(&self) -> bool;
}

impl<T: ToSql + Sync + Send> Value for Option<T> {
    const OPTIONAL: bool = true;

    fn is_blank(&self) -> bool {
        self.is_none()
    }
}

macro_rules! values {
    ($($type:ty: |$value:ident| $is_blank:expr;)+) => {$(
        impl Value for $type {
            fn is_blank(&self) -> bool {
                let $value = self;
                $is_blank
            }
        }
    )+};
}
values! {
    bool: |value| !*value;
    i16: |value| *value == 0;
    i32: |value| *value == 0;
    i64: |value| *value == 0;
    Time: |value| value.0 == Timestamp::ZERO;
    Uuid: |_value| false;
    &str: |_value| false;
    String: |_value| false;
    &[u8]: |_value| false;
}

/// The values of all rows in one column.
pub(super) struct Column<'a> {
    pub values: Param<'a>,
    /// Whether all of them are blank.
    pub is_blank: bool,
}

impl<'a> Column<'a> {
    /// Where all are NULL the array is empty: `unnest` fills it up, and the server has nothing to
    /// read.
    pub fn new<T: Value + 'a>(mut values: Vec<T>) -> Self {
        let is_blank = values.iter().all(Value::is_blank);
        if is_blank && T::OPTIONAL {
            values.clear();
        }
        Self { values: Box::new(values), is_blank }
    }
}

/// Makes one [`Column`] of each expression, from rows.
macro_rules! marked_columns {
    ($rows:expr, |$row:ident| $($value:expr),+ $(,)?) => {
        vec![$($crate::backend::postgres::columns::Column::new(
            $rows.iter().map(|$row| $value).collect::<Vec<_>>(),
        )),+]
    };
}

/// The same, as the parameters of a statement.
macro_rules! columns {
    ($rows:expr, |$row:ident| $($value:expr),+ $(,)?) => {
        vec![$($crate::backend::postgres::columns::Column::new(
            $rows.iter().map(|$row| $value).collect::<Vec<_>>(),
        ).values),+]
    };
}
pub(super) use {columns, marked_columns};
