//! The dispatcher alone, driven by hand.
