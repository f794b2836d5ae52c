//! Words → expression tree. `and` and `or` bind equally and to the left; `not` binds tighter. A bare name or address
//! behind `and` or `or` takes the qualifiers of what stands before it: `tcp port 80 or 443`.
//!
//! Depth is limited, and a parenthesis is read once: whether it holds arithmetic is seen from what follows its end.

use super::error::{FilterError, Span, Why};
use super::lex::{Tok, Token};
use super::words::Proto;
use crate::insn::{AluOp, Cond};

/// Parentheses and `not`s inside each other.
const MAX_DEPTH: usize = 200;

/// Direction qualifiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dir {
    Default,
    Src,
    Dst,
    Or,
    And,
    /// 802.11 addresses: the word.
    Wlan(&'static str),
}

/// What an identifier is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Default,
    Host,
    Net,
    Port,
    PortRange,
    Gateway,
    Proto,
    ProtoChain,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Default => "default",
            Kind::Host => "host",
            Kind::Net => "net",
            Kind::Port => "port",
            Kind::PortRange => "portrange",
            Kind::Gateway => "gateway",
            Kind::Proto => "proto",
            Kind::ProtoChain => "protochain",
        }
    }
}

/// Qualifiers of a primitive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Quals {
    pub proto: Proto,
    pub dir: Dir,
    pub kind: Kind,
}

/// An identifier.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Ident {
    Num(u32),
    Hid(String),
    HidLen(String, u32),
    HidMask(String, String),
    Hid6(String),
    Hid6Len(String, u32),
    Eid([u8; 6]),
    Aid(String),
    Name(String),
}

/// An expression.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Expr {
    /// All packets.
    True,
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    Prim(Prim, Span),
}

/// A primitive.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Prim {
    Id(Quals, Ident),
    Proto(Proto),
    /// Condition, turned round or not, two numbers.
    Relation(Cond, bool, Arith, Arith),
    Broadcast(Proto),
    Multicast(Proto),
    Less(u32),
    Greater(u32),
    Byte(u32, &'static str, u32),
    Vlan(Option<u32>),
    Mpls(Option<u32>),
    Pppoed,
    Pppoes(Option<u32>),
    Llc(Option<String>),
    /// `geneve` or `vxlan`, with a network identifier.
    Tunnel(&'static str, Option<u32>),
    /// A list in parentheses follows, whose identifiers take the qualifiers just read. Never in a tree.
    List,
    /// A word of other link types, or not built yet.
    Other(&'static str),
}

/// A number.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Arith {
    Num(u32),
    Len,
    Load(Proto, Box<Arith>, u32, Span),
    Op(AluOp, Box<Arith>, Box<Arith>, Span),
    Neg(Box<Arith>),
}

type Result<T> = std::result::Result<T, FilterError>;

pub(super) struct Parser<'a> {
    toks: &'a [Token],
    /// Where the parenthesis that opens here closes.
    closes: Vec<usize>,
    at: usize,
    depth: usize,
    end: usize,
    /// Qualifiers that a bare identifier takes over.
    quals: Option<Quals>,
}

/// Reads a whole expression.
pub(super) fn expression(toks: &[Token], len: usize) -> Result<Expr> {
    let mut p = Parser { toks, closes: closes(toks), at: 0, depth: 0, end: len, quals: None };
    if toks.is_empty() {
        return Ok(Expr::True);
    }
    let expr = p.expr()?;
    if p.at < toks.len() { Err(p.syntax()) } else { Ok(expr) }
}

fn closes(toks: &[Token]) -> Vec<usize> {
    let (mut out, mut open) = (vec![usize::MAX; toks.len()], Vec::new());
    for (i, t) in toks.iter().enumerate() {
        match t.tok {
            Tok::Op("(") => open.push(i),
            Tok::Op(")") => {
                if let Some(o) = open.pop() {
                    out[o] = i;
                }
            }
            _ => {}
        }
    }
    out
}

fn is_arith_op(tok: Option<&Tok>) -> bool {
    matches!(tok, Some(Tok::Op("+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>")))
}

fn is_relation(tok: Option<&Tok>) -> bool {
    matches!(tok, Some(Tok::Op("=" | "!=" | "<" | "<=" | ">" | ">=")))
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Tok> {
        self.toks.get(self.at).map(|t| &t.tok)
    }

    fn ahead(&self, n: usize) -> Option<&'a Tok> {
        self.toks.get(self.at + n).map(|t| &t.tok)
    }

    fn span(&self) -> Span {
        self.toks.get(self.at).map_or(Span { start: self.end, end: self.end }, |t| t.span)
    }

    fn syntax(&self) -> FilterError {
        FilterError { span: self.span(), why: Why::Syntax }
    }

    fn key(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Tok::Key(k)) if *k == word);
        self.at += usize::from(is);
        is
    }

    fn op(&mut self, op: &str) -> bool {
        let is = matches!(self.peek(), Some(Tok::Op(o)) if *o == op);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, op: &str) -> Result<()> {
        if self.op(op) { Ok(()) } else { Err(self.syntax()) }
    }

    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(FilterError { span: self.span(), why: Why::TooDeep });
        }
        self.depth += 1;
        let out = f(self);
        self.depth -= 1;
        out
    }

    fn expr(&mut self) -> Result<Expr> {
        let mut left = self.term()?;
        loop {
            if self.key("and") {
                left = Expr::And(Box::new(left), Box::new(self.term()?));
            } else if self.key("or") {
                left = Expr::Or(Box::new(left), Box::new(self.term()?));
            } else {
                return Ok(left);
            }
        }
    }

    fn term(&mut self) -> Result<Expr> {
        if self.key("not") {
            return Ok(Expr::Not(Box::new(self.deeper(Self::term)?)));
        }
        if matches!(self.peek(), Some(Tok::Op("("))) && !self.arithmetic_in_parens() {
            self.at += 1;
            let inner = self.deeper(Self::expr)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let start = self.span().start;
        let prim = self.primitive()?;
        if prim == Prim::List {
            return self.term();
        }
        let end = self.toks.get(self.at - 1).map_or(self.end, |t| t.span.end);
        Ok(Expr::Prim(prim, Span { start, end }))
    }

    /// A parenthesis behind which an operator stands holds a number.
    fn arithmetic_in_parens(&self) -> bool {
        let after = self.closes.get(self.at).and_then(|c| self.toks.get(c.wrapping_add(1))).map(|t| &t.tok);
        is_arith_op(after) || is_relation(after)
    }

    fn primitive(&mut self) -> Result<Prim> {
        if self.starts_arithmetic() {
            return self.relation();
        }
        match self.peek() {
            Some(Tok::Key(key)) => self.keyword(key),
            // A bare identifier takes the qualifiers of what stands before it.
            Some(Tok::Op(_)) | None => Err(self.syntax()),
            Some(_) => {
                let quals = self.quals.ok_or_else(|| self.syntax())?;
                Ok(Prim::Id(quals, self.ident()?))
            }
        }
    }

    fn starts_arithmetic(&self) -> bool {
        match self.peek() {
            Some(Tok::Key("len")) | Some(Tok::Op("-")) | Some(Tok::Op("(")) => true,
            Some(Tok::Key(key)) => {
                Proto::by_key(key).is_some() && matches!(self.ahead(1), Some(Tok::Op("[")))
            }
            Some(Tok::Num(_)) => is_arith_op(self.ahead(1)) || is_relation(self.ahead(1)),
            _ => false,
        }
    }

    fn keyword(&mut self, key: &'static str) -> Result<Prim> {
        let proto = Proto::by_key(key);
        let head = |k: Option<&Tok>| {
            matches!(
                k,
                Some(Tok::Key(
                    "src"
                        | "dst"
                        | "host"
                        | "net"
                        | "port"
                        | "portrange"
                        | "proto"
                        | "protochain"
                        | "gateway"
                        | "broadcast"
                        | "multicast"
                        | "addr1"
                        | "addr2"
                        | "addr3"
                        | "addr4"
                        | "ra"
                        | "ta"
                ))
            )
        };
        match proto {
            Some(Proto::Link) if matches!(self.ahead(1), Some(Tok::Key("type" | "subtype" | "dir"))) => {
                self.at += 1;
                self.primitive()
            }
            Some(p) if head(self.ahead(1)) => {
                self.at += 1;
                self.head(p)
            }
            Some(p) => {
                self.at += 1;
                self.quals = None;
                Ok(Prim::Proto(p))
            }
            None if head(self.peek()) => self.head(Proto::Default),
            None => {
                self.at += 1;
                self.quals = None;
                self.other(key)
            }
        }
    }

    /// Qualifiers behind the protocol, and the identifier.
    fn head(&mut self, proto: Proto) -> Result<Prim> {
        if self.key("broadcast") {
            self.quals = None;
            return Ok(Prim::Broadcast(proto));
        }
        if self.key("multicast") {
            self.quals = None;
            return Ok(Prim::Multicast(proto));
        }
        let dir = self.dir()?;
        let kind = self.kind(dir)?;
        let quals = Quals { proto, dir, kind };
        self.quals = Some(quals);
        self.idents(quals)
    }

    fn dir(&mut self) -> Result<Dir> {
        for word in ["addr1", "addr2", "addr3", "addr4", "ra", "ta"] {
            if self.key(word) {
                return Ok(Dir::Wlan(word));
            }
        }
        let (first, other) = if self.key("src") {
            (Dir::Src, "dst")
        } else if self.key("dst") {
            (Dir::Dst, "src")
        } else {
            return Ok(Dir::Default);
        };
        let both = match (self.peek(), self.ahead(1)) {
            (Some(Tok::Key("or")), Some(Tok::Key(k))) if *k == other => Dir::Or,
            (Some(Tok::Key("and")), Some(Tok::Key(k))) if *k == other => Dir::And,
            _ => return Ok(first),
        };
        self.at += 2;
        Ok(both)
    }

    fn kind(&mut self, dir: Dir) -> Result<Kind> {
        let kinds = [Kind::Host, Kind::Net, Kind::Port, Kind::PortRange];
        let lone = [Kind::Gateway, Kind::Proto, Kind::ProtoChain];
        if let Some(kind) = kinds.into_iter().find(|k| self.key(k.name())) {
            return Ok(kind);
        }
        if dir == Dir::Default {
            return lone.into_iter().find(|k| self.key(k.name())).ok_or_else(|| self.syntax());
        }
        Ok(Kind::Default)
    }

    /// One identifier, or several in parentheses: `port (80 or 443)`.
    fn idents(&mut self, quals: Quals) -> Result<Prim> {
        if matches!(self.peek(), Some(Tok::Op("(")) | Some(Tok::Key("not"))) {
            return Ok(Prim::List);
        }
        Ok(Prim::Id(quals, self.ident()?))
    }

    fn ident(&mut self) -> Result<Ident> {
        let tok = self.peek().ok_or_else(|| self.syntax())?;
        self.at += 1;
        Ok(match tok {
            Tok::Num(n) => Ident::Num(*n),
            Tok::Id(name) => Ident::Name(name.clone()),
            Tok::Eid(mac) => Ident::Eid(*mac),
            Tok::Aid(text) => Ident::Aid(text.clone()),
            Tok::Hid6(text) => match self.prefix_len()? {
                Some(n) => Ident::Hid6Len(text.clone(), n),
                None => Ident::Hid6(text.clone()),
            },
            Tok::Hid(text) => match self.prefix_len()? {
                Some(n) => Ident::HidLen(text.clone(), n),
                None if self.key("mask") => match self.peek() {
                    Some(Tok::Hid(mask)) => {
                        self.at += 1;
                        Ident::HidMask(text.clone(), mask.clone())
                    }
                    _ => return Err(self.syntax()),
                },
                None => Ident::Hid(text.clone()),
            },
            _ => {
                self.at -= 1;
                return Err(self.syntax());
            }
        })
    }

    fn prefix_len(&mut self) -> Result<Option<u32>> {
        if self.op("/") { self.num().map(Some) } else { Ok(None) }
    }

    fn num(&mut self) -> Result<u32> {
        match self.peek() {
            Some(Tok::Num(n)) => {
                self.at += 1;
                Ok(*n)
            }
            _ => Err(self.syntax()),
        }
    }

    fn maybe_num(&mut self) -> Option<u32> {
        self.num().ok()
    }

    fn other(&mut self, key: &'static str) -> Result<Prim> {
        Ok(match key {
            "broadcast" => Prim::Broadcast(Proto::Default),
            "multicast" => Prim::Multicast(Proto::Default),
            "less" => Prim::Less(self.num()?),
            "greater" => Prim::Greater(self.num()?),
            "byte" => self.byte()?,
            "vlan" => Prim::Vlan(self.maybe_num()),
            "mpls" => Prim::Mpls(self.maybe_num()),
            "pppoed" => Prim::Pppoed,
            "pppoes" => Prim::Pppoes(self.maybe_num()),
            "llc" => Prim::Llc(self.llc_type()),
            "geneve" | "vxlan" => Prim::Tunnel(key, self.maybe_num()),
            "type" | "subtype" => {
                self.name_or_number()?;
                while self.key("subtype") {
                    self.name_or_number()?;
                }
                Prim::Other("type/subtype")
            }
            "dir" => {
                self.name_or_number()?;
                Prim::Other("dir")
            }
            "and" | "or" | "mask" => {
                self.at -= 1;
                return Err(self.syntax());
            }
            other => {
                self.skip_value();
                Prim::Other(other)
            }
        })
    }

    /// The value behind a word of another link type: what it would mean is refused later.
    fn skip_value(&mut self) {
        if is_relation(self.peek()) {
            self.at += 1;
        }
        match self.peek() {
            Some(Tok::Op("(")) if self.closes[self.at] != usize::MAX => self.at = self.closes[self.at] + 1,
            _ => {
                let _ = self.ident();
            }
        }
    }

    fn name_or_number(&mut self) -> Result<()> {
        match self.peek() {
            Some(Tok::Id(_) | Tok::Num(_) | Tok::Key(_)) => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.syntax()),
        }
    }

    fn llc_type(&mut self) -> Option<String> {
        let name = match self.peek()? {
            Tok::Id(name) => name.clone(),
            Tok::Key("rnum") => "rnr".into(),
            _ => return None,
        };
        self.at += 1;
        Some(name)
    }

    fn byte(&mut self) -> Result<Prim> {
        let index = self.num()?;
        let op = match self.peek() {
            Some(Tok::Op(op @ ("=" | "<" | ">" | "&" | "|"))) => *op,
            _ => return Err(self.syntax()),
        };
        self.at += 1;
        Ok(Prim::Byte(index, op, self.num()?))
    }

    fn relation(&mut self) -> Result<Prim> {
        self.quals = None;
        let left = self.arith(0)?;
        let (cond, reversed) = match self.peek() {
            Some(Tok::Op("=")) => (Cond::Eq, false),
            Some(Tok::Op("!=")) => (Cond::Eq, true),
            Some(Tok::Op(">")) => (Cond::Gt, false),
            Some(Tok::Op("<=")) => (Cond::Gt, true),
            Some(Tok::Op(">=")) => (Cond::Ge, false),
            Some(Tok::Op("<")) => (Cond::Ge, true),
            _ => return Err(self.syntax()),
        };
        self.at += 1;
        let right = self.arith(0)?;
        Ok(Prim::Relation(cond, reversed, left, right))
    }

    /// Operators by how tightly they bind.
    fn binary(&self) -> Option<(AluOp, u8)> {
        let Some(Tok::Op(op)) = self.peek() else { return None };
        Some(match *op {
            "|" => (AluOp::Or, 1),
            "^" => (AluOp::Xor, 1),
            "&" => (AluOp::And, 2),
            "<<" => (AluOp::Lsh, 3),
            ">>" => (AluOp::Rsh, 3),
            "+" => (AluOp::Add, 4),
            "-" => (AluOp::Sub, 4),
            "*" => (AluOp::Mul, 5),
            "/" => (AluOp::Div, 5),
            "%" => (AluOp::Mod, 5),
            _ => return None,
        })
    }

    fn arith(&mut self, least: u8) -> Result<Arith> {
        let start = self.span().start;
        let mut left = self.deeper(Self::factor)?;
        while let Some((op, binds)) = self.binary()
            && binds > least
        {
            self.at += 1;
            let right = self.arith(binds)?;
            let end = self.toks.get(self.at - 1).map_or(self.end, |t| t.span.end);
            left = Arith::Op(op, Box::new(left), Box::new(right), Span { start, end });
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Arith> {
        if self.op("(") {
            let inner = self.arith(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.op("-") {
            return Ok(Arith::Neg(Box::new(self.deeper(Self::factor)?)));
        }
        match self.peek() {
            Some(Tok::Num(n)) => {
                self.at += 1;
                Ok(Arith::Num(*n))
            }
            Some(Tok::Key("len")) => {
                self.at += 1;
                Ok(Arith::Len)
            }
            Some(Tok::Key(key)) => {
                let proto = Proto::by_key(key).ok_or_else(|| self.syntax())?;
                self.load(proto)
            }
            _ => Err(self.syntax()),
        }
    }

    fn load(&mut self, proto: Proto) -> Result<Arith> {
        let start = self.span().start;
        self.at += 1;
        self.expect("[")?;
        let index = self.arith(0)?;
        let size = if self.op(":") { self.num()? } else { 1 };
        let end = self.span().end;
        self.expect("]")?;
        Ok(Arith::Load(proto, Box::new(index), size, Span { start, end }))
    }
}
