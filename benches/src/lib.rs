//! The parts of the load tool: what is measured, against what, and how.
#![expect(clippy::print_stdout, reason = "a tool for people: what it prints is its result")]

pub mod load;
pub mod machine;
pub mod product;
pub mod reference;
pub mod requests;
pub mod rows;
pub mod store;
pub mod table;
