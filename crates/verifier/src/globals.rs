//! Global functions: judged once by their BTF signatures, called with arguments that fit these
//! (`btf_prepare_func_args`, `btf_check_func_arg_match`).

use crate::machine::Vm;
use crate::reject::{Check, refuse};
use crate::state::{Frame, State};
use crate::value::{Base, BtfType, Dynptr, Flags, Reg};
use crate::versions::Lacks;
use skep_btf::{Btf, Kind, Type, essential_name};
use skep_platform::helper::DynptrKind;
use skep_platform::{Arg, ArgKind, AttachType, ProgType};

/// What a parameter takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Param {
    Scalar,
    Ctx,
    Mem { size: u32, nullable: bool },
    Dynptr,
    Trusted { ty: BtfType, nullable: bool },
    Arena,
}

#[derive(Default)]
struct Tags {
    ctx: bool,
    trusted: bool,
    nonnull: bool,
    nullable: bool,
    arena: bool,
    untrusted: bool,
}

impl Tags {
    fn any(&self) -> bool {
        self.ctx || self.trusted || self.nonnull || self.nullable || self.arena || self.untrusted
    }
}

impl Vm<'_> {
    /// Parameters of a function, by its BTF.
    pub(crate) fn signature(&mut self, f: usize) -> Check<Vec<Param>> {
        let Some(b) = self.own.clone() else { refuse!(GlobalFunction, "Global functions need valid BTF") };
        let (id, name) = (self.code.funcs[f].btf_id, self.code.funcs[f].name.clone());
        let Some(Type::Func(func)) = b.type_by_id(id) else {
            refuse!(GlobalFunction, "Global functions need valid BTF")
        };
        let Some(Type::FuncProto(proto)) = b.type_by_id(func.type_id) else {
            refuse!(GlobalFunction, "Invalid type of function {name}()")
        };
        let count = proto.params.len();
        if count > 5 {
            refuse!(GlobalFunction, "Global function {name}() with {count} > 5 args. Buggy compiler.");
        }
        let ret = b.skip_mods_and_typedefs(proto.return_type_id).and_then(|i| b.kind_of(i));
        if !matches!(ret, Some(Kind::Int | Kind::Enum | Kind::Enum64)) {
            refuse!(
                GlobalFunction,
                "Global function {name}() doesn't return scalar. Only those are supported."
            );
        }
        let mut out = Vec::new();
        for (i, p) in proto.params.enumerate() {
            out.push(self.parameter(&b, id, i, p.type_id, &name)?);
        }
        Ok(out)
    }

    fn parameter(&mut self, b: &Btf, func: u32, i: usize, ty: u32, name: &str) -> Check<Param> {
        let tags = tags_of(b, func, i, &self.lacks)?;
        let real = b.skip_mods_and_typedefs(ty).and_then(|t| b.type_by_id(t));
        let Some(Type::Ptr(to)) = real else {
            if tags.any() {
                refuse!(GlobalFunction, "arg#{i} has pointer tag, but is not a pointer type");
            }
            if matches!(real, Some(Type::Int(_) | Type::Enum(_) | Type::Enum64(_))) {
                return Ok(Param::Scalar);
            }
            let kind =
                real.and_then(|t| t.kind()).map_or("UNKNOWN".to_owned(), |k| format!("{k:?}").to_uppercase());
            refuse!(GlobalFunction, "Arg#{i} type {kind} in {name}() is not supported yet.");
        };
        if tags.ctx || self.is_ctx(b, to) {
            if tags.ctx && !self.ctx_fits(b, to) {
                refuse!(GlobalFunction, "arg#{i} should be pointer to this program type's context");
            }
            return Ok(Param::Ctx);
        }
        let target = b.skip_mods_and_typedefs(to).unwrap_or(0);
        if b.kind_of(target) == Some(Kind::Struct) && b.name_of(target) == "bpf_dynptr" {
            return Ok(Param::Dynptr);
        }
        if tags.trusted {
            if tags.nonnull {
                refuse!(GlobalFunction, "arg#{i} has invalid combination of tags");
            }
            let Some(ty) = self.kernel_struct(b.name_of(target)) else {
                refuse!(GlobalFunction, "arg#{i} type is not one of the kernel's");
            };
            return Ok(Param::Trusted { ty, nullable: tags.nullable });
        }
        if tags.untrusted {
            refuse!(NotYet, "untrusted arguments of global functions");
        }
        if tags.arena {
            return Ok(Param::Arena);
        }
        if tags.nullable {
            refuse!(GlobalFunction, "arg#{i} has invalid combination of tags");
        }
        let Some(size) = b.size_of(target).filter(|_| target != 0) else {
            let kind = b.kind_of(target).map_or("UNKNOWN".to_owned(), |k| format!("{k:?}").to_uppercase());
            let name = b.name_of(target);
            refuse!(GlobalFunction, "arg#{i} reference type('{kind} {name}') size cannot be determined: -22");
        };
        Ok(Param::Mem { size, nullable: !tags.nonnull })
    }

    /// A kernel structure by the name that the program gives it, without flavour.
    pub(crate) fn kernel_struct(&self, name: &str) -> Option<BtfType> {
        let kernel = self.kernel.as_ref()?;
        let id = kernel.find_by_name_kind(essential_name(name), Kind::Struct)?;
        Some(BtfType { own: false, id })
    }

    /// Names of the context structure of this program type.
    fn ctx_names(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.layout.map(|l| l.name).into_iter().collect();
        match self.program.prog_type {
            ProgType::Kprobe => names.extend(["bpf_user_pt_regs_t", "pt_regs", "user_pt_regs"]),
            ProgType::PerfEvent => names.push("bpf_perf_event_data"),
            ProgType::RawTracepoint | ProgType::RawTracepointWritable => {
                names.push("bpf_raw_tracepoint_args")
            }
            _ => {}
        }
        names
    }

    fn is_ctx(&self, b: &Btf, mut to: u32) -> bool {
        let names = self.ctx_names();
        for _ in 0..16 {
            match b.type_by_id(to) {
                Some(Type::Typedef(t)) if names.contains(&t.name) && t.name == "bpf_user_pt_regs_t" => {
                    return true;
                }
                Some(Type::Typedef(t)) => to = t.type_id,
                Some(Type::Const(t) | Type::Volatile(t) | Type::Restrict(t)) => to = t,
                Some(Type::TypeTag(t)) => to = t.type_id,
                Some(Type::Struct(s)) => {
                    let kprobe = self.program.prog_type == ProgType::Kprobe;
                    return names.contains(&s.name)
                        && !(kprobe
                            && s.members.is_empty()
                            && s.name != "bpf_user_pt_regs_t"
                            && s.name != "pt_regs");
                }
                _ => return false,
            }
        }
        false
    }

    /// A parameter tagged as context has a type that can be one.
    fn ctx_fits(&self, b: &Btf, to: u32) -> bool {
        if self.is_ctx(b, to) || matches!(self.program.prog_type, ProgType::Syscall | ProgType::Ext) {
            return true;
        }
        let target = b.skip_mods_and_typedefs(to).unwrap_or(0);
        let typed = matches!(
            self.program.prog_type,
            ProgType::Tracing
                | ProgType::Lsm
                | ProgType::StructOps
                | ProgType::RawTracepoint
                | ProgType::RawTracepointWritable
        );
        match b.type_by_id(target) {
            Some(Type::Void) | None => true,
            Some(Type::Int(i)) => typed && i.size == 8,
            Some(Type::Struct(s)) if s.name.ends_with("pt_regs") || s.name.starts_with("user_") => {
                self.program.prog_type == ProgType::PerfEvent
            }
            Some(Type::Struct(s)) if s.name == "bpf_raw_tracepoint_args" => {
                self.program.attach_type == Some(AttachType::TraceRawTp)
            }
            Some(Type::Struct(s)) => {
                self.program.prog_type == ProgType::Tracepoint || (typed && s.name.starts_with("bpf_iter__"))
            }
            _ => target == 0,
        }
    }

    /// The arguments of a call fit the signature.
    pub(crate) fn global_arguments(&mut self, f: usize) -> Check {
        for (i, p) in self.signature(f)?.into_iter().enumerate() {
            self.global_argument(i, i + 1, p)?;
        }
        Ok(())
    }

    fn global_argument(&mut self, i: usize, n: usize, p: Param) -> Check {
        let r = *self.reg(n);
        match p {
            Param::Scalar => {
                if !r.is_scalar() {
                    refuse!(GlobalFunction, "R{n} is not a scalar");
                }
            }
            Param::Ctx => {
                self.argument_moved(&r, n)?;
                if r.base != Base::Ctx {
                    refuse!(GlobalFunction, "arg#{i} expects pointer to ctx");
                }
            }
            Param::Mem { size, nullable } => {
                self.argument_moved(&r, n)?;
                self.memory_argument(n, &r, size)?;
                if !nullable && r.maybe_null() {
                    refuse!(GlobalFunction, "arg#{i} is expected to be non-NULL");
                }
            }
            Param::Dynptr => {
                self.argument_offset(&r, n, &Arg::new(ArgKind::Dynptr(DynptrKind::Any)))?;
                self.initialised_dynptr(n, &r, true)?;
            }
            Param::Arena => {
                if !r.is_scalar() && r.base != Base::Arena {
                    refuse!(GlobalFunction, "R{n} is not a pointer to arena or scalar.");
                }
            }
            Param::Trusted { ty, nullable } => {
                if r.is_null() && nullable {
                    return Ok(());
                }
                self.trusted_argument(n, &r, ty, nullable)?;
            }
        }
        Ok(())
    }

    fn argument_moved(&self, r: &Reg, n: usize) -> Check {
        self.argument_offset(r, n, &Arg::new(ArgKind::Mem))
    }

    /// The memory can be read and written, if it is there at all (`check_mem_reg`).
    pub(crate) fn memory_argument(&mut self, n: usize, r: &Reg, size: u32) -> Check {
        if r.is_null() {
            return Ok(());
        }
        if r.maybe_null() {
            let mut p = *r;
            crate::jump::not_null(&self.maps, &mut p);
            *self.cur.reg_mut(n) = p;
        }
        let out = self
            .helper_access(n, size as i64, false, true, false)
            .and_then(|_| self.helper_access(n, size as i64, true, true, false));
        *self.cur.reg_mut(n) = *r;
        out.map(|_| ())
    }

    fn trusted_argument(&mut self, n: usize, r: &Reg, ty: BtfType, nullable: bool) -> Check {
        let kinds = "expected=ptr_, trusted_ptr_, rcu_ptr_";
        let flags = if nullable { r.flags.without(Flags::MAYBE_NULL) } else { r.flags };
        let Base::Btf(have) = r.base else {
            refuse!(ArgumentType, "R{n} type={} {kinds}", r.type_name());
        };
        if ![Flags::NONE, Flags::TRUSTED, Flags::RCU].contains(&flags) {
            refuse!(ArgumentType, "R{n} type={} {kinds}", r.type_name());
        }
        if !self.struct_matches(have, r.off, ty, false) {
            let (a, b) = (self.btf_name(have).to_owned(), self.btf_name(ty).to_owned());
            refuse!(ArgumentType, "R{n} is of type {a} but {b} is expected");
        }
        self.unmoved(r, n, true)
    }

    /// Judges a global function on its own.
    pub(crate) fn judge_global(&mut self, f: usize) -> Check {
        let start = self.code.funcs[f].start;
        let name = self.code.funcs[f].name.clone();
        self.log.line(&format!("Validating {name}() func#{f}..."));
        let params = self.signature(f)?;
        let mut frame = Frame::new(f, usize::MAX, 0);
        for (i, p) in params.into_iter().enumerate() {
            frame.regs[i + 1].set(self.parameter_value(p));
        }
        self.cur = State::new(frame, start, self.program.sleepable);
        self.prev = None;
        self.last_insns = self.stats.insns;
        self.last_jumps = self.jumps;
        self.log.touch_all();
        self.run()?;
        self.log.line(&format!("Func#{f} ('{name}') is safe for any args that match its prototype"));
        Ok(())
    }

    /// Judges the function that exceptions end in: one number in, the program's result out.
    pub(crate) fn judge_exception(&mut self, f: usize) -> Check {
        if self.signature(f)? != [Param::Scalar] {
            refuse!(Callback, "exception cb only supports single integer argument");
        }
        let start = self.code.funcs[f].start;
        let mut frame = Frame::new(f, usize::MAX, 0);
        frame.regs[1].set(Reg::UNKNOWN);
        frame.exception_callback = true;
        self.cur = State::new(frame, start, self.program.sleepable);
        self.prev = None;
        self.run()
    }

    fn parameter_value(&mut self, p: Param) -> Reg {
        let mut r = match p {
            Param::Scalar => return Reg::UNKNOWN,
            Param::Ctx => return Reg::pointer(Base::Ctx),
            Param::Mem { size, nullable } => Reg::flagged(Base::Mem(size), crate::func::nullable(nullable)),
            Param::Dynptr => {
                let mut r = Reg::pointer(Base::ConstDynptr(Dynptr::Local));
                r.id = self.new_id();
                return r;
            }
            Param::Trusted { ty, nullable } => {
                Reg::flagged(Base::Btf(ty), Flags::TRUSTED.with(crate::func::nullable(nullable)))
            }
            Param::Arena => return Reg::pointer(Base::Arena),
        };
        if r.maybe_null() {
            r.id = self.new_id();
        }
        r
    }

    /// Functions with legacy packet loads or tail calls return a number (`check_btf_func`, `check_abnormal_return`).
    pub(crate) fn abnormal_returns(&self) -> Check {
        for f in self.code.funcs.iter().skip(1) {
            let typed = self.own.as_ref().filter(|_| f.btf_id != 0);
            let kind = typed.and_then(|b| {
                let Type::Func(func) = b.type_by_id(f.btf_id)? else { return None };
                let Type::FuncProto(p) = b.type_by_id(func.type_id)? else { return None };
                b.kind_of(b.skip_mods(p.return_type_id)?)
            });
            let number = matches!(kind, Some(Kind::Int | Kind::Enum | Kind::Enum64 | Kind::Typedef));
            for (has, what) in [(f.ld_abs, "LD_ABS"), (f.tail_calls, "tail_call")] {
                if has && typed.is_none() {
                    refuse!(TypeInfo, "{what} is not allowed in subprogs without BTF");
                }
                if has && !number {
                    refuse!(TypeInfo, "{what} is only allowed in functions that return 'int'.");
                }
            }
        }
        Ok(())
    }
}

fn tags_of(b: &Btf, func: u32, i: usize, lacks: &Lacks) -> Check<Tags> {
    let mut tags = Tags::default();
    for t in b.own_decl_tags_of(func).filter(|t| t.component == Some(i as u32)) {
        let Some(tag) = t.name.strip_prefix("arg:") else { continue };
        lacks.tag(i, tag)?;
        match tag {
            "ctx" => tags.ctx = true,
            "trusted" => tags.trusted = true,
            "nonnull" => tags.nonnull = true,
            "nullable" => tags.nullable = true,
            "arena" => tags.arena = true,
            "untrusted" => tags.untrusted = true,
            _ => refuse!(GlobalFunction, "arg#{i} has unsupported set of tags"),
        }
    }
    if tags.ctx && (tags.trusted || tags.nonnull || tags.nullable || tags.arena) {
        refuse!(GlobalFunction, "arg#{i} has invalid combination of tags");
    }
    Ok(tags)
}
