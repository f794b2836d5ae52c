//! Reader of `definitions.txt`.

use skep_platform::MapType;
use skep_platform::map::{MapDef, flags};

const FLAGS: &[(&str, u32)] = &[
    ("NO_PREALLOC", flags::NO_PREALLOC),
    ("NO_COMMON_LRU", flags::NO_COMMON_LRU),
    ("RDONLY", flags::RDONLY),
    ("WRONLY", flags::WRONLY),
    ("ZERO_SEED", flags::ZERO_SEED),
    ("RDONLY_PROG", flags::RDONLY_PROG),
    ("WRONLY_PROG", flags::WRONLY_PROG),
    ("MMAPABLE", flags::MMAPABLE),
    ("PRESERVE_ELEMS", flags::PRESERVE_ELEMS),
    ("INNER_MAP", flags::INNER_MAP),
];

/// Every definition with its line.
pub(crate) fn all() -> Vec<(String, MapDef)> {
    let lines = include_str!("definitions.txt").lines();
    lines.filter(|l| !l.is_empty() && !l.starts_with('#')).map(|l| (l.to_string(), parse(l))).collect()
}

/// The definition in a line.
pub(crate) fn parse(line: &str) -> MapDef {
    let words: Vec<&str> = line.split(' ').collect();
    let mut def = fields(line, &words);
    for word in &words[5..] {
        match word.split_once('=') {
            Some(("extra", n)) => def.map_extra = n.parse().expect(line),
            Some(("inner", inner)) => {
                let words: Vec<&str> = inner.split('/').collect();
                def.inner = Some(Box::new(fields(line, &words)));
            }
            _ => panic!("{line}: {word}?"),
        }
    }
    def
}

fn fields(line: &str, words: &[&str]) -> MapDef {
    let number = |at: usize| words[at].parse().expect(line);
    let flag = |name: &str| FLAGS.iter().find(|(n, _)| *n == name).expect(line).1;
    let named = words[4].split('+').filter(|w| *w != "-");
    MapDef {
        name: "skep_test".into(),
        map_type: MapType::from_uapi_name(&format!("BPF_MAP_TYPE_{}", words[0])).expect(line),
        key_size: number(1),
        value_size: number(2),
        max_entries: number(3),
        flags: named.map(flag).sum(),
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}
