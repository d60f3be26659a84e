//! Columns of text as Go's tabwriter lays them out for runc's `list`.

use std::fmt::Write;

/// The least width of a column.
const MIN_WIDTH: usize = 12;
/// The least gap between columns.
const PADDING: usize = 3;

/// Lays rows out in columns; the last column is as wide as its text.
pub(crate) fn layout<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let length = |cell: &String| cell.chars().count();
    let mut widths = [MIN_WIDTH; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(length(cell) + PADDING);
        }
    }
    if let Some(last) = widths.last_mut() {
        *last = 0;
    }
    let mut out = String::new();
    for row in rows {
        for (&width, cell) in widths.iter().zip(row) {
            write!(out, "{cell:width$}").expect("a String takes any text");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows =
            [row(["ID", "PID", "OWNER"]), row(["a-rather-long-id", "1", "root"]), row(["ü", "22", ""])];
        assert_eq!(
            layout(&rows),
            "ID                 PID         OWNER\n\
             a-rather-long-id   1           root\n\
             ü                  22          \n"
        );
    }
}
