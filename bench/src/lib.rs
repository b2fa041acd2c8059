//! Room in construction.
