//! Between pingora's sessions and whole requests and answers of the `http` crate.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;

use crate::api::AuthApi;
use crate::api::context::Arrival;
use crate::domain::error::Error;

/// Largest body of the auth API.
pub const MAX_BODY: usize = 64 * 1024;

/// Reads a whole body.
///
/// # Errors
/// [`Error::PayloadTooLarge`] beyond `limit`, [`Error::RequestTimeout`] when it takes longer than
/// `deadline`, [`Error::BadRequest`] when the client breaks off.
pub async fn read_body(session: &mut ServerSession, limit: usize, deadline: Duration) -> Result<Bytes, Error> {
    let announced = session.req_header().headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Error::PayloadTooLarge);
    }
    let expects = session.req_header().headers.get(header::EXPECT);
    if expects.is_some_and(|expects| expects.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        let _ = session.write_continue_response().await;
    }
    let read = async {
        let mut body = BytesMut::new();
        while let Some(piece) = session.read_request_body().await.map_err(|_| BROKEN_OFF)? {
            if body.len() + piece.len() > limit {
                return Err(Error::PayloadTooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    };
    tokio::time::timeout(deadline, read).await.map_err(|_| Error::RequestTimeout)?
}

const BROKEN_OFF: Error = Error::BadRequest("the body broke off");

/// Answers a request to the auth API. The work goes on when the client leaves; a panic is a bug's
/// answer and not the connection's end.
pub async fn serve(
    session: &mut ServerSession,
    api: Arc<AuthApi>,
    arrival: Arrival,
    deadline: Duration,
) -> Result<Response<Bytes>, Error> {
    let body = read_body(session, MAX_BODY, deadline).await?;
    let mut request = whole_request(session, body);
    request.extensions_mut().insert(arrival);
    let answered = tokio::spawn(async move { api.answer(request).await }).await;
    answered.map_err(|error| Error::Internal(Box::new(error)))
}

/// The request as the `http` crate has it.
#[must_use]
pub fn whole_request(session: &ServerSession, body: Bytes) -> Request<Bytes> {
    let head = session.req_header();
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    request
}

/// Writes a whole answer.
pub async fn answer(session: &mut ServerSession, response: Response<Bytes>) -> pingora::Result<()> {
    let is_head = session.req_header().method == Method::HEAD;
    let (mut head, body) = response.into_parts();
    let is_bodiless =
        head.status.is_informational() || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    head.headers.remove(header::CONTENT_LENGTH);
    if !is_bodiless {
        // Of a HEAD the router has dropped the body; its length is then not known, and left out.
        if !is_head || !body.is_empty() {
            head.headers.insert(header::CONTENT_LENGTH, body.len().into());
        }
    }
    let head = Box::new(ResponseHeader::from(head));
    let has_body = !is_head && !is_bodiless && !body.is_empty();
    match session {
        // Said with the head itself: to a gRPC client, a status in a head that something may follow is none.
        ServerSession::H2(stream) if !has_body => stream.write_response_header(head, true),
        session => {
            session.write_response_header(head).await?;
            if has_body {
                session.write_response_body(body, true).await?;
            }
            Ok(())
        }
    }
}
