//! Reading what the user named: files whole, with errors that say which file and what to do.

use crate::failure::Failure;
use std::io::Read;
use std::path::Path;

/// Largest file that is read whole, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// The bytes of a file; `-` is standard input.
pub(crate) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        let read = std::io::stdin().lock().take(MAX_FILE).read_to_end(&mut bytes);
        read.map_err(|e| Failure::Failed(format!("cannot read standard input: {e}")))?;
        return Ok(bytes);
    }
    let f = std::fs::File::open(path).map_err(|e| Failure::io("read", path, &e))?;
    bytes.reserve(f.metadata().map_or(0, |m| m.len().min(MAX_FILE) as usize + 1));
    f.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| Failure::io("read", path, &e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::Input(format!("{}: larger than {MAX_FILE} bytes", path.display())));
    }
    Ok(bytes)
}

/// Writes a file through a temporary one beside it, so that an old file is never half overwritten.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    let tmp = Path::new(&tmp);
    std::fs::write(tmp, bytes).map_err(|e| Failure::io("write", path, &e))?;
    std::fs::rename(tmp, path).map_err(|e| Failure::io("write", path, &e))
}
