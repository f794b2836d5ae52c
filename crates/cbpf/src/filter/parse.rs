//! Words → tree of tests, in one pass: what has been read is handed to [`Gen`] at once, since words such as `vlan` change
//! what those behind them mean. `and` and `or` bind equally and to the left; `not` binds tighter. A bare name or address
//! behind `and` or `or` takes the qualifiers of what stands before it: `tcp port 80 or 443`.
//!
//! Depth is limited, and a parenthesis is read once: whether it holds arithmetic is seen from what follows its end.

use super::error::{FilterError, Span, Why};
use super::r#gen::{Gen, Result};
use super::layers::Built;
use super::lex::{Op, Tok, Token};
use super::numbers::Number;
use super::tree::Tree;
use super::words::{Field, Key, Proto};
use crate::insn::{AluOp, Cond};
use std::net::Ipv6Addr;

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
    Wlan(Key),
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
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Ident<'a> {
    Num(u32),
    Hid(&'a str),
    HidLen(&'a str, u32),
    HidMask(&'a str, &'a str),
    Hid6(&'a str, Ipv6Addr),
    Hid6Len(&'a str, Ipv6Addr, u32),
    Eid([u8; 6]),
    Aid(u8),
    Name(&'a str),
}

/// A name, or a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value<'a> {
    Name(&'a str),
    Num(u32),
}

/// A comparison: a relation, and whether its opposite is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Relation {
    pub cond: Cond,
    pub reversed: bool,
}

pub(super) struct Parser<'a> {
    text: &'a str,
    toks: &'a [Token],
    at: usize,
    depth: usize,
    /// Qualifiers that a bare identifier takes over.
    quals: Option<Quals>,
    r#gen: Gen<'a>,
}

/// The tree of a whole expression.
pub(super) fn expression<'a>(text: &'a str, toks: &'a [Token], r#gen: Gen<'a>) -> Result<Built> {
    let mut p = Parser { toks, at: 0, depth: 0, text, quals: None, r#gen };
    if toks.is_empty() {
        return Ok(Built { tree: Tree::TRUE, words: 0, read: 0 });
    }
    let tree = p.expr()?;
    if p.at < toks.len() { Err(p.syntax()) } else { Ok(p.r#gen.finish(tree)) }
}

fn arithmetic(op: Op) -> Option<(AluOp, u8)> {
    Some(match op {
        Op::Or => (AluOp::Or, 1),
        Op::Xor => (AluOp::Xor, 1),
        Op::And => (AluOp::And, 2),
        Op::Lsh => (AluOp::Lsh, 3),
        Op::Rsh => (AluOp::Rsh, 3),
        Op::Add => (AluOp::Add, 4),
        Op::Sub => (AluOp::Sub, 4),
        Op::Mul => (AluOp::Mul, 5),
        Op::Div => (AluOp::Div, 5),
        Op::Mod => (AluOp::Mod, 5),
        _ => return None,
    })
}

fn relation(op: Op) -> Option<Relation> {
    let (cond, reversed) = match op {
        Op::Eq => (Cond::Eq, false),
        Op::Ne => (Cond::Eq, true),
        Op::Gt => (Cond::Gt, false),
        Op::Le => (Cond::Gt, true),
        Op::Ge => (Cond::Ge, false),
        Op::Lt => (Cond::Ge, true),
        _ => return None,
    };
    Some(Relation { cond, reversed })
}

/// A number can go on here: an operator of arithmetic or a relation.
fn continues_number(tok: Option<&Tok>) -> bool {
    matches!(tok, Some(Tok::Op(op)) if arithmetic(*op).is_some() || relation(*op).is_some())
}

/// What stands between a protocol and an identifier.
fn is_qualifier(tok: Option<&Tok>) -> bool {
    use Key::*;
    matches!(
        tok,
        Some(Tok::Key(
            Src | Dst
                | Host
                | Net
                | Port
                | PortRange
                | Proto
                | ProtoChain
                | Gateway
                | Broadcast
                | Multicast
                | Addr1
                | Addr2
                | Addr3
                | Addr4
                | Ra
                | Ta
        ))
    )
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Tok> {
        self.ahead(0)
    }

    fn ahead(&self, n: usize) -> Option<&'a Tok> {
        self.toks.get(self.at + n).map(|t| &t.tok)
    }

    fn span(&self) -> Span {
        let end = self.text.len();
        self.toks.get(self.at).map_or(Span { start: end, end }, |t| t.span())
    }

    /// Text of the word at hand.
    fn word(&self) -> &'a str {
        self.toks.get(self.at).map_or("", |t| t.text(self.text))
    }

    /// From a place to the end of the last word read.
    fn since(&self, start: usize) -> Span {
        Span { start, end: self.toks.get(self.at.wrapping_sub(1)).map_or(self.text.len(), |t| t.span().end) }
    }

    fn syntax(&self) -> FilterError {
        FilterError { span: self.span(), why: Why::Syntax }
    }

    fn key(&mut self, key: Key) -> bool {
        let is = matches!(self.peek(), Some(Tok::Key(k)) if *k == key);
        self.at += usize::from(is);
        is
    }

    fn op(&mut self, op: Op) -> bool {
        let is = matches!(self.peek(), Some(Tok::Op(o)) if *o == op);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, op: Op) -> Result<()> {
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

    fn expr(&mut self) -> Result<Tree> {
        let mut left = self.settled_term()?;
        loop {
            let and = self.key(Key::And);
            if !and && !self.key(Key::Or) {
                return Ok(left);
            }
            let right = self.settled_term()?;
            left = self.join(and, left, right);
        }
    }

    /// `and` or `or` of two trees; where one is decided without a look at the packet nothing is loaded for the other.
    fn join(&self, and: bool, left: Tree, right: Tree) -> Tree {
        match (left, right) {
            (Tree::TRUE | Tree::FALSE, _) if left == Tree::of(and) => right,
            (Tree::TRUE | Tree::FALSE, _) => left,
            (_, Tree::TRUE | Tree::FALSE) if right == Tree::of(and) => left,
            (_, Tree::TRUE | Tree::FALSE) => right,
            _ if and => self.r#gen.and([left, right]),
            _ => self.r#gen.or([left, right]),
        }
    }

    fn settled_term(&mut self) -> Result<Tree> {
        let tree = self.term()?;
        Ok(self.r#gen.decided(tree).map_or(tree, Tree::of))
    }

    fn term(&mut self) -> Result<Tree> {
        if self.key(Key::Not) {
            return Ok(self.deeper(Self::term)?.not());
        }
        if matches!(self.peek(), Some(Tok::Op(Op::Open))) && !self.arithmetic_in_parens() {
            self.at += 1;
            let place = self.r#gen.place();
            let inner = self.deeper(Self::expr)?;
            self.expect(Op::Close)?;
            if self.r#gen.options.scoped {
                self.r#gen.return_to(place);
            }
            return Ok(inner);
        }
        let start = self.span().start;
        match self.peek() {
            _ if self.starts_number() => self.relation(start),
            Some(Tok::Proto(_) | Tok::Key(_) | Tok::Atm(_) | Tok::Mtp2(_) | Tok::Field(_)) => {
                self.primitive(start)
            }
            // A bare identifier takes the qualifiers of what stands before it.
            Some(Tok::Op(_)) | None => Err(self.syntax()),
            Some(_) => {
                let quals = self.quals.ok_or_else(|| self.syntax())?;
                self.identifier(quals, start)
            }
        }
    }

    /// A parenthesis behind which an operator stands holds a number.
    fn arithmetic_in_parens(&self) -> bool {
        let mut open = 0;
        for (i, t) in self.toks[self.at..].iter().enumerate() {
            match t.tok {
                Tok::Op(Op::Open) => open += 1,
                Tok::Op(Op::Close) if open == 1 => return continues_number(self.ahead(i + 1)),
                Tok::Op(Op::Close) => open -= 1,
                _ => {}
            }
        }
        false
    }

    fn starts_number(&self) -> bool {
        match self.peek() {
            Some(Tok::Key(Key::Len) | Tok::Op(Op::Sub | Op::Open)) => true,
            Some(Tok::Proto(_)) => matches!(self.ahead(1), Some(Tok::Op(Op::Index))),
            Some(Tok::Num(_)) => continues_number(self.ahead(1)),
            _ => false,
        }
    }

    /// What begins with a reserved word.
    fn primitive(&mut self, start: usize) -> Result<Tree> {
        let first = self.peek();
        if let Some(Tok::Proto(proto)) = first {
            let next = self.ahead(1);
            if *proto == Proto::Link && matches!(next, Some(Tok::Key(Key::Type | Key::Subtype | Key::Dir))) {
                self.at += 1;
                return self.primitive(start);
            }
            self.at += 1;
            if is_qualifier(next) {
                return self.head(*proto, start);
            }
            self.quals = None;
            self.r#gen.span = self.since(start);
            return self.r#gen.abbreviation(*proto);
        }
        if is_qualifier(first) {
            return self.head(Proto::Default, start);
        }
        self.at += 1;
        self.quals = None;
        match first {
            Some(Tok::Key(key)) => self.keyword(*key, start),
            Some(Tok::Atm(atm)) => {
                self.r#gen.span = self.since(start);
                self.r#gen.atm(*atm)
            }
            Some(Tok::Mtp2(unit)) => {
                self.r#gen.span = self.since(start);
                self.r#gen.mtp2(*unit)
            }
            Some(Tok::Field(field)) => self.field(*field, start),
            _ => Err(self.syntax()),
        }
    }

    /// Qualifiers behind the protocol, and the identifier.
    fn head(&mut self, proto: Proto, start: usize) -> Result<Tree> {
        for broadcast in [true, false] {
            if self.key(if broadcast { Key::Broadcast } else { Key::Multicast }) {
                self.quals = None;
                self.r#gen.span = self.since(start);
                return if broadcast { self.r#gen.broadcast(proto) } else { self.r#gen.multicast(proto) };
            }
        }
        let dir = self.dir();
        let kind = self.kind(dir)?;
        let quals = Quals { proto, dir, kind };
        self.quals = Some(quals);
        // A list in parentheses takes the qualifiers, too: `port (80 or 443)`.
        if matches!(self.peek(), Some(Tok::Op(Op::Open) | Tok::Key(Key::Not))) {
            return self.identifiers(quals);
        }
        self.identifier(quals, start)
    }

    /// An identifier, or several joined and in parentheses, none of which has qualifiers of its own.
    fn identifiers(&mut self, quals: Quals) -> Result<Tree> {
        if self.key(Key::Not) {
            return Ok(self.deeper(|p| p.identifiers(quals))?.not());
        }
        if !self.op(Op::Open) {
            let start = self.span().start;
            return self.identifier(quals, start);
        }
        let mut left = self.deeper(|p| p.identifiers(quals))?;
        loop {
            let and = self.key(Key::And);
            if !and && !self.key(Key::Or) {
                self.expect(Op::Close)?;
                return Ok(left);
            }
            let right = self.deeper(|p| p.identifiers(quals))?;
            left = self.join(and, left, right);
        }
    }

    fn dir(&mut self) -> Dir {
        let (first, other) = match self.peek() {
            Some(Tok::Key(key @ (Key::Addr1 | Key::Addr2 | Key::Addr3 | Key::Addr4 | Key::Ra | Key::Ta))) => {
                self.at += 1;
                return Dir::Wlan(*key);
            }
            Some(Tok::Key(Key::Src)) => (Dir::Src, Key::Dst),
            Some(Tok::Key(Key::Dst)) => (Dir::Dst, Key::Src),
            _ => return Dir::Default,
        };
        self.at += 1;
        let both = match (self.peek(), self.ahead(1)) {
            (Some(Tok::Key(Key::Or)), Some(Tok::Key(k))) if *k == other => Dir::Or,
            (Some(Tok::Key(Key::And)), Some(Tok::Key(k))) if *k == other => Dir::And,
            _ => return first,
        };
        self.at += 2;
        both
    }

    fn kind(&mut self, dir: Dir) -> Result<Kind> {
        let kind = match self.peek() {
            Some(Tok::Key(Key::Host)) => Kind::Host,
            Some(Tok::Key(Key::Net)) => Kind::Net,
            Some(Tok::Key(Key::Port)) => Kind::Port,
            Some(Tok::Key(Key::PortRange)) => Kind::PortRange,
            _ if dir != Dir::Default => return Ok(Kind::Default),
            Some(Tok::Key(Key::Gateway)) => Kind::Gateway,
            Some(Tok::Key(Key::Proto)) => Kind::Proto,
            Some(Tok::Key(Key::ProtoChain)) => Kind::ProtoChain,
            _ => return Err(self.syntax()),
        };
        self.at += 1;
        Ok(kind)
    }

    fn identifier(&mut self, quals: Quals, start: usize) -> Result<Tree> {
        let ident = self.ident()?;
        self.r#gen.span = self.since(start);
        self.r#gen.ident(quals, &ident)
    }

    fn ident(&mut self) -> Result<Ident<'a>> {
        let tok = self.peek().ok_or_else(|| self.syntax())?;
        let text = self.word();
        self.at += 1;
        Ok(match *tok {
            Tok::Num(n) => Ident::Num(n),
            Tok::Id => Ident::Name(text),
            Tok::Eid(mac) => Ident::Eid(mac),
            Tok::Aid(byte) => Ident::Aid(byte),
            Tok::Hid6(address) if self.op(Op::Div) => Ident::Hid6Len(text, address, self.plain_num()?),
            Tok::Hid6(address) => Ident::Hid6(text, address),
            Tok::Hid if self.op(Op::Div) => Ident::HidLen(text, self.plain_num()?),
            Tok::Hid if self.key(Key::Mask) => match self.peek() {
                Some(Tok::Hid) => {
                    let mask = self.word();
                    self.at += 1;
                    Ident::HidMask(text, mask)
                }
                _ => return Err(self.syntax()),
            },
            Tok::Hid => Ident::Hid(text),
            _ => {
                self.at -= 1;
                return Err(self.syntax());
            }
        })
    }

    fn plain_num(&mut self) -> Result<u32> {
        match self.peek() {
            Some(Tok::Num(n)) => {
                self.at += 1;
                Ok(*n)
            }
            _ => Err(self.syntax()),
        }
    }

    /// A number, which may stand in parentheses.
    fn num(&mut self) -> Result<u32> {
        if self.op(Op::Open) {
            let n = self.deeper(Self::num)?;
            self.expect(Op::Close)?;
            return Ok(n);
        }
        self.plain_num()
    }

    fn maybe_num(&mut self) -> Result<Option<u32>> {
        match self.peek() {
            Some(Tok::Num(_) | Tok::Op(Op::Open)) => self.num().map(Some),
            _ => Ok(None),
        }
    }

    fn value(&mut self) -> Result<Value<'a>> {
        match self.peek() {
            Some(Tok::Id) => {
                let name = self.word();
                self.at += 1;
                Ok(Value::Name(name))
            }
            _ => self.num().map(Value::Num),
        }
    }

    fn id(&mut self) -> Result<&'a str> {
        match self.peek() {
            Some(Tok::Id) => {
                let name = self.word();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.syntax()),
        }
    }

    /// What a keyword begins, but for qualifiers.
    fn keyword(&mut self, key: Key, start: usize) -> Result<Tree> {
        match key {
            Key::Less | Key::Greater | Key::Ifindex => {
                let n = self.plain_num()?;
                self.r#gen.span = self.since(start);
                match key {
                    Key::Less => Ok(self.r#gen.shorter(n)),
                    Key::Greater => Ok(self.r#gen.longer(n)),
                    _ => self.r#gen.ifindex(n),
                }
            }
            Key::Byte => self.byte(start),
            Key::Vlan | Key::Mpls | Key::Pppoes | Key::Geneve | Key::Vxlan => {
                let n = self.maybe_num()?;
                self.r#gen.span = self.since(start);
                self.r#gen.layer(key, n)
            }
            Key::Pppoed => {
                self.r#gen.span = self.since(start);
                self.r#gen.pppoed()
            }
            Key::Lane => {
                self.r#gen.span = self.since(start);
                self.r#gen.lane()
            }
            Key::Llc => {
                let name = self.llc_type();
                self.r#gen.span = self.since(start);
                self.r#gen.llc(name)
            }
            Key::Inbound | Key::Outbound => {
                self.r#gen.span = self.since(start);
                self.r#gen.direction(key)
            }
            Key::Type => self.frame_type(start),
            Key::Subtype => {
                let subtype = self.value()?;
                self.r#gen.span = self.since(start);
                self.r#gen.subtype(subtype)
            }
            Key::Dir => {
                let dir = self.value()?;
                self.r#gen.span = self.since(start);
                self.r#gen.frame_direction(dir)
            }
            Key::Ifname | Key::Ruleset | Key::Action => {
                let name = self.id()?;
                self.r#gen.span = self.since(start);
                self.r#gen.pflog(key, Value::Name(name))
            }
            Key::Rulenum | Key::Subrulenum => {
                let n = self.plain_num()?;
                self.r#gen.span = self.since(start);
                self.r#gen.pflog(key, Value::Num(n))
            }
            Key::Reason => {
                let reason = self.value()?;
                self.r#gen.span = self.since(start);
                self.r#gen.pflog(key, reason)
            }
            _ => {
                self.at -= 1;
                Err(self.syntax())
            }
        }
    }

    fn llc_type(&mut self) -> Option<&'a str> {
        let name = match self.peek()? {
            Tok::Id => self.word(),
            Tok::Key(Key::Rulenum) => "rnr",
            _ => return None,
        };
        self.at += 1;
        Some(name)
    }

    fn byte(&mut self, start: usize) -> Result<Tree> {
        let index = self.plain_num()?;
        let op = match self.peek() {
            Some(Tok::Op(op @ (Op::Eq | Op::Lt | Op::Gt | Op::And | Op::Or))) => *op,
            _ => return Err(self.syntax()),
        };
        self.at += 1;
        let value = self.plain_num()?;
        self.r#gen.span = self.since(start);
        self.r#gen.byte(index, op, value)
    }

    fn frame_type(&mut self, start: usize) -> Result<Tree> {
        let kind = self.value()?;
        let subtype = if self.key(Key::Subtype) { Some(self.value()?) } else { None };
        self.r#gen.span = self.since(start);
        self.r#gen.frame_type(kind, subtype)
    }

    /// `vpi 5`, `vpi > 5`, `vpi (5 or 6)`.
    fn field(&mut self, field: Field, start: usize) -> Result<Tree> {
        let equal = Relation { cond: Cond::Eq, reversed: false };
        let relation = match self.peek() {
            Some(Tok::Op(op)) => relation(*op),
            _ => None,
        };
        if let Some(relation) = relation {
            self.at += 1;
            let n = self.plain_num()?;
            self.r#gen.span = self.since(start);
            return self.r#gen.field(field, relation, n);
        }
        if !self.op(Op::Open) {
            let n = self.plain_num()?;
            self.r#gen.span = self.since(start);
            return self.r#gen.field(field, equal, n);
        }
        let mut any = Tree::FALSE;
        loop {
            let n = self.plain_num()?;
            self.r#gen.span = self.since(start);
            any = self.r#gen.or([any, self.r#gen.field(field, equal, n)?]);
            if !self.key(Key::Or) {
                self.expect(Op::Close)?;
                return Ok(any);
            }
        }
    }

    fn relation(&mut self, start: usize) -> Result<Tree> {
        self.quals = None;
        let left = self.number(0)?;
        let relation = match self.peek() {
            Some(Tok::Op(op)) => relation(*op),
            _ => None,
        };
        let relation = relation.ok_or_else(|| self.syntax())?;
        self.at += 1;
        let right = self.number(0)?;
        self.r#gen.span = self.since(start);
        Ok(self.r#gen.relation(relation, left, right))
    }

    /// A number whose operators bind more tightly than `least`.
    fn number(&mut self, least: u8) -> Result<Number> {
        let start = self.span().start;
        let mut left = self.deeper(Self::factor)?;
        while let Some(Tok::Op(op)) = self.peek()
            && let Some((op, binds)) = arithmetic(*op)
            && binds > least
        {
            self.at += 1;
            let right = self.number(binds)?;
            self.r#gen.span = self.since(start);
            left = self.r#gen.arithmetic(op, left, right)?;
        }
        Ok(left)
    }

    fn factor(&mut self) -> Result<Number> {
        if self.op(Op::Open) {
            let inner = self.number(0)?;
            self.expect(Op::Close)?;
            return Ok(inner);
        }
        if self.op(Op::Sub) {
            let n = self.deeper(Self::factor)?;
            return Ok(self.r#gen.negated(n));
        }
        match self.peek() {
            Some(Tok::Num(n)) => {
                self.at += 1;
                Ok(self.r#gen.number_of(self.r#gen.k(*n)))
            }
            Some(Tok::Key(Key::Len)) => {
                self.at += 1;
                Ok(self.r#gen.number_of(self.r#gen.length()))
            }
            Some(Tok::Proto(proto)) => self.load(*proto),
            _ => Err(self.syntax()),
        }
    }

    fn load(&mut self, proto: Proto) -> Result<Number> {
        let start = self.span().start;
        self.at += 1;
        self.expect(Op::Index)?;
        let index = self.number(0)?;
        let size = if self.op(Op::Colon) { self.plain_num()? } else { 1 };
        self.expect(Op::EndIndex)?;
        self.r#gen.span = self.since(start);
        self.r#gen.loaded(proto, index, size)
    }
}
