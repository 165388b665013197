//! "Did you mean": the known name nearest to a mistyped one.

/// The candidate most like `name`, if any is like enough (Jaro-Winkler similarity of at least 0.8, letter case
/// ignored).
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_a_typo_and_nothing_far_off() {
        let tables = ["lineitem", "orders", "supplier"];
        assert_eq!(nearest("lineitems", tables), Some("lineitem"));
        assert_eq!(nearest("ORDER", tables), Some("orders"));
        assert_eq!(nearest("xyz", tables), None);
    }
}
