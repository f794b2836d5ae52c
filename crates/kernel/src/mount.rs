//! Where file systems are mounted, as this thread's mount namespace has it (`/proc/thread-self/mounts`, proc(5)).

use std::path::PathBuf;

/// Where file systems of a kind are mounted: `bpf`, `cgroup2`, `tracefs`.
pub fn mounted(kind: &str) -> Vec<PathBuf> {
    of_kind(&std::fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default(), kind)
}

fn of_kind(table: &str, kind: &str) -> Vec<PathBuf> {
    let of = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (at, found) = (fields.next()?, fields.next()?);
        (found == kind).then(|| PathBuf::from(plain(at)))
    };
    table.lines().filter_map(of).collect()
}

/// Space, tab, newline and backslash stand in the table as octal numbers.
fn plain(at: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(at.to_owned(), |s, (from, to)| s.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_odd_names() {
        let table =
            "proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\nbpf /tmp/a\\040b bpf rw 0 0\nshort\n";
        assert_eq!(of_kind(table, "bpf"), [PathBuf::from("/sys/fs/bpf"), PathBuf::from("/tmp/a b")]);
        assert!(of_kind(table, "tracefs").is_empty());
    }
}
