//! The running kernel as an oracle, for programs written as numbers.

#![allow(dead_code, unreachable_pub)] // each test uses a part

pub mod frames;

use skep_isa::Insn;
use skep_platform::{AttachType, MapType, ProgType};
use skep_testkit::kernel_oracle::{KernelMap, KernelProg, Load, Oracle, Ran};
use std::io;
use std::os::fd::OwnedFd;

/// One instruction: opcode, registers (source high), offset, immediate.
pub fn insn(op: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    let regs = (src << 4 | dst) as u64;
    op as u64 | regs << 8 | (off as u16 as u64) << 16 | (imm as u32 as u64) << 32
}

/// `dst = imm`.
pub fn mov(dst: u8, imm: i32) -> u64 {
    insn(0xb7, dst, 0, 0, imm)
}

/// `dst = src`.
pub fn mov_reg(dst: u8, src: u8) -> u64 {
    insn(0xbf, dst, src, 0, 0)
}

/// `exit`.
pub const EXIT: u64 = 0x95;

/// The size bits of an opcode.
pub fn size_bits(size: u32) -> u8 {
    match size {
        1 => 0x10,
        2 => 0x08,
        4 => 0x00,
        _ => 0x18,
    }
}

/// `BPF_PROG_LOAD`; the error number when refused.
pub fn load(
    prog_type: ProgType,
    attach: Option<AttachType>,
    flags: u32,
    insns: &[u64],
) -> Result<KernelProg, i32> {
    load_typed(prog_type, attach, flags, 0, insns)
}

/// The same of a program typed by a function or tracepoint of the kernel's BTF.
pub fn load_typed(
    prog_type: ProgType,
    attach_type: Option<AttachType>,
    flags: u32,
    attach_btf_id: u32,
    insns: &[u64],
) -> Result<KernelProg, i32> {
    let insns: Vec<Insn> = insns.iter().map(|i| Insn::from_bytes(i.to_le_bytes())).collect();
    let load = Load { attach_type, flags, attach_btf_id, ..Load::new(prog_type, &insns) };
    Oracle::unchecked().load(&load).map_err(|e| e.errno)
}

/// `dst = address of the first value of an array map`, two slots.
pub fn map_value(dst: u8, map: &KernelMap) -> [u64; 2] {
    const PSEUDO_MAP_VALUE: u8 = 2;
    [insn(0x18, dst, PSEUDO_MAP_VALUE, 0, map.fd()), 0]
}

/// An array map with one value of 256 bytes.
pub fn one_value() -> io::Result<KernelMap> {
    Oracle::unchecked().create_map(MapType::Array, 4, 256, 1, 0)
}

/// Attaches a program to an interface of this thread's network namespace until the descriptor is closed.
pub fn attach(program: &KernelProg, ifindex: u32, attach: AttachType, flags: u32) -> io::Result<OwnedFd> {
    Oracle::unchecked().attach(program, ifindex, attach, flags)
}

/// `BPF_PROG_TEST_RUN` on data, with a context of `ctx_size` bytes to come back.
pub fn run(program: &KernelProg, data: &[u8], ctx_size: usize) -> Result<Ran, i32> {
    program.test_run_ctx_out(data, ctx_size).map_err(|e| e.raw_os_error().unwrap_or(0))
}
