//! The proof: an oracle that knows what the outside must see, a simulator that plays the
//! supervisor against it, and whatever else tests share.

pub mod bench;
pub mod harness;
pub mod mutants;
pub mod oracle;
pub mod peers;
pub mod sim;
pub mod soak;
