//! What a program prints: into a pipe, or onto a terminal that is none.

use std::{
    fmt, io,
    os::fd::AsFd,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pty_process::{Pts, Pty, Size};
use rustix::termios::{LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr};
use tokio::{
    io::{AsyncRead, ReadBuf},
    process::ChildStdout,
};

/// Which of a program's streams are a terminal. Its errors are always a pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Terminal {
    /// None: they are pipes.
    #[default]
    None,
    /// Its output. Its input is a pipe, which has an end and no limit of a line.
    Output,
    /// Its input and its output.
    All,
}

/// A terminal that prints what it is given, and gives nothing back.
pub(super) fn terminal() -> io::Result<(Pty, Pts)> {
    let (pty, pts) = pty_process::open().map_err(io::Error::other)?;
    // As wide as can be: nothing is wrapped.
    pty.resize(Size::new(100, u16::MAX)).map_err(io::Error::other)?;
    let mut modes = tcgetattr(pts.as_fd())?;
    modes.local_modes.remove(LocalModes::ECHO);
    modes.output_modes.remove(OutputModes::OPOST);
    tcsetattr(pts.as_fd(), OptionalActions::Now, &modes)?;
    Ok((pty, pts))
}

/// What a program prints.
pub enum Output {
    /// Into a pipe.
    Pipe(ChildStdout),
    /// Onto a terminal.
    Terminal(Pty),
}

impl Output {
    /// A line that was printed, without what only a terminal understands.
    pub(super) fn plain(&self, line: String) -> String {
        match self {
            Self::Pipe(_) => line,
            Self::Terminal(_) => strip_ansi_escapes::strip_str(line),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pipe(_) => "Output::Pipe",
            Self::Terminal(_) => "Output::Terminal",
        })
    }
}

impl AsyncRead for Output {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Pipe(pipe) => Pin::new(pipe).poll_read(cx, into),
            Self::Terminal(pty) => match ready!(Pin::new(pty).poll_read(cx, into)) {
                // Nobody has the terminal open any more: that is its end.
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
                {
                    Poll::Ready(Ok(()))
                }
                read => Poll::Ready(read),
            },
        }
    }
}
