//! Entry points of the fuzz targets in `fuzz/`. Each panics where a promise is broken.

use crate::{auth, link, retry};

/// `WWW-Authenticate`: bounded, and nothing is made up.
pub fn challenges(text: &str) {
    for challenge in auth::parse(text) {
        assert!(!challenge.scheme.is_empty() && text.to_ascii_lowercase().contains(&challenge.scheme));
        for (name, value) in &challenge.parameters {
            assert!(!name.is_empty() && value.len() <= text.len());
        }
    }
}

/// `Link`: what is found is in there.
pub fn links(text: &str) {
    if let Some(target) = link::next(text) {
        assert!(text.contains(target) && !target.contains('>'));
    }
}

/// Dates, ranges and locations.
pub fn headers(text: &str) {
    let _ = retry::http_date(text);
    if let Some((start, end, total)) = crate::blob::content_range(text) {
        assert!(start < end && total.is_none_or(|total| end <= total));
    }
    if let Ok(base) = "https://registry.example:5000/v2/a/blobs/uploads/".parse()
        && let Some(uri) = crate::transport::join(&base, text)
    {
        assert!(
            uri.host().is_some()
                && !uri.authority().is_some_and(|authority| authority.as_str().contains('@'))
        );
    }
}
