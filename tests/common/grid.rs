//! What a terminal would show: the few escapes that we may send, and a list of all others that came.

/// A screen after some bytes.
#[derive(Debug, Default)]
pub struct Grid {
    /// What has scrolled off the top.
    pub history: Vec<String>,
    /// The rows, from the top.
    pub rows: Vec<String>,
    /// Where the cursor stands.
    pub cursor: (usize, usize),
    /// Whatever could have done something that we never ask for.
    pub strange: Vec<String>,
}

struct Screen {
    cells: Vec<Vec<char>>,
    x: usize,
    y: usize,
    /// The last column is filled: the next letter goes to the next line.
    full: bool,
    width: usize,
    height: usize,
    grid: Grid,
}

impl Grid {
    /// Of a screen of this size.
    pub fn of(text: &str, width: usize, height: usize) -> Grid {
        let cells = vec![vec![' '; width]; height];
        let mut screen = Screen { cells, x: 0, y: 0, full: false, width, height, grid: Grid::default() };
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '\n' => screen.line_feed(),
                '\r' => (screen.x, screen.full) = (0, false),
                '\t' => screen.x = ((screen.x / 8 + 1) * 8).min(width - 1),
                '\u{1b}' => screen.escape(&mut rest),
                c if c.is_control() => screen.grid.strange.push(format!("{c:?}")),
                c => screen.put(c),
            }
        }
        screen.grid.rows = screen.cells.iter().map(|row| text_of(row)).collect();
        screen.grid.cursor = (screen.x, screen.y);
        screen.grid
    }

    /// Everything that can be read, also what has scrolled away.
    pub fn lines(&self) -> Vec<String> {
        self.history.iter().chain(&self.rows).cloned().collect()
    }

    /// How many lines hold this.
    pub fn count(&self, part: &str) -> usize {
        self.lines().iter().filter(|l| l.contains(part)).count()
    }

    /// The row that holds this, counted from the top of all that can be read.
    #[track_caller]
    pub fn place(&self, part: &str) -> usize {
        self.lines().iter().position(|l| l.contains(part)).unwrap_or_else(|| panic!("no {part:?} in {self:#?}"))
    }
}

fn text_of(cells: &[char]) -> String {
    cells.iter().collect::<String>().trim_end().to_string()
}

impl Screen {
    fn line_feed(&mut self) {
        self.full = false;
        if self.y + 1 < self.height {
            self.y += 1;
            return;
        }
        let gone = self.cells.remove(0);
        self.grid.history.push(text_of(&gone));
        self.cells.push(vec![' '; self.width]);
    }

    fn put(&mut self, c: char) {
        if std::mem::take(&mut self.full) {
            self.x = 0;
            self.line_feed();
        }
        self.cells[self.y][self.x] = c;
        match self.x + 1 < self.width {
            true => self.x += 1,
            false => self.full = true,
        }
    }

    fn escape(&mut self, rest: &mut std::str::Chars<'_>) {
        if rest.next() != Some('[') {
            self.grid.strange.push("an escape that is no CSI".into());
            return;
        }
        let mut number = String::new();
        let end = rest.find(|c| {
            number.push(*c);
            c.is_ascii_alphabetic()
        });
        number.pop();
        let n = number.parse().unwrap_or(1);
        match end {
            Some('m') => {}
            Some('A') => (self.y, self.full) = (self.y.saturating_sub(n), false),
            Some('J') if number.is_empty() => {
                self.cells[self.y][self.x..].fill(' ');
                self.cells.iter_mut().skip(self.y + 1).for_each(|row| row.fill(' '));
            }
            other => self.grid.strange.push(format!("CSI {number} {other:?}")),
        }
    }
}
