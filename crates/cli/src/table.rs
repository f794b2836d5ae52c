//! Columns of text: each as wide as its widest cell, numbers to the right.

/// Rows of cells under headings.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Headings; one that begins with `>` aligns its column to the right.
    pub(crate) fn new(headings: &[&'static str]) -> Table {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// No rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, each line indented by two blanks. Columns without any content are left out.
    pub(crate) fn text(&self) -> String {
        let width = |c: usize| {
            let cells = self.rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count());
            cells.max().filter(|w| *w > 0).map(|w| w.max(self.headings[c].trim_start_matches('>').len()))
        };
        let columns: Vec<(usize, usize)> =
            (0..self.headings.len()).filter_map(|c| Some((c, width(c)?))).collect();
        let headings = self.headings.iter().map(|h| h.trim_start_matches('>').to_string()).collect();
        let mut out = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::from(" ");
            for (c, w) in &columns {
                let cell = row.get(*c).map_or("", String::as_str);
                let pad = " ".repeat(w - cell.chars().count().min(*w));
                let right = self.headings[*c].starts_with('>');
                line.push(' ');
                line.push_str(&if right { format!("{pad}{cell}") } else { format!("{cell}{pad}") });
                line.push(' ');
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_empty_ones_vanish() {
        let mut t = Table::new(&["name", "none", ">n"]);
        t.row(vec!["a".into(), String::new(), "10".into()]);
        t.row(vec!["long".into(), String::new(), "7".into()]);
        assert_eq!(t.text(), "  name   n\n  a     10\n  long   7\n");
    }
}
