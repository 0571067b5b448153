//! Errors as people read them.

use std::error::Error;

/// An error with its causes, in one line. A cause that the error's own words have in them is not said again.
pub fn told(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("the file cannot be read")]
        Silent(#[source] io::Error),
        #[error("the file cannot be read: {0}")]
        Telling(#[source] io::Error),
    }

    #[test]
    fn each_cause_is_told_once() {
        let cause = || io::Error::other("no such disk");
        for error in [Outer::Silent(cause()), Outer::Telling(cause())] {
            assert_eq!(told(&error), "the file cannot be read: no such disk");
        }
    }
}
