//! The eBPF platform as data.
