//! The promises that sharing memory with the kernel's programs takes, and one system call that no wrapper offers.
#![allow(unsafe_code)]

use crate::layout::{Address, Group};

// SAFETY: plain integers in a C layout without padding (asserted in layout.rs), valid for any bytes.
unsafe impl aya::Pod for Address {}
// SAFETY: the same.
unsafe impl aya::Pod for Group {}
