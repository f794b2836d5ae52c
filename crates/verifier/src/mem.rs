//! Memory accesses by region: which bytes may be touched through which pointer, and what a load yields.
//!
//! [`Vm::access`] is the one door for loads and stores of instructions (`check_mem_access`), [`Vm::helper_access`] for
//! what helpers do with memory that they are given (`check_helper_mem_access`).

use crate::alu::MAX_OFF;
use crate::log::tnum;
use crate::machine::Vm;
use crate::regions;
use crate::reject::{Check, Rule, refuse};
use crate::scalar::Scalar;
use crate::stackmem::Store;
use crate::value::{Base, Dynptr, Flags, Reg};
use skep_platform::FieldKind as CtxKind;
use skep_platform::ctx::{CtxAccess, PacketAccess, Unprivileged};

/// A load, a store, or only the question whether one is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// Into this register, or nowhere.
    Load { dst: Option<usize>, signed: bool },
    /// Of this.
    Store(Store),
}

impl How {
    pub(crate) fn writes(&self) -> bool {
        matches!(self, How::Store(_))
    }

    fn dst(&self) -> Option<usize> {
        match self {
            How::Load { dst, .. } => *dst,
            How::Store(_) => None,
        }
    }
}

impl Vm<'_> {
    /// An access of `size` bytes at register `n` plus `off`.
    pub(crate) fn access(&mut self, n: usize, off: i64, size: u32, how: How, strict: bool) -> Check {
        let r = *self.reg(n);
        self.aligned(&r, off, size, strict)?;
        let off = off + r.off as i64;
        if let How::Store(Store::Reg(v)) = how {
            self.no_leak(&r, v)?;
        }
        match r.base {
            Base::Stack(_) => return self.stack_access(n, off, size, how),
            Base::Ctx => return self.ctx_access(n, &r, off, size, how),
            Base::MapKey(m) => {
                if how.writes() {
                    refuse!(MapAccess, "write to change key R{n} not allowed");
                }
                let key = self.maps[m as usize].def.key_size;
                self.region(n, &r, off, size as i64, key, false)?;
            }
            Base::MapValue(m) if !r.maybe_null() => return self.value_access(n, &r, m, off, size, how),
            Base::Mem(len) => self.mem_access(n, &r, off, size, len, &how)?,
            Base::Packet | Base::PacketMeta => {
                if how.writes() && !self.packet_open() {
                    refuse!(PacketAccess, "cannot write into packet");
                }
                self.packet(n, &r, off, size as i64, false)?;
            }
            Base::FlowKeys => {
                if off < 0 || off + size as i64 > 56 {
                    refuse!(ContextAccess, "invalid access to flow keys off={off} size={size}");
                }
            }
            _ if r.is_socket() && !r.maybe_null() => self.socket(n, &r, off, size, &how)?,
            Base::TpBuffer => self.buffer(n, &r, off, "tracepoint", size as i64)?,
            Base::Btf(t) if !r.maybe_null() => return self.btf_access(n, &r, t, off, size, how),
            Base::MapPtr(m) => return self.map_ptr_access(n, &r, m, off, size, how),
            Base::Buf if !r.maybe_null() => {
                if how.writes() && r.flags.has(Flags::RDONLY) {
                    refuse!(MemoryAccess, "R{n} cannot write into {}", r.type_name());
                }
                let kind = if r.flags.has(Flags::RDONLY) { "rdonly" } else { "rdwr" };
                self.buffer(n, &r, off, kind, size as i64)?;
            }
            Base::Arena => {}
            _ => {
                let rule = if r.maybe_null() { Rule::NullPointer } else { Rule::BadPointer };
                return Err(crate::reject::Reject::new(
                    rule,
                    format!("R{n} invalid mem access '{}'", r.type_name()),
                ));
            }
        }
        self.loaded(&how, size, Reg::UNKNOWN);
        Ok(())
    }

    /// Puts what was loaded into its register, cut to the size.
    pub(crate) fn loaded(&mut self, how: &How, size: u32, mut r: Reg) {
        let How::Load { dst: Some(d), signed } = *how else { return };
        if r.is_scalar() && size < 8 {
            if signed { r.val.sign_extend(size * 8) } else { r.val.truncate(size * 8) }
        }
        self.set(d, r);
    }

    fn no_leak(&self, r: &Reg, v: usize) -> Check {
        if !self.leaks(v) {
            return Ok(());
        }
        let into = match r.base {
            Base::MapValue(_) => "map",
            Base::Mem(_) if !r.maybe_null() && !r.flags.has(Flags::RDONLY) => "mem",
            Base::Ctx => "ctx",
            Base::Packet | Base::PacketMeta if self.packet_open() => "packet",
            Base::FlowKeys => "flow keys",
            _ => return Ok(()),
        };
        refuse!(PointerLeak, "R{v} leaks addr into {into}")
    }

    fn packet_open(&self) -> bool {
        self.desc.packet_access == PacketAccess::ReadWrite
    }

    fn stack_access(&mut self, n: usize, off: i64, size: u32, how: How) -> Check {
        self.stack_bounds(n, off, size as i64, how.writes())?;
        match how {
            How::Store(s) => self.stack_store(n, off, size, s),
            How::Load { dst, signed } => {
                self.stack_load(n, off, size, dst)?;
                if let Some(d) = dst {
                    let r = *self.reg(d);
                    if r.is_scalar() && size < 8 {
                        self.loaded(&How::Load { dst, signed }, size, r);
                    }
                }
                Ok(())
            }
        }
    }

    /// Alignment where the machine, the flags or the memory ask for it (`check_ptr_alignment`).
    pub(crate) fn aligned(&self, r: &Reg, off: i64, size: u32, strict: bool) -> Check {
        let strict = strict || self.options.strict_alignment || matches!(r.base, Base::Stack(_));
        if !strict || size == 1 || r.base == Base::Arena {
            return Ok(());
        }
        let what = match (r.base, r.flags.has(Flags::MAYBE_NULL)) {
            (Base::Packet | Base::PacketMeta, _) => {
                let sum = r.val.bits.add(crate::tnum::Tnum::constant((2 + r.off as i64 + off) as u64));
                if !sum.is_aligned(size as u64) {
                    let v = tnum(r.val.bits);
                    refuse!(Alignment, "misaligned packet access off 2+{v}+{}+{off} size {size}", r.off);
                }
                return Ok(());
            }
            (Base::FlowKeys, _) => "flow keys ",
            (Base::MapKey(_), _) => "key ",
            (Base::MapValue(_), false) => "value ",
            (Base::Ctx, _) => "context ",
            (Base::Stack(_), _) => "stack ",
            (Base::Socket, false) => "sock ",
            (Base::SockCommon, false) => "sock_common ",
            (Base::TcpSock, false) => "tcp_sock ",
            (Base::XdpSock, false) => "xdp_sock ",
            _ => "",
        };
        let sum = r.val.bits.add(crate::tnum::Tnum::constant((r.off as i64 + off) as u64));
        if !sum.is_aligned(size as u64) {
            let v = tnum(r.val.bits);
            refuse!(Alignment, "misaligned {what}access off {v}+{}+{off} size {size}", r.off);
        }
        Ok(())
    }

    /// Inside of `len` bytes, whatever the variable offset is (`check_mem_region_access`).
    pub(crate) fn region(&self, n: usize, r: &Reg, off: i64, size: i64, len: u32, zero_ok: bool) -> Check {
        let (smin, umax) = (r.val.r.smin, r.val.r.umax);
        let low = smin.checked_add(off);
        if smin < 0 && (smin == i64::MIN || low.is_none_or(|l| l < 0 || i32::try_from(l).is_err())) {
            refuse!(
                MemoryAccess,
                "R{n} min value is negative, either use unsigned index or do a if (index >=0) check."
            );
        }
        let rule = match r.base {
            Base::MapValue(_) | Base::MapKey(_) => Rule::MapAccess,
            _ => Rule::MemoryAccess,
        };
        let low = low.unwrap_or(i64::MIN);
        self.inside(n, r, low, size, len, zero_ok, rule, "min value is outside of the allowed memory range")?;
        if umax >= MAX_OFF as u64 {
            refuse!(MemoryAccess, "R{n} unbounded memory access, make sure to bounds check any such access");
        }
        let high = umax as i64 + off;
        self.inside(n, r, high, size, len, zero_ok, rule, "max value is outside of the allowed memory range")
    }

    #[allow(clippy::too_many_arguments)]
    fn inside(
        &self,
        n: usize,
        r: &Reg,
        off: i64,
        size: i64,
        len: u32,
        zero_ok: bool,
        rule: Rule,
        phrase: &str,
    ) -> Check {
        let size_ok = size > 0 || (size == 0 && zero_ok);
        if off >= 0 && size_ok && off + size <= len as i64 {
            return Ok(());
        }
        let off = off as i32;
        let line = match r.base {
            Base::MapKey(_) => format!("invalid access to map key, key_size={len} off={off} size={size}"),
            Base::MapValue(_) => {
                format!("invalid access to map value, value_size={len} off={off} size={size}")
            }
            Base::Packet | Base::PacketMeta => {
                let id = r.id;
                format!("invalid access to packet, off={off} size={size}, R{n}(id={id},off={off},r={len})")
            }
            _ => format!("invalid access to memory, mem_size={len} off={off} size={size}"),
        };
        Err(crate::reject::Reject::new(rule, format!("R{n} {phrase}")).after_line(line))
    }

    /// Inside of what a comparison with the packet's end has proved.
    pub(crate) fn packet(&self, n: usize, r: &Reg, off: i64, size: i64, zero_ok: bool) -> Check {
        if r.val.r.smin < 0 {
            refuse!(
                PacketAccess,
                "R{n} min value is negative, either use unsigned index or do a if (index >=0) check."
            );
        }
        let phrase = "offset is outside of the packet";
        if r.range < 0 {
            refuse!(PacketAccess, "R{n} {phrase}");
        }
        self.inside(n, r, off, size, r.range as u32, zero_ok, Rule::PacketAccess, phrase)
    }

    fn mem_access(&mut self, n: usize, r: &Reg, off: i64, size: u32, len: u32, how: &How) -> Check {
        if r.maybe_null() {
            refuse!(NullPointer, "R{n} invalid mem access '{}'", r.type_name());
        }
        if r.flags.has(Flags::UNTRUSTED) && !how.writes() {
            return Ok(());
        }
        if how.writes() && r.flags.has(Flags::RDONLY) {
            refuse!(MemoryAccess, "R{n} cannot write into {}", r.type_name());
        }
        self.region(n, r, off, size as i64, len, false)
    }

    /// A buffer of unknown size: only the offset must be fixed and not negative.
    pub(crate) fn buffer(&self, n: usize, r: &Reg, off: i64, kind: &str, size: i64) -> Check {
        if off < 0 {
            refuse!(MemoryAccess, "R{n} invalid {kind} buffer access: off={off}, size={size}");
        }
        if r.val.as_const() != Some(0) {
            refuse!(
                MemoryAccess,
                "R{n} invalid variable buffer offset: off={off}, var_off={}",
                tnum(r.val.bits)
            );
        }
        Ok(())
    }

    fn socket(&self, n: usize, r: &Reg, off: i64, size: u32, how: &How) -> Check {
        if how.writes() {
            refuse!(MemoryAccess, "R{n} cannot write into {r}");
        }
        if r.val.r.smin < 0 {
            refuse!(
                MemoryAccess,
                "R{n} min value is negative, either use unsigned index or do a if (index >=0) check."
            );
        }
        if !regions::socket_field(r.base, off, size) {
            refuse!(MemoryAccess, "R{n} invalid {r} access off={off} size={size}");
        }
        Ok(())
    }

    /// The pointer is as it came: no offset, or none but a fixed one (`check_ptr_off_reg`).
    pub(crate) fn unmoved(&self, r: &Reg, n: usize, fixed_ok: bool) -> Check {
        if r.off < 0 {
            refuse!(BadPointer, "negative offset {r} ptr R{n} off={} disallowed", r.off);
        }
        if !fixed_ok && r.off != 0 {
            refuse!(BadPointer, "dereference of modified {r} ptr R{n} off={} disallowed", r.off);
        }
        if r.val.as_const() != Some(0) {
            refuse!(BadPointer, "variable {r} access var_off={} disallowed", tnum(r.val.bits));
        }
        Ok(())
    }

    fn ctx_access(&mut self, n: usize, r: &Reg, off: i64, size: u32, how: How) -> Check {
        let varying = self.program.prog_type == skep_platform::ProgType::Syscall;
        if varying {
            return self.syscall_ctx(n, r, off, size, how);
        }
        self.unmoved(r, n, false)?;
        let kind = match how {
            How::Store(_) => CtxAccess::Store,
            How::Load { signed: true, .. } => CtxAccess::LoadSigned,
            How::Load { .. } => CtxAccess::Load,
        };
        let field = u32::try_from(off).ok().and_then(|o| self.layout?.access(o, size, kind));
        let incapable = !self.capable();
        let denied = field.is_some_and(|f| match f.unprivileged {
            Unprivileged::Same => false,
            Unprivileged::NoWrite => incapable && how.writes(),
            Unprivileged::NoAccess => incapable,
        });
        let Some(field) = field.filter(|_| !denied) else {
            if self.attach.typed_ctx() {
                return self.typed_ctx(n, off, size, how);
            }
            refuse!(ContextAccess, "invalid bpf_context access off={off} size={size}");
        };
        if field.kind == CtxKind::BtfArg {
            return self.typed_ctx(n, off, size, how);
        }
        let Some(_) = how.dst() else { return Ok(()) };
        let r = self.ctx_value(field.kind)?;
        self.loaded(&how, size, r);
        Ok(())
    }

    /// The context of a system call program is memory of the caller's size.
    fn syscall_ctx(&mut self, n: usize, r: &Reg, off: i64, size: u32, how: How) -> Check {
        self.unmoved(r, n, true)?;
        if off < 0 || off + size as i64 > u16::MAX as i64 {
            refuse!(ContextAccess, "invalid bpf_context access off={off} size={size}");
        }
        self.loaded(&how, size, Reg::UNKNOWN);
        Ok(())
    }

    fn ctx_value(&mut self, kind: CtxKind) -> Check<Reg> {
        let mut r = match kind {
            CtxKind::Scalar => return Ok(Reg::UNKNOWN),
            CtxKind::PacketData | CtxKind::Buffer => Reg::pointer(Base::Packet),
            CtxKind::PacketEnd | CtxKind::BufferEnd => Reg::pointer(Base::PacketEnd),
            CtxKind::PacketMeta => Reg::pointer(Base::PacketMeta),
            CtxKind::SockCommonOrNull => Reg::flagged(Base::SockCommon, Flags::MAYBE_NULL),
            CtxKind::Socket => Reg::pointer(Base::Socket),
            CtxKind::SocketOrNull => Reg::flagged(Base::Socket, Flags::MAYBE_NULL),
            CtxKind::FlowKeys => Reg::pointer(Base::FlowKeys),
            CtxKind::TpBuffer => Reg::pointer(Base::TpBuffer),
            CtxKind::BtfPtr(name) => match self.kernel_type(name) {
                Some(t) => Reg::flagged(Base::Btf(t), Flags::TRUSTED),
                None => refuse!(NotYet, "the context's {name} needs the kernel's BTF"),
            },
            CtxKind::BtfArg => refuse!(NotYet, "typed context"),
        };
        if r.maybe_null() {
            r.id = self.new_id();
        }
        Ok(r)
    }

    /// Map values: rights, bounds, special fields, constants (`check_map_access`).
    fn value_access(&mut self, n: usize, r: &Reg, m: u16, off: i64, size: u32, how: How) -> Check {
        self.map_rights(m, off, size as i64, how.writes())?;
        let len = self.maps[m as usize].value_size();
        self.region(n, r, off, size as i64, len, false)?;
        if let Some(field) = self.special_field(r, m, off, size as i64, true)? {
            return self.kptr_access(n, field, m, off, size, how);
        }
        let map = &self.maps[m as usize];
        let at = r.val.as_const().map(|v| v as i64 + off);
        let constant = match (at, how) {
            (Some(at), How::Load { dst: Some(_), signed }) if map.constant_array() => {
                if map.def.max_entries != 1 {
                    // Linux looks for the number in the only value that there is, and gives up where there are more.
                    refuse!(MapAccess, "R{n} loads a constant from a frozen array of more than one value");
                }
                map.constant_at(at as u32, size, signed)
            }
            _ => None,
        };
        match (constant, how.dst()) {
            (Some(v), Some(d)) => self.set(d, Reg::known(v)),
            _ => self.loaded(&how, size, Reg::UNKNOWN),
        }
        Ok(())
    }

    /// Programs may read or write this map's values.
    pub(crate) fn map_rights(&self, m: u16, off: i64, size: i64, write: bool) -> Check {
        let map = &self.maps[m as usize];
        let len = map.value_size();
        if write && !map.writable() {
            refuse!(MapAccess, "write into map forbidden, value_size={len} off={off} size={size}");
        }
        if !write && !map.readable() {
            refuse!(MapAccess, "read from map forbidden, value_size={len} off={off} size={size}");
        }
        Ok(())
    }

    /// The special field that an access touches: only kernel pointers, whole, by instructions. Its index.
    pub(crate) fn special_field(
        &self,
        r: &Reg,
        m: u16,
        off: i64,
        size: i64,
        direct: bool,
    ) -> Check<Option<usize>> {
        let (lo, hi) = (r.val.r.smin + off, r.val.r.umax as i64 + off + size);
        for (i, f) in self.maps[m as usize].fields.iter().enumerate() {
            let p = f.off as i64;
            if lo >= p + f.size as i64 || p >= hi {
                continue;
            }
            if !f.kind.is_kptr() && f.kind != crate::maps::FieldKind::UserPtr {
                refuse!(SpecialField, "{} cannot be accessed directly by load/store", f.kind.name());
            }
            if !direct {
                refuse!(SpecialField, "{} cannot be accessed indirectly by helper", f.kind.name());
            }
            let Some(at) = r.val.as_const().map(|v| v as i64 + off) else {
                refuse!(SpecialField, "{} access cannot have variable offset", f.kind.name())
            };
            if at != p {
                refuse!(SpecialField, "{} access misaligned expected={p} off={at}", f.kind.name());
            }
            if size != 8 {
                refuse!(SpecialField, "{} access size must be BPF_DW", f.kind.name());
            }
            return Ok(Some(i));
        }
        Ok(None)
    }

    /// Memory that a helper is given (`check_helper_mem_access`). True when the caller has to mark it written.
    pub(crate) fn helper_access(
        &mut self,
        n: usize,
        size: i64,
        write: bool,
        zero_ok: bool,
        raw: bool,
    ) -> Check<bool> {
        self.facts.touched(n, size);
        let r = *self.reg(n);
        let off = r.off as i64;
        match r.base {
            Base::Packet | Base::PacketMeta => self.packet(n, &r, off, size, zero_ok)?,
            Base::MapKey(m) => {
                if write {
                    refuse!(MapAccess, "R{n} cannot write into {}", r.type_name());
                }
                let key = self.maps[m as usize].def.key_size;
                self.region(n, &r, off, size, key, false)?;
            }
            Base::MapValue(m) => {
                self.map_rights(m, off, size, write)?;
                let len = self.maps[m as usize].value_size();
                self.region(n, &r, off, size, len, zero_ok)?;
                self.special_field(&r, m, off, size, false)?;
            }
            Base::Mem(len) => {
                if write && r.flags.has(Flags::RDONLY) {
                    refuse!(MemoryAccess, "R{n} cannot write into {}", r.type_name());
                }
                self.region(n, &r, off, size, len, zero_ok)?;
            }
            Base::Buf => {
                if write && r.flags.has(Flags::RDONLY) {
                    refuse!(MemoryAccess, "R{n} cannot write into {}", r.type_name());
                }
                let kind = if r.flags.has(Flags::RDONLY) { "rdonly" } else { "rdwr" };
                self.buffer(n, &r, off, kind, size)?;
            }
            Base::Stack(_) => return self.initialised(n, off, size, zero_ok, write, raw),
            Base::Btf(t) => {
                self.btf_access(n, &r, t, off, size as u32, How::Load { dst: None, signed: false })?;
            }
            Base::Ctx if self.program.prog_type == skep_platform::ProgType::Syscall => {
                if size == 0 {
                    if !zero_ok {
                        refuse!(ContextAccess, "invalid zero-sized read");
                    }
                    return Ok(false);
                }
                self.syscall_ctx(n, &r, off + size - 1, 1, How::Load { dst: None, signed: false })?;
            }
            _ => {
                if zero_ok && size == 0 && r.is_null() {
                    return Ok(false);
                }
                refuse!(ArgumentType, "R{n} type={} expected=fp", r.type_name());
            }
        }
        Ok(false)
    }

    /// Memory behind a dynptr slice belongs to its kind.
    pub(crate) fn dynptr_flags(kind: Dynptr) -> Flags {
        match kind {
            Dynptr::Skb => Flags::DYN_SKB,
            Dynptr::Xdp => Flags::DYN_XDP,
            _ => Flags::NONE,
        }
    }

    /// A number in this range.
    pub(crate) fn number_in(lo: i64, hi: i64) -> Reg {
        let mut s = Scalar::UNKNOWN;
        s.r.clamp_s(lo, hi);
        s.sub.clamp_s(lo.max(i32::MIN as i64), hi.min(i32::MAX as i64));
        s.sync();
        Reg::scalar(s)
    }
}
