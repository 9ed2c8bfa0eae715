//! Byte ranges of a file (RFC 9110 §14), single ones: what audio elements ask for when they seek.

use axum::http::{HeaderMap, header};

/// What to send of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it: 200.
    Whole,
    /// From the first to the last byte, both included: 206.
    Part(u64, u64),
    /// Nothing it has: 416.
    Unsatisfiable,
}

/// What a request wants of a file of `length` bytes whose entity tag is `etag`.
///
/// A range that cannot be understood, several ranges, and a range of another version (`If-Range`) are answered with the
/// whole file, as RFC 9110 §14.2 and §13.1.5 allow or ask.
pub(super) fn wanted(headers: &HeaderMap, etag: &str, length: u64) -> Wanted {
    let Some(range) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Wanted::Whole;
    };
    if headers.get(header::IF_RANGE).is_some_and(|tag| tag != etag) {
        return Wanted::Whole;
    }
    let Some((unit, set)) = range.split_once('=') else { return Wanted::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Wanted::Whole;
    }
    part(first.trim(), last.trim(), length)
}

fn part(first: &str, last: &str, length: u64) -> Wanted {
    let number = |digits: &str| {
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok()).flatten()
    };
    match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() && first < length => Wanted::Part(first, length - 1),
        (Some(first), _)
            if last.is_empty() || first >= length && number(last).is_some_and(|last| last >= first) =>
        {
            Wanted::Unsatisfiable
        }
        (Some(first), Some(last)) if first <= last => Wanted::Part(first, last.min(length - 1)),
        (None, Some(count)) if first.is_empty() => match count.min(length) {
            0 => Wanted::Unsatisfiable,
            count => Wanted::Part(length - count, length - 1),
        },
        _ => Wanted::Whole,
    }
}

/// Whether the client has this version already (`If-None-Match`, weak comparison).
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let tags = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"v1\"";

    fn ask(range: &str, if_range: Option<&str>) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().unwrap());
        }
        wanted(&headers, ETAG, 100)
    }

    #[test]
    fn ranges_of_rfc_9110() {
        let table = [
            ("bytes=0-", Wanted::Part(0, 99)),
            ("bytes=0-0", Wanted::Part(0, 0)),
            ("Bytes=10-19", Wanted::Part(10, 19)),
            ("bytes=90-1000", Wanted::Part(90, 99)),
            ("bytes=99-99", Wanted::Part(99, 99)),
            ("bytes=-10", Wanted::Part(90, 99)),
            ("bytes=-1000", Wanted::Part(0, 99)),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=100-", Wanted::Unsatisfiable),
            ("bytes=100-200", Wanted::Unsatisfiable),
            ("bytes=20-10", Wanted::Whole),
            ("bytes=200-150", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=1-2,4-5", Wanted::Whole),
            ("seconds=1-2", Wanted::Whole),
            ("bytes", Wanted::Whole),
            ("bytes=99999999999999999999-", Wanted::Whole),
        ];
        for (range, expected) in table {
            assert_eq!(ask(range, None), expected, "{range}");
        }
        assert_eq!(wanted(&HeaderMap::new(), ETAG, 100), Wanted::Whole);
    }

    #[test]
    fn a_range_of_another_version_is_the_whole() {
        assert_eq!(ask("bytes=1-2", Some(ETAG)), Wanted::Part(1, 2));
        assert_eq!(ask("bytes=1-2", Some("\"v0\"")), Wanted::Whole);
        assert_eq!(ask("bytes=1-2", Some("W/\"v1\"")), Wanted::Whole, "weak tags never match in If-Range");
    }

    #[test]
    fn an_empty_file_satisfies_no_range() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=0-0".parse().unwrap());
        assert_eq!(wanted(&headers, ETAG, 0), Wanted::Unsatisfiable);
    }
}
