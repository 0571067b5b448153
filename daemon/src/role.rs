//! What a node does in its role only.

pub mod edge;
pub mod upstream;
