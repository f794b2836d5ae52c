//! Verifying the programs of an object: each is bound on its own and judged.
//!
//! Maps are created and filled as for a run, so that constants of `.rodata` count; a map type that the user engine cannot
//! make stands as its definition.

use crate::collection::{Error, Options, create_maps, fill_data};
use crate::definition::Definition;
use skep_btf::{Btf, Kind};
use skep_obj::{BindEnv, BindError, Ksym, Object};
use skep_platform::{Engine, Loadable, Map, ProgType, Program};
use skep_verifier::{Outcome, Rejection};
use std::sync::Arc;

/// Verdict on one program.
#[derive(Debug)]
pub struct Verdict {
    /// The program's name.
    pub name: String,
    /// Its type.
    pub prog_type: ProgType,
    /// The program as it was judged; `None` when it could not be bound.
    pub program: Option<Arc<Program>>,
    /// Accepted or not.
    pub outcome: Result<Box<Outcome>, Refusal>,
}

/// Why a program is not accepted.
#[derive(Debug)]
pub enum Refusal {
    /// The verifier refuses it.
    Verifier(Box<Rejection>),
    /// It refers to something that cannot be resolved.
    Bind(Box<BindError>),
}

/// What [`Collection::open`](crate::Collection::open) asks of each program: the verifier's verdict, judged as `how` says.
///
/// ```no_run
/// # fn f(bytes: &[u8], engine: &dyn skep::Engine) -> Result<(), Box<dyn std::error::Error>> {
/// let object = skep::Object::parse(bytes)?;
/// let judge = &mut skep::verify::judge(skep::verifier::Options::default());
/// let collection = skep::Collection::open(object, engine, &skep::Options::default(), judge)?;
/// # Ok(())
/// # }
/// ```
pub fn judge(how: skep_verifier::Options) -> impl FnMut(Program) -> Result<Loadable, Error> {
    move |p| {
        let verdict = skep_verifier::verify(&Arc::new(p), crate::platform(), &how);
        verdict.map(Loadable::Verified).map_err(Error::Refused)
    }
}

/// The same without a verdict: for the checked tier, which checks every step, and for the kernel, which judges itself.
///
/// # Errors
/// None; the type is that of [`judge`].
pub fn unverified(p: Program) -> Result<Loadable, Error> {
    Ok(Loadable::Unverified(Arc::new(p)))
}

/// The maps of an object in an engine, data sections filled and the read-only ones frozen; one that the engine cannot make
/// stands as its definition. Cost: that of creating them.
///
/// # Errors
/// Maps that cannot be filled; configuration externs without value.
pub fn filled_maps(
    object: &Object,
    engine: &dyn Engine,
    options: &Options<'_>,
) -> Result<Vec<Option<Arc<dyn Map>>>, Error> {
    let (mut maps, _) = create_maps(object, engine);
    for (spec, map) in object.maps.iter().zip(&mut maps) {
        map.get_or_insert_with(|| Arc::new(Definition(spec.def.clone())) as Arc<dyn Map>);
    }
    fill_data(object, &maps, options)?;
    Ok(maps)
}

/// An address for a symbol that the target's types know: programs are judged alike wherever it lies.
pub fn symbol(target: &Btf, name: &str) -> Option<Ksym> {
    const SOMEWHERE: Ksym = Ksym::At(0xffff_ffff_8100_0000);
    [Kind::Func, Kind::Var].iter().find_map(|k| target.find_by_name_kind(name, *k)).map(|_| SOMEWHERE)
}

/// Judges every program of `object` for which `wanted` holds, by its name. Cost: that of opening the object, and what the
/// verifier takes for each program.
///
/// # Errors
/// Maps that cannot be filled; configuration externs without value.
pub fn verify_object(
    object: &Object,
    engine: &dyn Engine,
    options: &Options<'_>,
    how: &skep_verifier::Options,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<Verdict>, Error> {
    let maps = filled_maps(object, engine, options)?;
    let mut env = BindEnv::new(&maps);
    env.target_btf = options.target_btf.clone();
    let types = |name: &str| symbol(options.target_btf.as_deref()?, name);
    let symbol = |name: &str| options.ksyms.get(name).copied().or_else(|| types(name));
    env.ksym = Some(&symbol);
    let mut verdicts = Vec::new();
    for (index, f) in object.functions.iter().enumerate() {
        let Some(entry) = f.entry.as_ref().filter(|_| wanted(&f.name) || wanted(&f.section)) else {
            continue;
        };
        let bound = object.bind_index(index, &mut env).map(Arc::new);
        let program = bound.as_ref().ok().cloned();
        let judge = |p: Arc<Program>| {
            skep_verifier::verify_full(&p, engine.platform(), how).map_err(Refusal::Verifier)
        };
        let outcome = bound.map_err(|e| Refusal::Bind(Box::new(e))).and_then(judge).map(Box::new);
        verdicts.push(Verdict { name: f.name.clone(), prog_type: entry.prog_type, program, outcome });
    }
    Ok(verdicts)
}
