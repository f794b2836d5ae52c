//! Where variables lie: compilers leave sizes and offsets of data sections to the linker, and loaders set them from
//! the symbols of the object.

use crate::btf::{Btf, Record};
use crate::kind::Kind;

impl Btf {
    /// Sets the size of data section `id` and the offsets of its variables, and sorts them by offset.
    ///
    /// `offset_of` is asked with each variable's name; the offset of one that it does not know stays as it is.
    /// Types of a base cannot be changed. Returns whether `id` is an own data section.
    pub fn set_datasec(
        &mut self,
        id: u32,
        size: u32,
        mut offset_of: impl FnMut(&str) -> Option<u32>,
    ) -> bool {
        let Some(record) = self.record(id).filter(|r| r.kind() == Kind::Datasec && id >= self.first_id())
        else {
            return false;
        };
        let mut vars: Vec<[u32; 3]> = record.entries().chunks_exact(3).map(|w| [w[0], w[1], w[2]]).collect();
        for var in &mut vars {
            if let Some(offset) = offset_of(self.name_of(var[0])) {
                var[1] = offset;
            }
        }
        vars.sort_by_key(|var| var[1]);
        let words = self.own_words_mut(id);
        words[2] = size;
        for (word, new) in words[3..].iter_mut().zip(vars.iter().flatten()) {
            *word = *new;
        }
        debug_assert!(Record(words).kind() == Kind::Datasec);
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::{Btf, Type};

    /// Header, `int`, two variables of it, a data section with both.
    fn two_variables() -> Vec<u8> {
        let strings = b"\0int\0a\0b\0.bss\0";
        let int = [1, 1 << 24, 4, 32 | 1 << 24];
        let var = |name| [name, 14 << 24, 1, 1];
        let datasec = [9, 15 << 24 | 2, 0, 2, 0, 4, 3, 0, 4];
        let words = [&int[..], &var(5), &var(7), &datasec].concat();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        let len = words.len() as u32 * 4;
        for word in [24, 0, len, len, strings.len() as u32].iter().chain(&words) {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn offsets_are_set_and_sorted() {
        let mut btf = Btf::parse(&two_variables()).expect("well formed");
        assert!(!btf.set_datasec(1, 8, |_| None));
        assert!(btf.set_datasec(4, 8, |name| Some(if name == "a" { 4 } else { 0 })));
        let Some(Type::Datasec(section)) = btf.type_by_id(4) else { panic!("a data section") };
        let vars: Vec<_> = section.vars.map(|v| (v.type_id, v.offset)).collect();
        assert_eq!((section.size, vars), (8, vec![(3, 0), (2, 4)]));
    }
}
