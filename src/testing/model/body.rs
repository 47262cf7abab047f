//! The body of an answer: pieces with pauses, and how it ends.

use std::{collections::VecDeque, io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;

use super::record::{End, Pending};

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What is to be sent.
pub(super) struct Pieces {
    pub pieces: VecDeque<String>,
    /// The pause before each but the first.
    pub between: Duration,
    /// Whether the connection breaks behind the last.
    pub is_cut: bool,
    pub status: u16,
    pub record: Pending,
}

/// A body whose record ends when its last piece is handed over.
pub(super) fn body(pieces: Pieces) -> Body {
    let frames = stream::unfold(State { pieces, sent: 0 }, |mut state| async move {
        let frame = state.next().await?;
        Some((frame, state))
    });
    StreamBody::new(frames).boxed_unsync()
}

struct State {
    pieces: Pieces,
    sent: usize,
}

impl State {
    async fn next(&mut self) -> Option<io::Result<Frame<Bytes>>> {
        let Pieces { pieces, between, is_cut, status, record } = &mut self.pieces;
        if self.sent > 0 && !between.is_zero() && !pieces.is_empty() {
            tokio::time::sleep(*between).await;
        }
        let piece = pieces.pop_front();
        self.sent += 1;
        match piece {
            Some(piece) => {
                if pieces.is_empty() && !*is_cut {
                    record.ends(End::Answered(*status));
                }
                Some(Ok(Frame::data(piece.into())))
            }
            None if *is_cut => {
                // What was handed over before is written while this waits; an error drops it.
                tokio::task::yield_now().await;
                record.ends(End::Cut);
                Some(Err(io::Error::other("the script breaks the answer off")))
            }
            None => None,
        }
    }
}
