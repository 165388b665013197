//! Whether a request that changes something comes from this page. Browsers say where a request comes from, and a page of
//! another site cannot make them lie.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

const FETCH_SITE: &str = "sec-fetch-site";

/// Whether the request was made by a page of this server: it says so itself or comes without a browser's marks and is
/// refused. A tool that is no browser uses the interface for tools.
pub fn is_from_this_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // None of two values can be trusted.
    let is_one = |name: &str| headers.get_all(name).iter().count() <= 1;
    if ![FETCH_SITE, ORIGIN.as_str(), HOST.as_str()].into_iter().all(is_one) {
        return false;
    }
    let same_origin = text(ORIGIN.as_str()).map(|origin| {
        let host = text(HOST.as_str()).unwrap_or_default();
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        !host.is_empty() && authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    });
    match (text(FETCH_SITE), same_origin) {
        (Some(site), origin) => site == "same-origin" && origin != Some(false),
        // Over plain HTTP to another host than this one browsers do not send it.
        (None, Some(same)) => same,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        map.insert(HOST, "here:8080".parse().unwrap());
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        is_from_this_page(&map)
    }

    #[test]
    fn row_49_only_this_page_may_change_anything() {
        assert!(asked(&[(FETCH_SITE, "same-origin"), ("origin", "http://here:8080")]));
        assert!(asked(&[(FETCH_SITE, "same-origin")]));
        assert!(asked(&[("origin", "http://HERE:8080")]));
        for refused in [
            &[][..],
            &[(FETCH_SITE, "cross-site")],
            &[(FETCH_SITE, "same-site"), ("origin", "http://here:9090")],
            &[(FETCH_SITE, "none")],
            &[(FETCH_SITE, "same-origin"), ("origin", "http://there:8080")],
            &[(FETCH_SITE, "same-origin"), (FETCH_SITE, "cross-site")],
            &[("origin", "null")],
            &[("origin", "http://there:8080")],
            &[("origin", "http://here:8080.there")],
            &[("origin", "here:8080")],
            &[("origin", "http://here:8080"), ("origin", "http://there")],
        ] {
            assert!(!asked(refused), "{refused:?}");
        }
    }
}
