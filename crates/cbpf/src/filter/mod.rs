//! The filter language of pcap-filter(7): `tcp port 80 and not host 10.0.0.1`.
//!
//! ```text
//!  text ─ lex ─► words ─ parse ─► expression ─ gen, ident ─► tree of tests ─ cfg ─► classic instructions
//! ```
//!
//! - [`names`]: hosts, services and protocols by name, through a [`Resolver`].
//! - Link types are rows of `link.rs`; a link type without a row is refused.
//!
//! Always holds: what is accepted passes the kernel's checks ([`Program`]), but for the loop of `protochain`; tests are asked in the order in which the
//! expression names them, so that packets cut short are judged as by libpcap's unoptimised programs.
//!
//! Not built yet, and refused with these words: `geneve`, `vxlan`, 802.11, ATM, MTP, PFLOG
//! and ARCnet words, live-capture words (`inbound`, `ifindex`), and link types without a row.

mod cfg;
mod error;
mod r#gen;
mod ident;
mod lex;
mod link;
pub mod names;
mod parse;
mod tree;
mod words;

pub use error::{FilterError, Span, Why};
pub use names::{Files, Numbers, Resolver};
pub use words::Proto;

use crate::check::{MAX_INSNS, Program};
use crate::insn::Insn;
use crate::translate::{Target, TranslateError, translate};

/// Most words of an expression.
const MAX_WORDS: usize = 16_384;

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
    /// Names.
    pub resolver: &'a dyn Resolver,
}

impl Default for Options<'_> {
    /// Ethernet, tcpdump's snapshot length, optimised, names from the system.
    fn default() -> Self {
        Options { link: "EN10MB", snaplen: 262_144, optimize: true, netmask: None, resolver: &Files }
    }
}

impl std::fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let o = f.debug_struct("Options");
        let mut o = o;
        o.field("link", &self.link).field("snaplen", &self.snaplen).field("optimize", &self.optimize);
        o.field("netmask", &self.netmask).finish_non_exhaustive()
    }
}

/// Link types that filters are compiled for: name without `DLT_`, and libpcap's number.
pub fn link_types() -> impl Iterator<Item = (&'static str, u32)> {
    link::LINKS.iter().map(|l| (l.name, l.number))
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
        let words = lex::words(expr)?;
        if words.len() > MAX_WORDS {
            return Err(fail(Why::TooDeep));
        }
        let parsed = parse::expression(&words, expr.len())?;
        let tree = r#gen::Gen::new(options).expr(&parsed)?;
        let insns = cfg::compile(&tree, 0, options.snaplen, options.optimize).map_err(|fault| {
            fail(Why::Text(match fault {
                cfg::Fault::TooComplex => "out of registers needed to evaluate expression".into(),
                cfg::Fault::RejectsAll => "expression rejects all packets".into(),
            }))
        })?;
        let len = insns.len();
        let program = Program::with_loops(insns).map_err(|e| {
            fail(if len > MAX_INSNS {
                Why::TooLong(len)
            } else {
                Why::Text(format!("no packet has this: {e}"))
            })
        })?;
        Ok(Filter { program })
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
}
