//! The memory scanner: the true keys of a core or an edge, searched for in its memory, its core image and its files, from another process.
//!
//! Everything that is as good as a key counts as that key: its halves, the round keys of AES, the hash key of GCM, the padded blocks and inner
//! states of HMAC, the keys derived from it. Root can read what this scanner reads, so a hit is what root, a core file or a swapped page would show.

mod campaign;
mod edge_campaign;
mod edge_harvest;
mod forms;
mod harvest;
mod load;
mod look;
mod scanner;
mod search;
mod table;

pub use campaign::memory_campaign;
pub use edge_campaign::edge_memory_campaign;
pub use forms::{Class, Needle, Needles};
pub use scanner::{Held, Scanner, files_below};
pub use search::{Answer, Question, Report, serve};
pub use table::{Cell, Table};
