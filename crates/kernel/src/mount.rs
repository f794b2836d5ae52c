//! Where file systems are mounted, as this thread's mount namespace has it (`/proc/thread-self/mounts`, proc(5)).

use std::path::PathBuf;

/// Where file systems of a kind are mounted: `bpf`, `cgroup2`, `tracefs`.
pub fn mounted(kind: &str) -> Vec<PathBuf> {
    with_options(kind).into_iter().map(|m| m.0).collect()
}

/// The same, with the mount options as the kernel writes them.
pub fn with_options(kind: &str) -> Vec<(PathBuf, String)> {
    of_kind(&std::fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default(), kind)
}

fn of_kind(table: &str, kind: &str) -> Vec<(PathBuf, String)> {
    let of = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let (at, found) = (fields.next()?, fields.next()?);
        let options = fields.next().unwrap_or_default().to_owned();
        (found == kind).then(|| (PathBuf::from(plain(at)), options))
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
        let both = ["/sys/fs/bpf", "/tmp/a b"].map(|p| (PathBuf::from(p), "rw".to_owned()));
        assert_eq!(of_kind(table, "bpf"), both);
        assert!(of_kind(table, "tracefs").is_empty());
    }
}
