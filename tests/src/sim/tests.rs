//! A few seeds with every test run; many more with the binary.
