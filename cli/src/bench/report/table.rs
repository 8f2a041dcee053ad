//! A document as people read it at a terminal: at most 80 columns wide.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::view::{Axis, Group, groups, path_title};
use super::{Document, Figure, Row};

/// Columns of the narrowest terminal that is looked after.
const WIDTH: u16 = 80;

/// The whole document.
pub fn table(document: &Document) -> String {
    let mut text = format!("{}\n{}", document.test.title().to_uppercase(), document.machine.text());
    for group in groups(document) {
        if !group.title.is_empty() {
            let _ = write!(text, "\n{}\n", first_upper(&group.title));
        }
        for table in tables(document, &group) {
            let _ = write!(text, "\n{table}\n");
        }
    }
    let rounds = document.rounds;
    if rounds > 1 {
        let said = format!("Medians of {rounds} rounds; +- is half of the range that the middle half of them lies in.");
        let _ = write!(text, "\n{}", folded(&said));
    }
    for note in &document.notes {
        text.push_str(&folded(note));
    }
    text
}

/// Text in lines of at most [`WIDTH`] columns, as far as its words are shorter.
fn folded(text: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > usize::from(WIDTH) {
            lines.push('\n');
            column = 0;
        }
        if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += length;
    }
    lines + "\n"
}

/// A table for each figure where a test varies something, else one with all figures.
fn tables(document: &Document, group: &Group<'_>) -> Vec<String> {
    match document.test.axis() {
        Some(axis) if group.values(axis).len() > 1 => {
            let figures = document.test.figures().iter().filter(|figure| group.has(**figure));
            figures.map(|figure| pivot(group, axis, *figure)).collect()
        }
        _ => vec![list(document, group)],
    }
}

/// A figure by path and value on the axis.
fn pivot(group: &Group<'_>, axis: Axis, figure: Figure) -> String {
    if group.is_zero(figure) {
        return format!("{}: none", figure.title());
    }
    let paths = group.paths();
    let mut table = empty(paths.len());
    let titles = paths.iter().map(|path| path_title(path).replace(' ', "\n"));
    table.set_header(std::iter::once(axis.name().to_owned()).chain(titles));
    for value in group.values(axis) {
        let cell = |path: &&str| group.row(path, axis, value).map_or_else(String::new, |row| with_spread(row, figure));
        table.add_row(std::iter::once(value.to_string()).chain(paths.iter().map(cell)));
    }
    format!("{}, {}\n{}", figure.title(), figure.unit(), trimmed(&table))
}

/// Two lines: the median and its spread.
fn with_spread(row: &Row, figure: Figure) -> String {
    let Some(median) = row.median(figure) else { return String::new() };
    format!("{}\n{}", figure.format(median), spread(row, figure))
}

fn spread(row: &Row, figure: Figure) -> String {
    let has_rounds = row.samples.get(&figure).is_some_and(|all| all.len() > 1);
    row.spread(figure).filter(|_| has_rounds).map_or_else(String::new, |share| format!("+-{:.0}%", share * 100.0))
}

/// All figures of each row; the spread is that of the first one.
fn list(document: &Document, group: &Group<'_>) -> String {
    let figures = group.figures(document.test);
    let mut table = empty(figures.len() + 1);
    let titles = figures.iter().map(|figure| format!("{}\n{}", figure.title().replace(' ', "\n"), figure.unit()));
    let mut header: Vec<String> = std::iter::once("path".to_owned()).chain(titles).collect();
    header.insert(2.min(header.len()), "+-".to_owned());
    table.set_header(header);
    for row in &group.rows {
        let value = |figure: &Figure| row.median(*figure).map_or_else(String::new, |value| figure.format(value));
        let mut cells: Vec<String> =
            std::iter::once(path_title(&row.condition.path)).chain(figures.iter().map(value)).collect();
        let first = figures.first().map_or_else(String::new, |figure| spread(row, *figure));
        cells.insert(2.min(cells.len()), first.trim_start_matches("+-").to_owned());
        table.add_row(cells);
    }
    trimmed(&table)
}

/// A table without lines, the first column to the left and `numbers` to the right.
fn empty(numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_width(WIDTH).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(vec![""; numbers + 1]);
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        column.set_cell_alignment(if number == 0 { CellAlignment::Left } else { CellAlignment::Right });
    }
    table
}

fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn first_upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{Condition, Machine, Test};

    /// A report with all paths at five numbers of flows, or at one.
    fn document(test: Test, flows: &[u32]) -> Document {
        let mut document = Document::new(test, 3, "vfw bench".to_owned(), Machine::default());
        let paths = ["direct", "bridge", "routing", "nftables", "iptables", "vfw-tc", "vfw-xdp", "vfw-afxdp"];
        for (path, flows) in paths.iter().flat_map(|path| flows.iter().map(move |flows| (path, flows))) {
            let condition = Condition { path: (*path).to_owned(), flows: Some(*flows), ..Condition::default() };
            let samples = vec![123_456.7, 234_567.8, 345_678.9];
            document.results.push(Row::new(condition, test.figures().iter().map(|figure| (*figure, samples.clone()))));
        }
        document.note(["one word and another ".repeat(9)]);
        document
    }

    #[test]
    fn reports_fit_a_terminal_whatever_they_have() {
        for test in [Test::Range, Test::Rr, Test::Crr, Test::Pps, Test::Flows, Test::Rules, Test::Flood] {
            for flows in [&[1, 1_000, 1_000_000][..], &[1]] {
                let text = table(&document(test, flows));
                assert!(text.lines().all(|line| line.chars().count() <= usize::from(WIDTH)), "{text}");
                assert!(text.contains("234568"), "{text}");
            }
        }
    }
}
