//! Tables and key/value sheets for people.
//!
//! What always holds: every cell is escaped and one line, columns are aligned by characters, and no line ends in
//! spaces.

use super::text::{Style, escape, one_line, paint};
use std::borrow::Cow;

/// What stands between two columns.
const GAP: &str = "  ";
/// Characters that the last column of a table has at the least, however narrow the terminal.
pub const LAST_COLUMN_MIN: usize = 30;

/// A column is padded up to this width, which is that of the longest id, capability or version. Characters.
const PADDED_MAX: usize = 64;

/// A way to cut a text to so many characters.
pub type Shorten = fn(&str, usize) -> Cow<'_, str>;

/// One cell: a text and how it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// A cell in a style.
    #[must_use]
    pub fn new(text: impl Into<String>, style: Style) -> Cell {
        let text = text.into();
        Cell { text: escape(&one_line(&text)).into_owned(), style }
    }

    /// A plain cell; `-` when there is nothing to show.
    #[must_use]
    pub fn option(value: Option<impl ToString>) -> Cell {
        let text = value.map(|value| value.to_string()).filter(|text| !text.is_empty());
        text.map_or("-".into(), Cell::from)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::new(text, Style::Plain)
    }
}

/// A table with a heading. Ends with a line end.
#[must_use]
pub fn table<const N: usize>(heading: [&str; N], rows: Vec<[Cell; N]>, colour: bool) -> String {
    let heading = heading.map(|name| Cell::new(name, Style::Strong));
    aligned(std::iter::once(heading).chain(rows).collect(), colour)
}

/// A table with a heading whose lines have at most `columns_max` characters: the cells of the last column are cut by
/// `shortened`, to no fewer than [`LAST_COLUMN_MIN`]. Ends with a line end.
#[must_use]
pub fn table_within<const N: usize>(
    heading: [&str; N],
    mut rows: Vec<[Cell; N]>,
    (columns_max, shortened): (usize, Shorten),
    colour: bool,
) -> String {
    let width = |at: usize, name: &str| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.text.chars().count());
        cells.chain([name.chars().count()]).max().unwrap_or(0)
    };
    let others = heading.iter().enumerate().take(N.saturating_sub(1));
    let taken: usize = others.map(|(at, name)| width(at, name) + GAP.len()).sum();
    let left = columns_max.saturating_sub(taken).max(LAST_COLUMN_MIN);
    for cell in rows.iter_mut().filter_map(|row| row.last_mut()) {
        cell.text = shortened(&cell.text, left).into_owned();
    }
    table(heading, rows, colour)
}

/// Names and values, one pair a line. Ends with a line end.
#[must_use]
pub fn sheet(rows: Vec<(&str, Cell)>, colour: bool) -> String {
    let rows = rows.into_iter().map(|(name, value)| [Cell::new(name, Style::Faint), value]);
    aligned(rows.collect(), colour)
}

fn aligned<const N: usize>(rows: Vec<[Cell; N]>, colour: bool) -> String {
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            // One very long cell sticks out instead of widening all others.
            *width = cell.text.chars().count().min(PADDED_MAX).max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
        for (index, (cell, width)) in row.iter().zip(widths).enumerate().take(last + 1) {
            paint(&mut out, &cell.text, cell.style, colour);
            if index < last {
                let missing = width - cell.text.chars().count().min(width);
                out.extend(std::iter::repeat_n(' ', missing));
                out.push_str(GAP);
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::text::shorten_front;
    use super::*;

    #[test]
    fn columns_align_by_characters_and_lines_end_without_spaces() {
        let rows = vec![["é".into(), "".into(), "".into()], ["ab".into(), "\x07".into(), "x".into()]];
        assert_eq!(table(["A", "LONG", "C"], rows, false), "A   LONG  C\né\nab  \\x07  x\n");
    }

    #[test]
    fn colour_does_not_move_the_columns() {
        let rows = vec![[Cell::new("up", Style::Good), "x".into()]];
        let table = table(["STATE", "Y"], rows, true);
        assert_eq!(table, "\x1b[1mSTATE\x1b[0m  \x1b[1mY\x1b[0m\n\x1b[32mup\x1b[0m     x\n");
    }

    #[test]
    fn the_last_column_fills_the_line_and_keeps_its_end() {
        let rows = |text: &str| vec![["kv".into(), text.into()], ["other".into(), "-".into()]];
        let heading = ["ID", "LAST ERROR"];
        let chain = "5 restarts within 60s: the last failure: exit status 3: cannot open database";
        assert_eq!(
            table_within(heading, rows(chain), (120, shorten_front), false),
            table(heading, rows(chain), false)
        );
        let cut = "ID     LAST ERROR\nkv     ...exit status 3: cannot open database\nother  -\n";
        assert_eq!(table_within(heading, rows(chain), (50, shorten_front), false), cut);
        let narrow = table_within(heading, rows(chain), (0, shorten_front), false);
        assert!(narrow.contains("...cannot open database\n"), "{narrow}");
    }

    #[test]
    fn the_longest_id_moves_no_column_and_lines_are_joined() {
        let id = "i".repeat(64);
        let rows =
            vec![[id.as_str().into(), "1".into(), "x".into()], ["b".into(), "2".into(), "a\nb".into()]];
        let gap = " ".repeat(64);
        let expected = format!("ID{}N  WHY\n{id}  1  x\nb{} 2  a | b\n", &gap[..64], &gap[..64]);
        assert_eq!(table(["ID", "N", "WHY"], rows, false), expected);
    }

    #[test]
    fn a_sheet_shows_what_is_absent() {
        let rows = vec![
            ("pid", Cell::option(Some(7))),
            ("generation", Cell::option(None::<u64>)),
            ("last error", Cell::option(Some(""))),
        ];
        assert_eq!(sheet(rows, false), "pid         7\ngeneration  -\nlast error  -\n");
    }
}
