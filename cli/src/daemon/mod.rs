//! The daemon: puts a policy in force on this system's interfaces, resolves neighbours, logs, answers questions.
//!
//! Forwarding is the kernel programs' work; the daemon does what they cannot finish. It runs in one thread that waits
//! for events, punted frames, changes of interfaces and timers; a second thread removes ended flows, a third answers the control socket.

mod apply;
mod begin;
mod call;
mod drops;
mod end;
mod engine;
mod events;
mod flow;
mod follow;
mod keep;
mod neighbours;
mod packet_socket;
mod port;
mod quota;
mod record;
mod replace;
mod report;
mod setup;
mod solicit;
mod state;
mod stop;
mod transmit;
mod watch;

pub use end::End;
pub use keep::is_forwarding;
pub use neighbours::{Row, State};
pub use port::{Port, Status};
pub use setup::{Setup, SetupError};
pub use stop::{StopError, Stopped, clear_away, stop};
pub use watch::run;
