//! The result: what was promised and what was measured, line by line.

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
    /// Nothing was promised.
    None,
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::None => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(limit) => format!("<= {limit}"),
            Self::AtLeast(limit) => format!(">= {limit}"),
            Self::None => "-".to_owned(),
        }
    }
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// What was measured, with its unit.
    pub what: String,
    /// The promise.
    pub must: Bound,
    /// The hope.
    pub aim: Bound,
    /// The figure.
    pub value: f64,
    /// What it was made of.
    pub detail: String,
}

impl Line {
    /// Prints it as soon as it is known: a run takes minutes.
    pub fn print(&self) {
        let verdict = match (self.must, self.must.holds(self.value), self.aim.holds(self.value)) {
            (Bound::None, ..) => "",
            (_, false, _) => "MISSED",
            (_, true, false) => "ok",
            (_, true, true) => "aim",
        };
        println!(
            "| {:<44} | {:>8} | {:>8} | {:>9.2} | {verdict:<6} | {} |",
            self.what,
            self.must.text(),
            self.aim.text(),
            self.value,
            self.detail
        );
    }
}

/// Prints what stands above the first line.
pub fn print_head(machine: &str) {
    println!("{machine}\n");
    println!("| {:<44} | {:>8} | {:>8} | {:>9} | {:<6} | of |", "what", "must", "aim", "measured", "");
    println!("|{:-<46}|---------:|---------:|----------:|--------|----|", "");
}
