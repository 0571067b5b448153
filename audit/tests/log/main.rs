//! Tests of the log through its public interface, on real files.

mod faults;
mod golden;
mod support;
mod tamper;
mod writer;
