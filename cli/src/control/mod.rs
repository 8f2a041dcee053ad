//! The control socket: what `vfw show` asks and what the daemon answers, one JSON document each way.

mod client;
mod serve;
mod server;
mod view;

pub use client::{ClientError, ask};
pub use serve::serve;
pub use server::{Server, ServerError};
pub use view::{
    Answer, AppliedView, CounterView, CutView, Direction, DropView, DropsView, FlowView, InterfaceView, LostEventsView,
    NeighbourView, NewPolicy, Question, RecentDropView, Request, RuleView, ZoneView,
};
