#![no_std]
#![no_main]
//! eBPF entry points.
