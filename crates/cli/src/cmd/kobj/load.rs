//! `skep prog load|loadall`: objects into the kernel, pinned.

use super::{Which, Words, door, pinning, refused, words_arg};
use crate::commands::Cmd;
use crate::failure::Failure;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use skep::descriptors::{EngineError, Errno};
use skep::kernel::auto::{self, Given};
use skep::kernel::door::IdKind;
use skep::kernel::pinned::Pinning;
use skep::kernel::{Kernel, KernelMap, KernelProgram, Link, pin};
use skep::{Collection, Object, Options, Select};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// `skep prog load OBJ PATH`.
pub(crate) static LOAD: Cmd = Cmd {
    path: &["prog", "load"],
    about: "Load an object's first program into the kernel and pin it",
    long: "Maps are made anew, but for those that `map` replaces by one that exists and those that the object wants pinned by name\n\
           (LIBBPF_PIN_BY_NAME), which are taken from the pin folder when they are there.\n\n\
           Words behind OBJ and PATH: map name NAME MAP or map idx N MAP (MAP: id N, pinned PATH, name NAME), pinmaps FOLDER,\n\
           autoattach.\n\n\
           Examples:\n  skep prog load prog.bpf.o /sys/fs/bpf/prog\n  \
           skep prog load prog.bpf.o /sys/fs/bpf/prog map name counters pinned /sys/fs/bpf/counters pinmaps /sys/fs/bpf/maps",
    args,
    run: |m, _| load(m, false),
};

/// `skep prog loadall OBJ FOLDER`.
pub(crate) static LOADALL: Cmd = Cmd {
    path: &["prog", "loadall"],
    about: "Load all programs of an object into the kernel and pin each by its name in a folder",
    long: "With autoattach those whose section says where they belong are attached as well, and the links are what is pinned.\n\n\
           Example:\n  skep prog loadall prog.bpf.o /sys/fs/bpf/all pinmaps /sys/fs/bpf/all/maps autoattach",
    args,
    run: |m, _| load(m, true),
};

fn args() -> Vec<Arg> {
    let mut args = vec![words_arg("OBJ PATH [WORD]", "Object file, where to pin, and what else is wanted")];
    args.extend(object_args());
    args
}

/// How an object is loaded.
pub(crate) fn object_args() -> Vec<Arg> {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    vec![
        Arg::new("set")
            .long("set")
            .value_name("VARIABLE=VALUE")
            .action(ArgAction::Append)
            .help("Set a global variable before the programs are loaded"),
        file("btf", "Types that CO-RE relocations are resolved against; default: the running kernel's"),
        file("kconfig", "Kernel configuration for .kconfig externs; default: the running kernel's"),
        Arg::new("pin-root")
            .long("pin-root")
            .value_name("FOLDER")
            .value_parser(value_parser!(PathBuf))
            .default_value(pin::BPFFS)
            .help("Folder of maps that are pinned by name"),
    ]
}

/// What is asked for beside the object.
#[derive(Default)]
struct Wanted {
    pinmaps: Option<PathBuf>,
    autoattach: bool,
}

fn load(m: &ArgMatches, all: bool) -> Result<(), Failure> {
    let mut words = Words::new(m);
    let (Some(path), Some(at)) = (words.next().map(PathBuf::from), words.next().map(PathBuf::from)) else {
        return Err(Failure::Usage("give the object file and where to pin: OBJ PATH".into()));
    };
    // That the kernel may be used is asked once something went wrong.
    let kernel = super::unchecked()?;
    let root: &PathBuf = m.get_one("pin-root").ok_or_else(|| Failure::Usage("no pin folder".into()))?;
    let mut engine = Pinning::new(&kernel, root);
    let object = super::super::obj::open(&path)?;
    let mut wanted = Wanted::default();
    while let Some(word) = words.next() {
        match word {
            "map" => {
                let name = match words.next() {
                    Some("name") => words.value("name")?.to_owned(),
                    Some("idx") => {
                        let n = words.number("idx")? as usize;
                        let spec = object.maps.get(n).ok_or_else(|| {
                            Failure::Input(format!(
                                "{}: has no map {n}, but {} maps",
                                path.display(),
                                object.maps.len()
                            ))
                        })?;
                        spec.def.name.clone()
                    }
                    _ => {
                        return Err(Failure::Usage(
                            "map: name NAME or idx N is expected, then the map to take".into(),
                        ));
                    }
                };
                if object.map(&name).is_none() {
                    return Err(Failure::Input(format!("{}: has no map {name:?}", path.display())));
                }
                let fd = words.which()?.one(&**kernel.door(), IdKind::Map)?;
                let map = KernelMap::open(kernel.door(), fd).map_err(|e| refused("opening the map", e))?;
                engine = engine.instead_of(&name, map);
            }
            "pinmaps" => wanted.pinmaps = Some(PathBuf::from(words.value(word)?)),
            "autoattach" => wanted.autoattach = true,
            "type" => drop(words.value(word)?),
            "dev" | "offload_dev" | "xdpmeta_dev" => {
                let device = words.value(word)?;
                return Err(Failure::Unsupported(format!(
                    "{word} {device}: programs are not loaded for a device's own processor or metadata; leave it out, and \
                     attach with `skep net attach`"
                )));
            }
            w => return Err(Failure::Usage(format!("{w:?} is not expected here; see --help"))),
        }
    }
    let first = object.programs().next().map(|f| f.name.clone());
    if first.is_none() && (!all || object.maps.is_empty()) {
        return Err(Failure::Input(format!("{}: has no programs", path.display())));
    }
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let select = if all { Select::Whole } else { Select::Named(&first) };
    let c = open(m, &path, object, &kernel, &engine, select)?;
    let mut pins = Pins::new(engine.made());
    if let Some(folder) = &wanted.pinmaps {
        for map in c.maps.iter().flatten() {
            let name = map.def().name.trim_start_matches('.').replace('.', "_");
            if let Some(map) = map.as_any().downcast_ref::<KernelMap>() {
                pins.pin(&kernel, &folder.join(name), map.as_fd())?;
            }
        }
    }
    for p in &c.programs {
        let Some(program) = p.loaded.as_any().downcast_ref::<KernelProgram>() else { continue };
        let to = if all { at.join(&p.loaded.program().name) } else { at.clone() };
        if !wanted.autoattach || !attach(&kernel, program, &to, &mut pins)? {
            pins.pin(&kernel, &to, program.as_fd())?;
        }
    }
    pins.keep();
    Ok(())
}

/// Opens an object with these of its programs; all of them and all maps are wanted. Pins of maps that were made on the way to a
/// failure are taken away.
pub(crate) fn open(
    m: &ArgMatches,
    path: &Path,
    object: Object,
    kernel: &Kernel,
    engine: &Pinning<'_>,
    select: Select<'_>,
) -> Result<Collection, Failure> {
    let config = super::super::target::kconfig(&object, m.get_one("kconfig"))?;
    let mut options = Options::default();
    options.select = select;
    options.target_btf = super::super::target::given(m.get_one("btf"))?;
    options.kconfig = super::super::target::running(&config, &object, kernel);
    options.ksyms = super::super::target::ksyms(&object, true);
    options.set = m.get_many::<String>("set").into_iter().flatten().map(String::as_str).collect();
    let opened = Collection::open(object, engine, &options, &mut skep::verify::unverified);
    let mut pins = Pins::new(engine.made());
    if !opened.as_ref().is_ok_and(|c| c.missing.is_empty()) {
        kernel.check().map_err(|e| super::engine(&e))?;
    }
    let c = opened.map_err(|e| Failure::open(path, &e))?;
    if let Some(e) = c.missing.first() {
        return Err(Failure::Failed(format!("{}: {e}", path.display())));
    }
    c.warnings.iter().for_each(|w| eprintln!("skep: {}: {w}", path.display()));
    pins.keep();
    Ok(c)
}

/// Attaches a program whose section says where, and pins the link; whether it did.
fn attach(kernel: &Kernel, program: &KernelProgram, at: &Path, pins: &mut Pins) -> Result<bool, Failure> {
    match auto::attach(kernel, program, &Given::default()) {
        Ok(mut link) => {
            pins.link(&mut link, at)?;
            Ok(true)
        }
        // The section leaves open where to.
        Err(e @ EngineError::Attach { errno: Errno::EDESTADDRREQ, .. }) => {
            eprintln!("skep: {e}; it is loaded and pinned only");
            Ok(false)
        }
        Err(e) => Err(super::engine(&e)),
    }
}

/// Pins made so far; taken away again when something fails later.
pub(crate) struct Pins {
    made: Vec<PathBuf>,
}

impl Pins {
    pub(crate) fn new(made: Vec<PathBuf>) -> Pins {
        Pins { made }
    }

    /// Everything went well.
    pub(crate) fn keep(&mut self) {
        self.made.clear();
    }

    pub(crate) fn link(&mut self, link: &mut Link, path: &Path) -> Result<(), Failure> {
        link.pin(path).map_err(|e| pinning(&e))?;
        self.made.push(path.into());
        Ok(())
    }

    fn pin(&mut self, kernel: &Kernel, path: &Path, fd: std::os::fd::BorrowedFd<'_>) -> Result<(), Failure> {
        pin::pin(&**kernel.door(), path, fd).map_err(|e| pinning(&e))?;
        self.made.push(path.into());
        Ok(())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        for path in self.made.drain(..) {
            // The failure that led here is what is told.
            let _ = pin::unpin(&path);
        }
    }
}

/// The program that words mean, opened.
pub(crate) fn program(words: &mut Words<'_>) -> Result<std::os::fd::OwnedFd, Failure> {
    let which = words.which()?;
    if which == Which::All {
        return Err(Failure::Usage("name the program: id N, pinned PATH, name NAME or tag TAG".into()));
    }
    which.one(&*door(), IdKind::Prog)
}
