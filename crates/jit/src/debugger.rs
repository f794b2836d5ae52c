//! Generated code for debuggers: the interface by which gdb and lldb find object files that lie in memory.
//!
//! Always holds: the list of [`Entry`]s is changed with the lock taken, and each entry and its file stay where they are until
//! it has left the list. The two symbols are weak, so that a process with another compiler that has them shares that one's.

/// An object file that a debugger knows for as long as this lives.
#[derive(Debug)]
pub struct Registered(#[allow(dead_code, reason = "dropped where the file is to be forgotten")] imp::Entry);

/// Shows an ELF file with symbols, lines and frames of code to debuggers; `None` where there is no such interface. Costs nothing
/// but its memory while no debugger is there.
pub fn register(file: Vec<u8>) -> Option<Registered> {
    imp::register(file.into()).map(Registered)
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod imp {
    use std::ptr::null_mut;
    use std::sync::{Mutex, PoisonError};

    // What gdb looks for by name: a function in which it stops, and the head of the list.
    std::arch::global_asm!(
        ".pushsection .text.__jit_debug_register_code,\"ax\",@progbits",
        ".weak __jit_debug_register_code",
        ".type __jit_debug_register_code,@function",
        "__jit_debug_register_code:",
        "ret",
        ".size __jit_debug_register_code, .-__jit_debug_register_code",
        ".popsection",
        ".pushsection .data.__jit_debug_descriptor,\"aw\",@progbits",
        ".weak __jit_debug_descriptor",
        ".type __jit_debug_descriptor,@object",
        ".balign 8",
        "__jit_debug_descriptor:",
        ".long 1, 0",
        ".quad 0, 0",
        ".size __jit_debug_descriptor, .-__jit_debug_descriptor",
        ".popsection",
    );

    #[repr(C)]
    struct Descriptor {
        version: u32,
        action: u32,
        relevant: *mut Node,
        first: *mut Node,
    }

    #[repr(C)]
    #[derive(Debug)]
    struct Node {
        next: *mut Node,
        prev: *mut Node,
        file: *const u8,
        size: u64,
    }

    unsafe extern "C" {
        static mut __jit_debug_descriptor: Descriptor;
        fn __jit_debug_register_code();
    }

    const REGISTER: u32 = 1;
    const UNREGISTER: u32 = 2;

    static LOCK: Mutex<()> = Mutex::new(());

    #[derive(Debug)]
    pub(super) struct Entry {
        node: *mut Node,
        _file: Box<[u8]>,
    }

    // SAFETY: the node is touched with the lock taken alone, and the file by nobody but debuggers.
    unsafe impl Send for Entry {}
    // SAFETY: as above.
    unsafe impl Sync for Entry {}

    pub(super) fn register(file: Box<[u8]>) -> Option<Entry> {
        let node = Node { next: null_mut(), prev: null_mut(), file: file.as_ptr(), size: file.len() as u64 };
        let node = Box::into_raw(Box::new(node));
        let _locked = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the lock is taken, so nobody else here changes the list; its nodes are entries that were not dropped.
        unsafe {
            let list = &raw mut __jit_debug_descriptor;
            (*node).next = (*list).first;
            if let Some(first) = (*list).first.as_mut() {
                first.prev = node;
            }
            ((*list).first, (*list).relevant, (*list).action) = (node, node, REGISTER);
            __jit_debug_register_code();
        }
        Some(Entry { node, _file: file })
    }

    impl Drop for Entry {
        fn drop(&mut self) {
            let _locked = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: the lock is taken; the node was made by `register`, is in the list, and is freed behind its leaving.
            unsafe {
                let list = &raw mut __jit_debug_descriptor;
                let Node { next, prev, .. } = *self.node;
                match prev.as_mut() {
                    Some(prev) => prev.next = next,
                    None => (*list).first = next,
                }
                if let Some(next) = next.as_mut() {
                    next.prev = prev;
                }
                ((*list).relevant, (*list).action) = (self.node, UNREGISTER);
                __jit_debug_register_code();
                drop(Box::from_raw(self.node));
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// Lengths of the files in the list, from both ends.
        fn listed() -> [Vec<u64>; 2] {
            let _locked = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
            let (mut there, mut back, mut last) = (Vec::new(), Vec::new(), null_mut());
            // SAFETY: the lock is taken, and the list's nodes are entries that were not dropped.
            unsafe {
                let mut at = __jit_debug_descriptor.first;
                while let Some(node) = at.as_ref() {
                    there.push(node.size);
                    (last, at) = (at, node.next);
                }
                while let Some(node) = last.as_ref() {
                    back.push(node.size);
                    last = node.prev;
                }
            }
            [there, back]
        }

        #[test]
        fn what_is_dropped_leaves_the_list() {
            let [a, b, c] = [1, 2, 3].map(|n| register(vec![0; n].into()));
            assert_eq!(listed(), [vec![3, 2, 1], vec![1, 2, 3]]);
            drop(b);
            assert_eq!(listed(), [vec![3, 1], vec![1, 3]]);
            drop(c);
            let d = register(vec![0; 4].into());
            assert_eq!(listed(), [vec![4, 1], vec![1, 4]]);
            drop(a);
            drop(d);
            assert_eq!(listed(), [vec![], vec![]]);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod imp {
    #[derive(Debug)]
    pub(super) struct Entry;

    pub(super) fn register(_: Box<[u8]>) -> Option<Entry> {
        None
    }
}
