//! What an object says of sharing a device with other XDP programs: variables of section `.xdp_run_config`, as libxdp reads them.
//!
//! `struct { __uint(priority, 10); __uint(XDP_PASS, 1); } XDP_RUN_CONFIG(PROGRAM);` makes a variable `_PROGRAM`, whose members
//! are pointers to arrays of as many elements as the number says. Nothing of it is in the section's bytes.

use skep_btf::{Btf, Kind, Type};

use crate::object::Object;

/// `XDP_*`, by number.
const ACTIONS: [&str; 5] = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];

/// What a program asks for; `None` where it says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct XdpRunConfig {
    /// Smaller ones run first.
    pub priority: Option<u32>,
    /// Actions that are named.
    pub named: u32,
    /// Those among them on which the next program is asked.
    pub chain: u32,
}

impl XdpRunConfig {
    /// The actions on which the next program is asked, where `default` counts for those that are not named: bit 1 << action.
    pub fn chain_of(&self, default: u32) -> u32 {
        default & !self.named | self.chain
    }
}

impl Object {
    /// What the object says of running this program beside others. Cost: a look through one section's types.
    pub fn xdp_run_config(&self, program: &str) -> XdpRunConfig {
        let found = self.btf.as_deref().and_then(|btf| read(btf, program));
        found.unwrap_or_default()
    }
}

fn read(btf: &Btf, program: &str) -> Option<XdpRunConfig> {
    let section = btf.find_by_name_kind(".xdp_run_config", Kind::Datasec)?;
    let Some(Type::Datasec(section)) = btf.type_by_id(section) else { return None };
    let var = section.vars.into_iter().find_map(|v| match btf.type_by_id(v.type_id) {
        Some(Type::Var(var)) if var.name.strip_prefix('_') == Some(program) => Some(var),
        _ => None,
    })?;
    let Some((_, Type::Struct(body))) = btf.resolve(var.type_id) else { return None };
    let mut config = XdpRunConfig::default();
    for m in body.members {
        let Some(n) = number(btf, m.type_id) else { continue };
        if m.name == "priority" {
            config.priority = Some(n);
        }
        if let Some(action) = ACTIONS.iter().position(|a| *a == m.name) {
            config.named |= 1 << action;
            config.chain |= u32::from(n != 0) << action;
        }
    }
    Some(config)
}

/// `__uint`: a pointer to an array.
fn number(btf: &Btf, id: u32) -> Option<u32> {
    let Some((_, Type::Ptr(to))) = btf.resolve(id) else { return None };
    let Some((_, Type::Array(array))) = btf.resolve(to) else { return None };
    Some(array.nelems)
}
