//! Columns as Go's `text/tabwriter` aligns them with Docker's settings: at least 10 wide, three blanks between.
//!
//! A cell is text that a tab ends; what follows the last tab of a line is none. A column is a run of neighbouring lines
//! that have the cell, and is as wide as the widest of them.

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Aligns the cells of a text.
pub(crate) fn align(text: &str) -> String {
    align_with(text, MIN_WIDTH, PADDING)
}

/// The same with other settings.
pub(crate) fn align_with(text: &str, min_width: usize, padding: usize) -> String {
    let is_ended = text.ends_with('\n');
    let lines: Vec<Vec<&str>> =
        text.strip_suffix('\n').unwrap_or(text).split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len()]).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut first = 0;
        while first < lines.len() {
            let has_cell = |line: &Vec<&str>| line.len() > column + 1;
            if !has_cell(&lines[first]) {
                first += 1;
                continue;
            }
            let count = lines[first..].iter().take_while(|line| has_cell(line)).count();
            let block = first..first + count;
            let widest = block.clone().map(|line| lines[line][column].chars().count()).max().unwrap_or(0);
            let width = (widest + padding).max(min_width);
            block.for_each(|line| widths[line][column] = width);
            first += count;
        }
    }
    let mut output = String::with_capacity(text.len() * 2);
    for (line, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if line > 0 {
            output.push('\n');
        }
        for (cell, width) in cells.iter().zip(widths) {
            output.push_str(cell);
            output.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
    }
    if is_ended {
        output.push('\n');
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_as_docker_aligns_them() {
        let text = "DRIVER\tVOLUME NAME\nlocal\tvol1\nlocal\tx\n";
        assert_eq!(align(text), "DRIVER    VOLUME NAME\nlocal     vol1\nlocal     x\n");
        let text = "NETWORK ID\tNAME\tDRIVER\tSCOPE\n85da3663f697\tbridge\tbridge\tlocal\n";
        let expected = "NETWORK ID     NAME      DRIVER    SCOPE\n85da3663f697   bridge    bridge    local\n";
        assert_eq!(align(text), expected);
    }

    #[test]
    fn a_line_without_the_cell_ends_a_column() {
        assert_eq!(align("aaaaaaaaaaaa\tb\nplain\nc\td\n"), "aaaaaaaaaaaa   b\nplain\nc         d\n");
        assert_eq!(align("é\t\n"), "é         \n");
        assert_eq!(align(""), "");
    }
}
