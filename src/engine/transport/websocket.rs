//! One connection of a browser phone: SIP over WebSocket (RFC 7118). Every frame is one message, so nothing needs framing.

use std::time::Instant;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

use super::stream::{End, Link, PONG};
use crate::sip::message::MAX_MESSAGE;

/// The subprotocol that both sides must name (RFC 7118 §4.1).
const SUBPROTOCOL: &str = "sip";

/// The server's half of the handshake. Any path and any Origin will do: who may call is decided by SIP's authentication.
///
/// # Errors
/// It is no WebSocket, or not one for SIP.
pub(super) async fn accept<S>(io: S) -> Result<WebSocketStream<S>, tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    tokio_tungstenite::accept_hdr_async_with_config(io, choose_subprotocol, Some(config)).await
}

#[allow(clippy::result_large_err, reason = "the type is the library's")]
fn choose_subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let lines = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let mut offered = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    if offered.any(|name| name.trim().eq_ignore_ascii_case(SUBPROTOCOL)) {
        let ours = HeaderValue::from_static(SUBPROTOCOL);
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, ours);
        return Ok(response);
    }
    let mut refusal =
        ErrorResponse::new(Some("the WebSocket subprotocol must be `sip` (RFC 7118)\n".to_owned()));
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Err(refusal)
}

/// Serves a connection until it ends.
pub(super) async fn serve<S>(mut socket: WebSocketStream<S>, mut link: Link) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let end = exchange(&mut socket, &mut link).await;
    // The peer may be gone or deaf already; then there is nobody to take leave of.
    drop(timeout(std::time::Duration::from_secs(1), socket.close(None)).await);
    link.note(&end);
    end
}

async fn exchange<S>(socket: &mut WebSocketStream<S>, link: &mut Link) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = link.shared.limits.clone();
    // Every WebSocket answers pings (RFC 6455 §5.5.3), so that silence means that nobody is there.
    let (mut ping_at, mut waiting) = (Instant::now() + limits.ping, false);
    loop {
        let idle_at = link.activity.idle_at(limits.idle);
        let answer = tokio::select! {
            heard = socket.next() => {
                waiting = false;
                match heard {
                    None => return End::Closed,
                    Some(Err(error)) => return broken(&error),
                    Some(Ok(frame)) => match take(frame, link).await {
                        Ok(answer) => answer,
                        Err(end) => return end,
                    },
                }
            }
            bytes = link.outbox.recv() => match bytes {
                Some(bytes) => {
                    link.activity.touch();
                    Some(frame(bytes))
                }
                None => return End::Dropped,
            },
            () = sleep_until(ping_at.into()) => {
                if waiting {
                    return End::Stalled("a ping was not answered");
                }
                waiting = true;
                ping_at = Instant::now() + limits.ping;
                Some(Message::Ping(Bytes::new()))
            }
            () = sleep_until(idle_at.into()) => {
                if Instant::now() >= link.activity.idle_at(limits.idle) {
                    return End::Idle;
                }
                None
            }
        };
        let Some(answer) = answer else { continue };
        match timeout(limits.write, socket.send(answer)).await {
            Err(_) => return End::Stalled("the peer does not read"),
            Ok(Err(error)) => return broken(&error),
            Ok(Ok(())) => {}
        }
    }
}

/// Hands up a frame with a message; some phones ping with line breaks in a frame instead of WebSocket's own ping.
async fn take(received: Message, link: &Link) -> Result<Option<Message>, End> {
    let bytes = match received {
        Message::Text(text) => Bytes::from(text),
        Message::Binary(bytes) => bytes,
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => return Ok(None),
    };
    if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
        return Ok((bytes.len() > PONG.len()).then(|| frame(PONG.to_vec())));
    }
    link.arrive(bytes.to_vec()).await?;
    Ok(None)
}

/// Text wherever it can be: a browser's phone wants strings.
fn frame(bytes: Vec<u8>) -> Message {
    match String::from_utf8(bytes) {
        Ok(text) => Message::text(text),
        Err(error) => Message::binary(error.into_bytes()),
    }
}

fn broken(error: &tungstenite::Error) -> End {
    match error {
        tungstenite::Error::Capacity(_) => End::Stalled("a frame is larger than any SIP message"),
        error => End::Broken(error.to_string()),
    }
}
