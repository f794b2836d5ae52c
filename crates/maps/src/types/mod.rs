//! One file a map type: its row and how it lives in a file. Types that the user engine lacks are rows in [`absent`].

pub mod absent;
pub mod array;
pub mod array_of_maps;
pub mod bloom_filter;
pub mod hash;
pub mod hash_of_maps;
pub mod lpm_trie;
pub mod lru_hash;
pub mod lru_percpu_hash;
pub mod percpu_array;
pub mod percpu_hash;
pub mod perf_event_array;
pub mod prog_array;
pub mod queue;
pub mod ringbuf;
pub mod stack;
pub mod user_ringbuf;
