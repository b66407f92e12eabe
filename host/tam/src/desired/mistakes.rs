//! What is wrong with a configuration.

use anyhow::bail;

/// What is wrong with a configuration, one sentence each.
#[derive(Default)]
pub(super) struct Mistakes(Vec<String>);

impl Mistakes {
    pub(super) fn add(&mut self, sentence: String) {
        self.0.push(sentence);
    }

    pub(super) fn note<T>(&mut self, result: anyhow::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(sentence(&error))).ok()
    }

    pub(super) fn unless_none<T>(self, made: Option<T>) -> anyhow::Result<T> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => bail!("{}", self.0.join("\n")),
        }
    }
}

/// An error with its causes, each of them once: the messages of some errors contain their cause.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}
