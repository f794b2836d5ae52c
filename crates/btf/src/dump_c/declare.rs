//! C declarations, put together from the name outwards: each step from a type to what it refers to adds a star, a
//! bracket or a parameter list around what is there, until a type with a name of its own is reached.

use super::names::number_name;
use super::{DumpError, Dumper};
use crate::view::{FuncProto, Type, TypeTag};

impl Dumper<'_> {
    /// The declaration of `name` as type `id`; `indent` is that of the line it stands on.
    pub(super) fn declare(&mut self, id: u32, name: &str, indent: usize) -> Result<String, DumpError> {
        self.deeper(id, |d| d.declare_steps(id, name, indent))
    }

    fn declare_steps(&mut self, mut id: u32, name: &str, indent: usize) -> Result<String, DumpError> {
        let mut inner = name.to_owned();
        let mut behind_star = false;
        // qualifiers and tags of the type that comes next
        let mut words: Vec<String> = Vec::new();
        for _ in 0..super::MAX_DEPTH {
            self.burn(inner.len())?;
            match self.btf.type_by_id(id).ok_or(DumpError::NotAType { type_id: id })? {
                Type::Const(to) => (id, _) = (to, add_word(&mut words, "const")),
                Type::Volatile(to) => (id, _) = (to, add_word(&mut words, "volatile")),
                Type::Restrict(to) => (id, _) = (to, add_word(&mut words, "restrict")),
                Type::TypeTag(t) => (id, _) = (t.type_id, add_word(&mut words, &tag_text(t))),
                Type::Ptr(to) => {
                    inner = star(&words, &inner);
                    words.clear();
                    (id, behind_star) = (to, true);
                }
                Type::Array(a) => {
                    inner = format!("{}[{}]", parens(inner, behind_star), a.nelems);
                    (id, behind_star) = (a.type_id, false);
                }
                Type::FuncProto(p) => {
                    let params = self.params(p, indent)?;
                    inner = format!("{}({params})", parens(inner, behind_star));
                    words.clear();
                    (id, behind_star) = (p.return_type_id, false);
                }
                t => return Ok(finish(&self.specifier(id, t, indent)?, &words, &inner)),
            }
        }
        Err(DumpError::TooDeep { type_id: id })
    }

    fn params(&mut self, p: FuncProto<'_>, indent: usize) -> Result<String, DumpError> {
        if p.params.is_empty() {
            return Ok("void".to_owned());
        }
        let (last, mut out) = (p.params.len() - 1, String::new());
        for (i, param) in p.params.enumerate() {
            if i > 0 {
                out.push_str(", ");
            }
            if param.type_id == 0 && i == last && i > 0 {
                out.push_str("...");
            } else {
                out.push_str(&self.declare(param.type_id, &super::names::sanitize(param.name), indent)?);
            }
        }
        Ok(out)
    }

    /// A type that ends a declaration.
    fn specifier(&mut self, id: u32, t: Type<'_>, indent: usize) -> Result<String, DumpError> {
        Ok(match t {
            Type::Void => "void".to_owned(),
            Type::Int(i) => number_name(i.name, i.size, i.encoding.signed),
            Type::Float(f) => number_name(f.name, f.size, true),
            Type::Struct(c) | Type::Union(c) if c.name.is_empty() => self.struct_body(id, c, indent)?,
            Type::Struct(c) | Type::Union(c) => self.tag(id, c.is_union),
            Type::Fwd(f) => self.tag(id, f.is_union),
            Type::Enum(e) | Type::Enum64(e) if e.name.is_empty() => self.enum_body(id, indent)?,
            Type::Enum(_) | Type::Enum64(_) => format!("enum {}", self.name_of(id)),
            Type::Typedef(_) => self.name_of(id),
            _ => return Err(DumpError::NotAType { type_id: id }),
        })
    }
}

fn add_word(words: &mut Vec<String>, word: &str) {
    if !words.iter().any(|w| w == word) {
        words.push(word.to_owned());
    }
}

/// The attribute of a type tag, on one line whatever the text.
fn tag_text(t: TypeTag<'_>) -> String {
    let keep = |c: &char| match t.attribute {
        true => c.is_ascii_alphanumeric() || "_(), ".contains(*c),
        false => !c.is_control() && *c != '"' && *c != '\\',
    };
    let text: String = t.name.chars().filter(keep).collect();
    if t.attribute {
        return format!("__attribute__(({text}))");
    }
    format!("__attribute__((btf_type_tag(\"{text}\")))")
}

fn parens(inner: String, behind_star: bool) -> String {
    if behind_star { format!("({inner})") } else { inner }
}

/// A star with the qualifiers of the pointer.
fn star(words: &[String], inner: &str) -> String {
    let gap = if words.is_empty() || inner.is_empty() { "" } else { " " };
    let lead = if words.is_empty() { "" } else { " " };
    format!("*{lead}{}{gap}{inner}", words.join(" "))
}

fn finish(specifier: &str, words: &[String], inner: &str) -> String {
    let mut out = String::new();
    for w in words.iter().filter(|w| *w == "const" || *w == "volatile") {
        out.push_str(w);
        out.push(' ');
    }
    out.push_str(specifier);
    for w in words.iter().filter(|w| w.starts_with("__attribute__")) {
        out.push(' ');
        out.push_str(w);
    }
    if !inner.is_empty() {
        out.push(' ');
        out.push_str(inner);
    }
    out
}
