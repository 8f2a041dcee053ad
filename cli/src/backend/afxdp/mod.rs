//! The engine in user space: frames that AF_XDP sockets bring.

pub mod sys;
