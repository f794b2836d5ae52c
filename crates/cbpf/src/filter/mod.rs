//! The filter language of pcap-filter(7): `tcp port 80 and not host 10.0.0.1`.
//!
//! ```text
//!  text ─ lex ─► words ─ parse ─► primitives ─ gen ─► tree of tests ─ cfg ─► classic instructions
//! ```
//!
//! - [`names`]: hosts, services and protocols by name, through a [`Resolver`].
//! - Link types are rows of `link.rs`, reserved words of `words.rs`.
//! - Values, tests of them and trees are rows of lists (`values.rs`, `tree.rs`), which a thread keeps for the next filter
//!   (`scratch.rs`).
//! - What primitives mean: `gen.rs` (the link layer), `ident.rs` (hosts, networks, ports), `layers.rs` (tags, labels,
//!   tunnels, LLC), `wlan.rs`, `telephony.rs`, `pflog.rs`, `numbers.rs` (arithmetic).
//!
//! Always holds: what is accepted passes the kernel's checks ([`Program`]), but for the loop of `protochain`; tests are
//! asked in the order in which the expression names them, so that packets cut short are judged as by libpcap's
//! unoptimised programs.

mod cfg;
mod error;
mod r#gen;
mod ident;
mod index;
mod layers;
mod lex;
mod link;
pub mod names;
mod numbers;
mod parse;
mod pflog;
mod scratch;
mod telephony;
mod tree;
mod values;
mod wlan;
mod words;

pub use error::{FilterError, Span, Why};
pub use names::{Numbers, Resolver};
pub use words::Proto;

use crate::check::{CheckError, MAX_INSNS, Program, Rule};
use crate::insn::Insn;
use crate::translate::{Target, TranslateError, translate};
use cfg::CodeGen;
use layers::Built;
use scratch::Scratch;
use skep_isa::asm::{AsmObject, Binding, Contents, Section, Symbol, SymbolKind};
use tree::Trees;

/// Most words of an expression.
const MAX_WORDS: usize = 16_384;

/// Where the packets come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Packets {
    /// Not told: what the packet itself does not say cannot be asked.
    #[default]
    Any,
    /// A capture file, which may have been written on a host of another kind.
    File,
    /// A socket of Linux: `inbound`, `outbound` and `ifindex` ask the kernel, and so does `vlan`, since Linux takes tags
    /// out of packets.
    Live,
}

/// How to compile.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Link type by libpcap's name, with or without `DLT_`.
    pub link: &'a str,
    /// What accepted packets return: the bytes to keep of them.
    pub snaplen: u32,
    /// Leave out what need not be asked again.
    pub optimize: bool,
    /// Netmask of the network captured on, for `ip broadcast`.
    pub netmask: Option<u32>,
    /// Where the packets come from.
    pub packets: Packets,
    /// `vlan`, `mpls`, `pppoes`, `geneve` and `vxlan` move the headers for what stands to their right inside the same
    /// parentheses alone. libpcap's language lets them move for all that follows in the text, also behind `or`.
    pub scoped: bool,
    /// Names.
    pub resolver: &'a dyn Resolver,
}

impl Default for Options<'_> {
    /// Ethernet, tcpdump's snapshot length, optimised, no names but those of the language.
    fn default() -> Self {
        let (link, snaplen, packets) = ("EN10MB", 262_144, Packets::Any);
        Options { link, snaplen, optimize: true, netmask: None, packets, scoped: false, resolver: &Numbers }
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let o = f.debug_struct("Options");
        let mut o = o;
        o.field("link", &self.link).field("snaplen", &self.snaplen).field("optimize", &self.optimize);
        o.field("netmask", &self.netmask).field("packets", &self.packets).field("scoped", &self.scoped);
        o.finish_non_exhaustive()
    }
}

/// Link types that filters are compiled for: name without `DLT_`, and number in capture files.
pub fn link_types() -> impl Iterator<Item = (&'static str, u32)> {
    link::names()
}

/// A compiled filter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    program: Program,
}

impl Filter {
    /// Compiles an expression. Microseconds for usual ones, plus what the resolver takes for names. Fails with the first
    /// thing that is wrong, and where.
    ///
    /// ```
    /// use skep_cbpf::{Filter, FilterOptions, text};
    /// let filter = Filter::compile("ip", &FilterOptions::default())?;
    /// assert_eq!(text::listing(filter.insns()).lines().next(), Some("(000) ldh      [12]"));
    /// # Ok::<(), skep_cbpf::FilterError>(())
    /// ```
    pub fn compile(expr: &str, options: &Options<'_>) -> Result<Filter, FilterError> {
        let everywhere = Span { start: 0, end: expr.len() };
        let fail = |why| FilterError { span: everywhere, why };
        if expr.len() > lex::MAX_LEN {
            return Err(fail(Why::TooDeep));
        }
        Scratch::with(|scratch| {
            let Scratch { tokens, trees, codegen } = scratch;
            lex::words(expr, tokens)?;
            if tokens.len() > MAX_WORDS {
                return Err(fail(Why::TooDeep));
            }
            let built = parse::expression(expr, tokens, r#gen::Gen::new(options, trees)?)?;
            let program = program(codegen, trees.get_mut(), built, options).map_err(fail)?;
            Ok(Filter { program })
        })
    }

    /// The classic instructions.
    pub fn insns(&self) -> &[Insn] {
        self.program.insns()
    }

    /// The same as a checked program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The same in eBPF.
    pub fn to_ebpf(&self, target: &Target) -> Result<Vec<skep_isa::Insn>, TranslateError> {
        translate(&self.program, target)
    }

    /// The same as a whole object with one program, `filter`, in the section of the target's hook: what `skep asm` writes.
    pub fn to_assembly(&self, target: &Target) -> Result<AsmObject, TranslateError> {
        let code = Contents::Code(self.to_ebpf(target)?);
        let symbol = Symbol {
            name: "filter".into(),
            kind: SymbolKind::Func,
            binding: Binding::Global,
            hidden: false,
            offset: 0,
            size: code.size(),
            prog_type: None,
        };
        let section = Section {
            name: target.hook.section().into(),
            align: code.usual_align(),
            contents: code,
            symbols: vec![symbol],
            relocs: Vec::new(),
        };
        Ok(AsmObject { license: Some("GPL".into()), sections: vec![section], ..AsmObject::default() })
    }
}

fn program(
    codegen: &mut CodeGen,
    trees: &mut Trees,
    built: Built,
    options: &Options<'_>,
) -> Result<Program, Why> {
    let compile = |codegen: &mut CodeGen, trees: &mut Trees, built: &Built| {
        let ops = codegen.compile(trees, built, options.snaplen, options.optimize);
        ops.map_err(|fault| {
            Why::Text(match fault {
                cfg::Fault::TooComplex => "out of registers needed to evaluate expression".into(),
                cfg::Fault::RejectsAll => "expression rejects all packets".into(),
            })
        })
    };
    let ops = compile(codegen, trees, &built)?;
    let len = ops.len();
    let program = match Program::of_ops(ops) {
        // A word that only some packets set is 0 for the others.
        Err(CheckError { rule: Rule::MemUnset(_), .. }) => {
            let tree = trees.behind_zeros(built.tree, built.words);
            Program::of_ops(compile(codegen, trees, &Built { tree, ..built })?)
        }
        checked => checked,
    };
    program.map_err(|e| {
        if len > MAX_INSNS { Why::TooLong(len) } else { Why::Text(format!("no packet has this: {e}")) }
    })
}
