//! Contexts from files (`--data-in`, `--ctx-in`) for every program type, and what a run left of them.
//!
//! | program type | data | context |
//! |---|---|---|
//! | on packets | an Ethernet frame | fields beside it: `mark`, `cb`, `ingress_ifindex`, … |
//! | with a buffer (`sockopt`, `sk_msg`, `sk_reuseport`, `sock_ops`, writable tracepoints) | the buffer | the structure |
//! | all others | none | the structure, the registers, the record, the arguments |
//!
//! A context is the structure's bytes or text ([`crate::ctx_text`]). Pointers in it are the engine's: they are set to the
//! data that was given and read back as zero. Packets arrive as in `BPF_PROG_TEST_RUN` ([`Arrival::TestRun`]).

use crate::capture::{Direction, LinkType, Record};
use crate::ctx_text::{self, TextError};
use crate::frame::{ETH_LEN, Unfit};
use crate::packet::{Arrival, Feeder};
use crate::slots::slot;
use skep_platform::ctx::UserRun;
use skep_platform::env::{CtxData, PlainCtx};
use skep_platform::packet::MAX_PACKET;
use skep_platform::{
    AttachType, Context, CtxField, CtxLayout, FieldKind, Packet, ProgType, ProgTypeDesc, Rights,
};
use std::fmt;

/// Bytes given for a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Input<'i> {
    /// Packet or buffer.
    pub data: Option<&'i [u8]>,
    /// Context, as bytes or text.
    pub ctx: Option<&'i [u8]>,
}

/// Why a context cannot be made of what was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum InputError {
    /// The program type does not run here at all.
    NotHere(&'static str),
    /// Its context depends on an attach type, which the program does not say.
    NoLayout,
    /// A packet is needed and none was given.
    NoData,
    /// Data was given to a program type that takes none.
    NoDataWanted(&'static str),
    /// A context is needed and none was given.
    NoContext(&'static str, u16),
    /// The packet cannot be one.
    Packet(Unfit),
    /// More data than a packet or buffer can have.
    TooMuchData(usize),
    /// A context of the wrong size.
    Size {
        /// The structure.
        layout: &'static str,
        /// Its size, as words for people.
        want: String,
        /// Bytes given.
        have: usize,
    },
    /// A field that is not the giver's to set.
    Fixed {
        /// The structure.
        layout: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Metadata that XDP could not have: at most 252 bytes, a multiple of four, inside the data.
    Metadata(u32),
    /// The text is wrong.
    Text(TextError),
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputError::NotHere(why) => f.write_str(why),
            InputError::NoLayout => f.write_str(
                "what its context is depends on its attach type, which the program's section does not say; name the \
                 section by it (cgroup/connect4, cgroup/getsockopt, …)",
            ),
            InputError::NoData => f.write_str("the program runs on packets; give it a frame with --data-in"),
            InputError::NoDataWanted(layout) => {
                write!(f, "{layout} has no packet and no buffer; give only a context, with --ctx-in")
            }
            InputError::NoContext(layout, size) => {
                write!(f, "the program runs on {layout} ({size} bytes); give it with --ctx-in, as bytes or as field=value")
            }
            InputError::Packet(why) => write!(f, "the data cannot be an Ethernet frame: {why}"),
            InputError::TooMuchData(n) => write!(f, "{n} bytes of data; at most {MAX_PACKET} can be given"),
            InputError::Size { layout, want, have } => write!(f, "{layout} is {want}, and {have} bytes were given"),
            InputError::Fixed { layout, field } => {
                write!(f, "{field} of {layout} is set by the engine; leave it zero")
            }
            InputError::Metadata(n) => {
                write!(f, "{n} bytes of metadata (field data): a multiple of four up to 252, inside the data")
            }
            InputError::Text(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for InputError {}

/// Makes a context for one run.
pub fn context(
    row: &'static ProgTypeDesc,
    attach: Option<AttachType>,
    input: &Input<'_>,
) -> Result<Context, InputError> {
    let layout = match (row.user, row.layout(attach)) {
        (UserRun::No(why), _) => return Err(InputError::NotHere(why)),
        (_, None) => return Err(InputError::NoLayout),
        (_, Some(layout)) => layout,
    };
    if let Some(data) = input.data.filter(|d| d.len() > MAX_PACKET) {
        return Err(InputError::TooMuchData(data.len()));
    }
    match row.user {
        UserRun::Packets => packet_context(row, attach, layout, input),
        _ => plain_context(layout, input),
    }
}

/// The same input as `BPF_PROG_TEST_RUN` takes it from user space: data and context, either of them empty where the
/// kernel takes none. Without a context the kernel's own stands: of an skb all zero, of XDP the data's bounds.
pub fn test_run_bytes(
    row: &'static ProgTypeDesc,
    attach: Option<AttachType>,
    input: &Input<'_>,
) -> Result<(Vec<u8>, Vec<u8>), InputError> {
    let layout = row.layout(attach).ok_or(InputError::NoLayout)?;
    let data = input.data.unwrap_or_default().to_vec();
    if row.user != UserRun::Packets {
        let ctx = input.ctx.map_or(Ok(Vec::new()), |given| plain_bytes(layout, given))?;
        return Ok((data, ctx));
    }
    if input.data.is_none() {
        return Err(InputError::NoData);
    }
    let set = packet_fields(layout, input.ctx)?;
    let own = matches!(row.prog_type, ProgType::FlowDissector | ProgType::Netfilter) && input.ctx.is_none();
    let mut ctx = vec![0; if own { 0 } else { layout.size as usize }];
    if row.prog_type == ProgType::Xdp {
        metadata(&set, &data)?;
        ctx[4..8].copy_from_slice(&(data.len() as u32).to_ne_bytes());
    }
    for (field, bytes) in &set {
        ctx[field.off as usize..(field.off + field.size) as usize].copy_from_slice(bytes);
    }
    Ok((data, ctx))
}

/// What a run left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// Packet or buffer, for program types that have one. Packets as `BPF_PROG_TEST_RUN` gives them: XDP metadata in
    /// front; 14 zero bytes in front of a packet whose program sees no Ethernet header.
    pub data: Option<Vec<u8>>,
    /// The context's structure; pointers are zero. [`ctx_text::render`] makes text of it.
    pub ctx: Vec<u8>,
}

/// Reads back what a run left of a context.
pub fn output(row: &ProgTypeDesc, ctx: &mut Context) -> Output {
    let layout = ctx.layout;
    match &mut ctx.data {
        CtxData::Packet(p) => packet_output(row, layout, p),
        CtxData::Plain(plain) => plain_output(layout, plain),
    }
}

fn packet_context(
    row: &'static ProgTypeDesc,
    attach: Option<AttachType>,
    layout: &'static CtxLayout,
    input: &Input<'_>,
) -> Result<Context, InputError> {
    let data = input.data.ok_or(InputError::NoData)?;
    let set = packet_fields(layout, input.ctx)?;
    let meta = if row.prog_type == ProgType::Xdp { metadata(&set, data)? } else { 0 };
    let feeder = Feeder::new(row, attach, Arrival::TestRun).map_err(InputError::NotHere)?;
    let mut ctx = feeder.context();
    let record = Record {
        data: &data[meta..],
        orig_len: (data.len() - meta) as u32,
        time_ns: 0,
        interface: 0,
        link: LinkType::ETHERNET,
        direction: Direction::Unknown,
        offset: 0,
    };
    feeder.feed(&record, &mut ctx).map_err(InputError::Packet)?;
    if let CtxData::Packet(p) = &mut ctx.data {
        if meta > 0 {
            put_metadata(p, &data[..meta]);
        }
        for (field, bytes) in &set {
            match slot(&mut p.ctx, &field.name) {
                Some(mut s) if *field.name != *"len" => s.write(bytes),
                _ if row.prog_type == ProgType::Xdp && field.name.starts_with("data") => {}
                _ => return Err(InputError::Fixed { layout: layout.name, field: &field.name }),
            }
        }
    }
    Ok(ctx)
}

/// Fields of a packet's context that were given: those set by text, or not zero in a structure.
fn packet_fields(
    layout: &'static CtxLayout,
    given: Option<&[u8]>,
) -> Result<Vec<(&'static CtxField, Vec<u8>)>, InputError> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let (bytes, named) = match text(layout, given)? {
        Some(parsed) => (parsed.bytes, parsed.set),
        None => {
            let size = layout.size as usize;
            // Structures of older and newer headers: what is missing is zero, what is beyond must be.
            if given.iter().skip(size).any(|b| *b != 0) {
                return Err(wrong_size(layout, format!("{size} bytes"), given.len()));
            }
            let mut bytes = given.to_vec();
            bytes.resize(size, 0);
            (bytes, Vec::new())
        }
    };
    let value = |f: &CtxField| bytes[f.off as usize..(f.off + f.size) as usize].to_vec();
    let all = layout.fields.iter().map(|f| (f, value(f)));
    Ok(all.filter(|(f, v)| named.contains(&&*f.name) || v.iter().any(|b| *b != 0)).collect())
}

/// Bytes of XDP metadata at the data's start: the field `data` of the context.
fn metadata(set: &[(&'static CtxField, Vec<u8>)], data: &[u8]) -> Result<usize, InputError> {
    let of = |name: &str| {
        let found = set.iter().find(|(f, _)| *f.name == *name);
        found.map_or(0, |(_, v)| u32::from_ne_bytes([v[0], v[1], v[2], v[3]]))
    };
    let fixed = |field| Err(InputError::Fixed { layout: "xdp_md", field });
    let (meta, end) = (of("data"), of("data_end"));
    if of("data_meta") != 0 {
        return fixed("data_meta");
    }
    if end != 0 && end as usize != data.len() {
        return fixed("data_end");
    }
    if !meta.is_multiple_of(4) || meta > 252 || meta as usize > data.len() {
        return Err(InputError::Metadata(meta));
    }
    Ok(meta as usize)
}

fn put_metadata(p: &mut Packet, meta: &[u8]) {
    // The packet has headroom for it: metadata() bounds it.
    let n = meta.len() as i64;
    if p.adjust_head(-n).is_ok() {
        p.bytes_mut()[..meta.len()].copy_from_slice(meta);
        let _ = p.adjust_head(n);
        let _ = p.adjust_meta(-n);
    }
}

fn packet_output(row: &ProgTypeDesc, layout: &'static CtxLayout, p: &mut Packet) -> Output {
    let mut data = Vec::new();
    if row.prog_type == ProgType::Xdp {
        data.extend_from_slice(p.metadata());
    } else if !matches!(row.prog_type, ProgType::SchedCls | ProgType::SchedAct) {
        data.resize(ETH_LEN, 0);
    }
    data.extend_from_slice(p.bytes());
    let mut ctx = vec![0; layout.size as usize];
    for field in layout.fields.iter().filter(|f| f.read != Rights::NONE) {
        if let Some(s) = slot(&mut p.ctx, &field.name) {
            s.read(&mut ctx[field.off as usize..(field.off + field.size) as usize]);
        }
    }
    if row.prog_type == ProgType::Xdp {
        // Offsets into the data, as xdp_convert_buff_to_md counts them.
        ctx[..4].copy_from_slice(&(p.metadata().len() as u32).to_ne_bytes());
        ctx[4..8].copy_from_slice(&(data.len() as u32).to_ne_bytes());
    }
    Output { data: Some(data), ctx }
}

fn plain_context(layout: &'static CtxLayout, input: &Input<'_>) -> Result<Context, InputError> {
    let buffer = layout.fields.iter().find(|f| matches!(f.kind, FieldKind::Buffer | FieldKind::TpBuffer));
    if buffer.is_none() && input.data.is_some() {
        return Err(InputError::NoDataWanted(layout.name));
    }
    let mut bytes = match (input.ctx, buffer, input.data) {
        (Some(given), ..) => plain_bytes(layout, given)?,
        (None, Some(_), Some(_)) => vec![0; layout.size as usize],
        _ => return Err(InputError::NoContext(layout.name, layout.size)),
    };
    let mut plain = PlainCtx::default();
    if let Some(field) = buffer {
        let data = input.data.unwrap_or_default();
        let writable =
            field.kind == FieldKind::TpBuffer || matches!(layout.name, "bpf_sockopt" | "sk_msg_md");
        let words = words_of(data);
        let start = words.as_ptr().expose_provenance() as u64;
        put_pointer(layout, &mut bytes, field.kind, start);
        put_pointer(layout, &mut bytes, FieldKind::BufferEnd, start + data.len() as u64);
        put_length(layout, &mut bytes, data.len() as u32);
        plain.buffers.push((words, data.len(), writable));
    }
    plain.len = bytes.len();
    plain.words = words_of(&bytes);
    Ok(Context { layout, data: CtxData::Plain(plain) })
}

/// The structure's bytes as given; pointers must be zero, sizes right.
fn plain_bytes(layout: &'static CtxLayout, given: &[u8]) -> Result<Vec<u8>, InputError> {
    let size = layout.size as usize;
    if let Some(mut parsed) = text(layout, given)? {
        // Records and arguments of syscalls are as long as what is in them.
        if matches!(layout.name, "tracepoint" | "syscall") {
            parsed.bytes.truncate(parsed.used.next_multiple_of(8).clamp(8, size));
        }
        return Ok(parsed.bytes);
    }
    let (fits, want) = match layout.name {
        "tracepoint" => ((8..=size).contains(&given.len()), format!("a record of 8 to {size} bytes")),
        "syscall" => (given.len() <= size, format!("at most {size} bytes")),
        "bpf_raw_tracepoint_args" | "args" => {
            let fits = !given.is_empty() && given.len() <= size && given.len().is_multiple_of(8);
            (fits, format!("up to {} arguments of 8 bytes", size / 8))
        }
        _ => (given.len() == size, format!("{size} bytes")),
    };
    if !fits {
        return Err(wrong_size(layout, want, given.len()));
    }
    let pointers = layout.fields.iter().filter(|f| f.kind.is_pointer() && f.size == 8);
    for field in pointers {
        let at = field.off as usize;
        if given.get(at..at + 8).is_some_and(|v| v.iter().any(|b| *b != 0)) {
            return Err(InputError::Fixed { layout: layout.name, field: &field.name });
        }
    }
    let mut bytes = given.to_vec();
    // Arguments that were not given are zero: compiled programs reach all that their type may have.
    if matches!(layout.name, "bpf_raw_tracepoint_args" | "args") {
        bytes.resize(size, 0);
    }
    Ok(bytes)
}

fn plain_output(layout: &'static CtxLayout, plain: &PlainCtx) -> Output {
    let mut ctx = bytes_of(&plain.words, plain.len);
    for field in layout.fields.iter().filter(|f| f.kind.is_pointer()) {
        let at = field.off as usize;
        if let Some(room) = ctx.get_mut(at..at + 8) {
            room.fill(0);
        }
    }
    let data = plain.buffers.first().map(|(words, len, _)| bytes_of(words, *len));
    Output { data, ctx }
}

/// A context given as text; `None` when it is not.
fn text(layout: &'static CtxLayout, given: &[u8]) -> Result<Option<ctx_text::Parsed>, InputError> {
    match std::str::from_utf8(given) {
        Ok(text) if ctx_text::is_text(given) => {
            ctx_text::parse(layout, text).map(Some).map_err(InputError::Text)
        }
        _ => Ok(None),
    }
}

fn wrong_size(layout: &'static CtxLayout, want: String, have: usize) -> InputError {
    InputError::Size { layout: layout.name, want, have }
}

fn put_pointer(layout: &CtxLayout, bytes: &mut [u8], kind: FieldKind, value: u64) {
    let Some(field) = layout.fields.iter().find(|f| f.kind == kind) else { return };
    let at = field.off as usize;
    if let Some(room) = bytes.get_mut(at..at + 8) {
        room.copy_from_slice(&value.to_ne_bytes());
    }
}

/// Sets the field that holds the buffer's length, if it was left zero.
fn put_length(layout: &CtxLayout, bytes: &mut [u8], len: u32) {
    let names = ["optlen", "size", "len", "skb_len"];
    let Some(field) = layout.fields.iter().find(|f| names.contains(&&*f.name)) else { return };
    let at = field.off as usize;
    if let Some(room) = bytes.get_mut(at..at + 4).filter(|r| r.iter().all(|b| *b == 0)) {
        room.copy_from_slice(&len.to_ne_bytes());
    }
}

/// Bytes in 64-bit words, for alignment.
fn words_of(bytes: &[u8]) -> Box<[u64]> {
    let word = |part: &[u8]| {
        let mut all = [0; 8];
        all[..part.len()].copy_from_slice(part);
        u64::from_ne_bytes(all)
    };
    bytes.chunks(8).map(word).collect()
}

fn bytes_of(words: &[u64], len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    bytes.truncate(len);
    bytes
}
