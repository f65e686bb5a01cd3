//! The oracle notices: each history here is bad in one way.
