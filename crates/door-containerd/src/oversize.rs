//! Messages beyond the limits: the transport calls them OutOfRange, and gRPC's other servers, by whose code clients go,
//! ResourceExhausted.

use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::status;

/// How tonic's messages begin (0.14).
const BEGINNINGS: [&str; 2] =
    ["Error, decoded message length too large", "Error, encoded message length too large"];

/// The same answer with the right code.
pub(crate) fn correct(mut response: Response<Body>) -> Response<Body> {
    correct_headers(response.headers_mut());
    response.map(|body| {
        Body::new(body.map_frame(|frame| match frame.into_trailers() {
            Ok(mut trailers) => {
                correct_headers(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        }))
    })
}

fn correct_headers(headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers) else { return };
    if status.code() == Code::OutOfRange && BEGINNINGS.iter().any(|text| status.message().starts_with(text)) {
        let corrected = status::resource_exhausted(status.message());
        corrected.add_header(headers).expect("the message was a header's before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: &Status, expected: Code) {
        let mut headers = HeaderMap::new();
        given.add_header(&mut headers).unwrap();
        correct_headers(&mut headers);
        assert_eq!(Status::from_header_map(&headers).unwrap().code(), expected, "{given}");
    }

    #[test]
    fn only_messages_that_are_too_large_get_another_code() {
        for beginning in BEGINNINGS {
            check(&Status::out_of_range(format!("{beginning}: found 2 bytes")), Code::ResourceExhausted);
        }
        check(&status::out_of_range("cursor 7"), Code::OutOfRange);
        check(&Status::internal(BEGINNINGS[0]), Code::Internal);
        correct_headers(&mut HeaderMap::new());
    }
}
