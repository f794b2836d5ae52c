//! The programs on other machines of user space: the compilers of rbpf and solana-sbpf, as the registry has them. They get
//! the build that knows nothing of packets and maps: memory in `r1`, its length in `r2`.

use super::{MEMORY, PACKET};
use skep::Object;
use skep::isa::Insn;
use skep::obj::BindEnv;
use solana_sbpf::ebpf::{MM_INPUT_START, MM_STACK_START};
use solana_sbpf::elf::Executable;
use solana_sbpf::error::StableResult;
use solana_sbpf::memory_region::{MemoryMapping, MemoryRegion};
use solana_sbpf::program::{BuiltinProgram, FunctionRegistry, SBPFVersion};
use solana_sbpf::verifier::RequisiteVerifier;
use solana_sbpf::vm::{Config, ContextObject, EbpfVm, ExecutionMode};
use std::path::Path;
use std::process::Command;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

/// `mov r, imm`.
const MOV64_IMM: u8 = 0xb7;

/// Instructions of the program built for such machines.
pub(super) fn flat(name: &str) -> Result<Vec<u8>, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("programs/{name}.c"));
    let out = std::env::temp_dir().join(format!("skep-bench-{}-{name}.o", std::process::id()));
    let flags = ["--target=bpf", "-O2", "-mcpu=v2", "-g", "-w", "-DFLAT", "-c"];
    let built = ["clang-19", "clang"].into_iter().find(|c| {
        Command::new(c).args(flags).arg(&source).arg("-o").arg(&out).status().is_ok_and(|s| s.success())
    });
    let bytes = built.ok_or("clang did not build it").map(|_| std::fs::read(&out));
    let _ = std::fs::remove_file(&out);
    let object = Object::parse(&bytes?.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    let entry = object.functions.iter().position(|f| f.name == "entry").ok_or("no function `entry`")?;
    let maps = vec![None; object.maps.len()];
    let bound = object.bind_index(entry, &mut BindEnv::new(&maps)).map_err(|e| e.to_string())?;
    let len = if name == "pktparse" { PACKET } else { MEMORY };
    let length = Insn::new(MOV64_IMM, 2, 0, 0, len as i32);
    Ok(std::iter::once(length).chain(bound.insns).flat_map(Insn::to_bytes).collect())
}

/// A program in rbpf, compiled.
pub(super) struct Rbpf {
    vm: rbpf::EbpfVmRaw<'static>,
    memory: NonNull<[u8]>,
    pub(super) compile_ns: f64,
}

impl Rbpf {
    /// The program and its memory stay for the rest of the process.
    pub(super) fn build(code: &[u8], memory: &[u8]) -> Result<Rbpf, String> {
        let code: &'static [u8] = Box::leak(code.into());
        let mut vm = rbpf::EbpfVmRaw::new(Some(code)).map_err(|e| e.to_string())?;
        vm.register_helper(5, |_, _, _, _, _| 0).map_err(|e| e.to_string())?;
        let began = Instant::now();
        vm.jit_compile().map_err(|e| e.to_string())?;
        let compile_ns = began.elapsed().as_nanos() as f64;
        Ok(Rbpf { vm, memory: NonNull::from(Box::leak(memory.into())), compile_ns })
    }

    pub(super) fn run(&mut self) -> Result<u64, String> {
        // SAFETY: the memory was leaked for this machine, nothing else has it, and each borrow ends with its run; the
        // program stays inside of its memory, as its source shows.
        unsafe { self.vm.execute_program_jit(self.memory.as_mut()) }.map_err(|e| e.to_string())
    }
}

/// What solana-sbpf asks its surroundings for.
struct Meter {
    left: u64,
    memory: MemoryMapping,
}

impl ContextObject for Meter {
    fn consume(&mut self, amount: u64) {
        self.left = self.left.saturating_sub(amount);
    }

    fn get_remaining(&self) -> u64 {
        self.left
    }

    fn active_mapping_ptr(&mut self) -> NonNull<MemoryMapping> {
        NonNull::from(&mut self.memory)
    }
}

/// A program in solana-sbpf, compiled.
pub(super) struct Sbpf {
    executable: Executable<Meter>,
    meter: Box<Meter>,
    stack: usize,
    pub(super) compile_ns: f64,
}

impl Sbpf {
    /// The program's memory stays for the rest of the process. Its defaults, but for the budget of instructions, which no
    /// program may use up: counting stays on.
    pub(super) fn build(code: &[u8], memory: &[u8]) -> Result<Sbpf, String> {
        let version = SBPFVersion::V0;
        let config = Config::default();
        let stack = config.stack_size();
        let regions = vec![
            MemoryRegion::new(
                std::ptr::from_mut(Box::leak(vec![0u8; stack].into_boxed_slice())),
                MM_STACK_START,
            ),
            MemoryRegion::new(std::ptr::from_mut::<[u8]>(Box::leak(memory.into())), MM_INPUT_START),
        ];
        // SAFETY: both regions were leaked just now, and nothing else has them.
        let memory = unsafe { MemoryMapping::new(regions, &config, version) }.map_err(|e| e.to_string())?;
        let loader = Arc::new(BuiltinProgram::new_loader(config));
        let made = Executable::from_text_bytes(code, loader, version, FunctionRegistry::default());
        let executable: Executable<Meter> = made.map_err(|e| e.to_string())?;
        executable.verify::<RequisiteVerifier>().map_err(|e| e.to_string())?;
        let began = Instant::now();
        executable.jit_compile().map_err(|e| e.to_string())?;
        let compile_ns = began.elapsed().as_nanos() as f64;
        Ok(Sbpf { executable, meter: Box::new(Meter { left: 0, memory }), stack, compile_ns })
    }

    pub(super) fn run(&mut self) -> Result<u64, String> {
        self.meter.left = i64::MAX as u64;
        let loader = self.executable.get_loader().clone();
        let mut vm = EbpfVm::new(loader, self.executable.get_sbpf_version(), &mut *self.meter, self.stack);
        vm.registers[1] = MM_INPUT_START;
        match vm.execute_program(&self.executable, &mut ExecutionMode::Jit, &mut []) {
            (_, StableResult::Ok(v)) => Ok(v),
            (_, StableResult::Err(e)) => Err(e.to_string()),
        }
    }
}
