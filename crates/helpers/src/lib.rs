//! The helpers: one file a family, a helper's row and its body one entry ([`row::helper!`] is the form of a row).
//!
//! [`HELPERS`] collects the families' rows, sorted by number when the crate is compiled: adding a helper touches one
//! file, adding a family one line here.
//!
//! A body gets `&mut dyn Env` and the five arguments as the program left them, verified or not. It checks what the
//! kernel checks, in the kernel's order, and returns the kernel's error numbers; guest addresses are reached through
//! [`Env::mem`](skep_platform::Env::mem) alone, so a wrong one is a fault of the program, never of the process.
//! Helpers without a body say why and what to use instead ([`absent`]).

#![forbid(unsafe_code)]

pub mod absent;
#[macro_use]
mod row;

mod cgroup;
mod checksum;
mod control;
mod cpu;
mod csum;
mod dynptr;
mod dynptr_value;
mod format;
mod guest;
mod iter;
mod kfuncs;
mod kptr;
mod lirc;
mod lock;
mod lsm;
mod lwt;
mod map;
mod percpu;
mod perf;
mod print;
mod probe;
mod random;
mod redirect;
mod retval;
mod ringbuf;
mod route;
mod sk_cast;
mod sk_lookup;
mod sk_msg;
mod sk_redirect;
mod skb;
mod skb_bytes;
mod skb_meta;
mod skb_room;
mod skb_vlan;
mod sock_map;
mod socket;
mod sockopt;
mod stack;
mod storage;
mod string;
mod syncookie;
mod syscall;
mod sysctl;
mod task;
mod tcp;
mod time;
mod timer;
mod trace;
mod tunnel;
mod user_ringbuf;
mod xdp;

pub use kfuncs::KFUNCS;
use skep_platform::Helper;

/// Every family's rows.
const FAMILIES: &[&[&Helper]] = &[
    cgroup::ROWS,
    control::ROWS,
    cpu::ROWS,
    csum::ROWS,
    dynptr::ROWS,
    iter::ROWS,
    kptr::ROWS,
    lirc::ROWS,
    lock::ROWS,
    lsm::ROWS,
    lwt::ROWS,
    map::ROWS,
    percpu::ROWS,
    perf::ROWS,
    print::ROWS,
    probe::ROWS,
    random::ROWS,
    redirect::ROWS,
    retval::ROWS,
    ringbuf::ROWS,
    route::ROWS,
    sk_cast::ROWS,
    sk_lookup::ROWS,
    sk_msg::ROWS,
    sk_redirect::ROWS,
    skb_bytes::ROWS,
    skb_meta::ROWS,
    skb_room::ROWS,
    skb_vlan::ROWS,
    sock_map::ROWS,
    socket::ROWS,
    sockopt::ROWS,
    stack::ROWS,
    storage::ROWS,
    string::ROWS,
    syncookie::ROWS,
    syscall::ROWS,
    sysctl::ROWS,
    task::ROWS,
    tcp::ROWS,
    time::ROWS,
    timer::ROWS,
    trace::ROWS,
    tunnel::ROWS,
    user_ringbuf::ROWS,
    xdp::ROWS,
];

/// Number of helpers.
const COUNT: usize = count();

/// Every helper, ascending by number.
pub static HELPERS: &[&Helper] = &SORTED;

static SORTED: [&Helper; COUNT] = sorted();

const fn count() -> usize {
    let (mut n, mut i) = (0, 0);
    while i < FAMILIES.len() {
        n += FAMILIES[i].len();
        i += 1;
    }
    n
}

/// Insertion sort, because it is short and runs at compile time.
const fn sorted() -> [&'static Helper; COUNT] {
    let mut out = [FAMILIES[0][0]; COUNT];
    let (mut n, mut i) = (0, 0);
    while i < FAMILIES.len() {
        let mut j = 0;
        while j < FAMILIES[i].len() {
            let row = FAMILIES[i][j];
            let mut at = n;
            while at > 0 && out[at - 1].id > row.id {
                out[at] = out[at - 1];
                at -= 1;
            }
            out[at] = row;
            n += 1;
            j += 1;
        }
        i += 1;
    }
    out
}
