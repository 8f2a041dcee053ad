//! The nearest name to one that is not known.

use strsim::damerau_levenshtein;

/// The candidate that `word` is most likely a slip of.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    if word.len() > super::limits::NAME {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    candidates
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= allowed)
        .map(|candidate| (damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= allowed && distance < candidate.len())
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let names = || ["postgres", "app", "db", "admins"].into_iter();
        assert_eq!(nearest("postgre", names()).as_deref(), Some("postgres"));
        assert_eq!(nearest("psotgres", names()).as_deref(), Some("postgres"));
        assert_eq!(nearest("ap", names()).as_deref(), Some("app"));
        assert_eq!(nearest("zebra", names()), None);
        assert_eq!(nearest("x", names()), None);
    }
}
