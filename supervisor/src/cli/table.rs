//! Tables for people: as wide as the screen at most, no line is ever broken.

use std::io::{self, Write as _};

use unicode_width::UnicodeWidthStr as _;

use super::screen::{Piece, Screen, Style};

/// Columns that a column of words keeps at least.
const LEAST: usize = 8;

/// Blanks between two columns.
const GAP: usize = 2;

/// How a column is laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// What tells things apart: it is cut last.
    Name,
    /// A number, to the right.
    Number,
    /// Words, which are cut where there is no room.
    Words,
}

/// A table: its headings and its rows.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Kind)>,
    rows: Vec<Vec<Piece>>,
}

impl Table {
    pub(super) fn new(columns: &[(&'static str, Kind)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, row: Vec<Piece>) {
        self.rows.push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints it, or says that it is empty.
    pub(super) fn print(&self, screen: &Screen, empty: &str) -> io::Result<()> {
        if self.is_empty() {
            return screen.line(&[Piece::new(empty)]);
        }
        let widths = self.widths(screen.width);
        let headings = self.columns.iter();
        let headings = headings.map(|(name, _)| Piece::styled(name.to_uppercase(), Style::Dim));
        let headings: Vec<Piece> = headings.collect();
        let mut out = io::stdout().lock();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let line = self.lay_out(row, &widths, screen);
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn lay_out(&self, row: &[Piece], widths: &[usize], screen: &Screen) -> String {
        let mut line = String::new();
        for ((piece, width), (_, kind)) in row.iter().zip(widths).zip(&self.columns) {
            if !line.is_empty() {
                line.push_str(&" ".repeat(GAP));
            }
            let text = piece.cut(*width);
            let fill = " ".repeat(width.saturating_sub(text.width()));
            let text = screen.paint(&text, piece.style());
            match kind {
                Kind::Number => line.extend([&*fill, &*text]),
                Kind::Name | Kind::Words => line.extend([&*text, &*fill]),
            }
        }
        line
    }

    /// Widths that fit: words give way first, the widest before the others.
    fn widths(&self, room: usize) -> Vec<usize> {
        let natural = |(column, (name, _)): (usize, &(&str, Kind))| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(Piece::width).max().unwrap_or(0).max(name.width())
        };
        let mut widths: Vec<usize> = self.columns.iter().enumerate().map(natural).collect();
        let gaps = GAP * widths.len().saturating_sub(1);
        let order = [(Kind::Words, LEAST), (Kind::Name, LEAST), (Kind::Words, 2), (Kind::Name, 2)];
        for (kind, least) in order {
            while widths.iter().sum::<usize>() + gaps > room {
                let all = widths.iter_mut().zip(&self.columns);
                let wide = all.filter(|(width, (_, of))| *of == kind && **width > least);
                let Some((widest, _)) = wide.max_by_key(|(width, _)| **width) else { break };
                *widest -= 1;
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_give_way_before_names_and_numbers_stay() {
        let columns = [("name", Kind::Name), ("count", Kind::Number), ("why", Kind::Words)];
        let mut table = Table::new(&columns);
        table.row(vec![
            Piece::new("n".repeat(20)),
            Piece::new("1234567"),
            Piece::new("w ".repeat(90)),
        ]);
        assert_eq!(table.widths(80), [20, 7, 49]);
        assert_eq!(table.widths(40), [20, 7, 9]);
        assert_eq!(table.widths(30), [11, 7, 8]);
        assert_eq!(table.widths(1_000), [20, 7, 180]);
    }
}
