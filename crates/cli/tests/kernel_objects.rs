//! `skep prog|map|link|net|btf` on objects of the running kernel, in network and mount namespaces of the test's own with a bpf
//! file system in them. What bpftool prints of the same objects, where it is installed, has to be the same.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use std::path::Path;
use std::process::Command;

const SKEP: &str = env!("CARGO_BIN_EXE_skep");

/// Steps of a shell script: a line each; what it has to print stands behind `=> `, `=~` is "contains".
const STEPS: &str = r#"
$S prog loadall examples/firewall/firewall.bpf.o $B/fw pinmaps $B/maps
$S prog show pinned $B/fw/firewall -f =~ pinned $B/fw/firewall
$S prog show name firewall -j =~ "name":"firewall"
$S prog dump xlated pinned $B/fw/firewall =~ int firewall(struct xdp_md *ctx):
$S prog dump xlated pinned $B/fw/firewall linum =~ line_num:
$S prog dump jited pinned $B/fw/firewall =~ push rbp
$S -f -n prog list pinned $B/fw/firewall =~ pinned $B/fw/firewall
$S prog dump xlated pinned $B/fw/firewall visual =~ bb_0 -> bb_
$S prog dump jited pinned $B/fw/firewall opcodes linum =~ line_num:
bash -c '$S prog dump xlated pinned $B/fw/firewall file $B.bin && $S prog show pinned $B/fw/firewall | grep -c "xlated $(stat -c %s $B.bin)B"; rm $B.bin' => 1
$S btf dump map pinned $B/maps/ports kv =~ 'proto' type_id
$S btf dump map pinned $B/maps/ports key format c =~ struct port_key {
$S btf dump map pinned $B/maps/ports values =~ exit 2 skep: name one file
$S prog load examples/firewall/firewall.bpf.o $B/dev dev va =~ exit 6 skep: dev va: programs are not loaded for a device
$S feature probe kernel macros prefix OUR_ --no-helpers =~ #define OUR_HAVE_XDP_PROG_TYPE
$S feature probe --no-helpers =~ Bounded loop support is available
$S feature probe --no-helpers -j =~ "have_v3_isa_extension":true
$S feature probe unprivileged =~ exit 6 skep: unprivileged: this process has capabilities
bash -c 'printf "prog list pinned $B/fw/firewall # one\n\nmap show name counters\n" | $S batch file -' =~ processed 2 commands
bash -c 'printf "map show name counters\nmap show name nobody\n" | $S -j batch file -' =~ skep: -:2: the command failed; 1 before it did not
$S map show name counters =~ percpu_array  name counters
$S map dump pinned $B/maps/counters =~ Found 9 elements
$S btf show =~ name [kernel] vmlinux
$S btf dump map pinned $B/maps/ports format c =~ #ifndef __VMLINUX_H__
$S net attach xdp pinned $B/fw/firewall dev va => 
$S net attach xdp pinned $B/fw/firewall dev va =~ exit 1 skep: attaching to va: a program is there already
$S net attach xdp pinned $B/fw/firewall dev va overwrite => 
$S net show dev va =~ xdpdrv firewall id
$S net detach xdp dev va => 
$S net detach xdp dev va =~ exit 3 skep: detaching from va: no program is there
$S net attach tcx_ingress pinned $B/fw/firewall dev va =~ exit 1 skep: attaching to va
$S net show dev none =~ exit 3 skep: no network device "none"
$S net attach xdp obj tests/objects/xdp_chain.o prog guard dev va --xdp-root $B/xdp form linked =>
$S net attach xdp obj tests/objects/xdp_chain.o prog count dev va --xdp-root $B/xdp =>
$S net attach xdp obj examples/firewall/firewall.bpf.o dev va priority 15 chain none --xdp-root $B/xdp =>
$S net attach xdp obj examples/firewall/firewall.bpf.o dev va --xdp-root $B/xdp =~ a program of this name is on the device already
$S net attach xdp obj examples/firewall/firewall.bpf.o dev va priority 5 chain pass,tx replace --xdp-root $B/xdp =>
$S net attach xdp obj tests/objects/xdp_chain.o dev va --xdp-root $B/xdp =~ exit 2 skep: tests/objects/xdp_chain.o: name one of its XDP programs: prog count|guard|other
$S net attach xdp obj examples/firewall/firewall.bpf.o dev va chain often --xdp-root $B/xdp =~ exit 2 skep: chain: no action "often"
$S net attach xdp obj examples/firewall/firewall.bpf.o dev vb --xdp-root /tmp form linked =~ exit 6 skep: a set of XDP programs is not supported here
$S net show dev va --xdp-root $B/xdp =~ priority 5 firewall chain pass,tx;;priority 10 count chain pass;;priority 20 guard chain pass
$S net show dev va -j --xdp-root $B/xdp =~ "programs":[{"name":"firewall","priority":5,"chain_call_actions":["pass","tx"]},{"name":"count","priority":10
$S net detach xdp dev va prog nobody --xdp-root $B/xdp =~ exit 3 skep: detaching from va: no program "nobody" shares the device; there are firewall, count, guard
$S net detach xdp dev va prog count --xdp-root $B/xdp =>
$S net show dev va --xdp-root $B/xdp =~ priority 5 firewall chain pass,tx;;priority 20 guard chain pass
$S net detach xdp dev va --xdp-root $B/xdp =>
$S net detach xdp dev va --xdp-root $B/xdp =~ exit 3 skep: detaching from va: no program is there
$S net attach xdp obj tests/objects/xdp_chain.o prog count dev vb --xdp-root $B/xdp form other =~ exit 2 skep: form: "other" is none; there are linked and libxdp
bash -c 'told=$($S net attach xdp obj tests/objects/xdp_chain.o prog count dev vb --xdp-root $B/xdp 2>&1 | grep -c "^skep: the programs are linked into one, as libxdp"); $S net show dev vb --xdp-root $B/xdp | grep -c skep_dispatcher | grep -cx $told' => 1
$S net attach xdp obj tests/objects/xdp_chain.o prog guard dev vb --xdp-root $B/xdp =>
$S net show dev vb --xdp-root $B/xdp =~ priority 10 count chain pass;;priority 20 guard chain pass
$S net detach xdp dev vb --xdp-root $B/xdp =>
find $B/xdp -type f =>
$S map create $B/h type hash key 4 value 8 entries 16 name hh => 
$S map update pinned $B/h key 7 value 9 => 
$S map update pinned $B/h key 7 value 9 noexist =~ exit 1 skep: map hh: cannot write the entry
$S map lookup name hh key 7 => 7: 9
$S map dump name hh -j =~ "entries":[{"key":7,"value":9}]
$S map getnext name hh -j => {"apiVersion":1,"next_key":7}
$S map getnext name hh key 7 =~ exit 3 skep: map hh: no key follows
$S map delete name hh key hex 07 00 00 00 => 
$S map delete name hh key 7 =~ exit 3 skep: map hh: cannot delete the entry
$S map lookup name hh key 1 2 =~ exit 2 skep: key: 2 bytes were given
$S map create $B/q type queue value 4 entries 4 name qq => 
$S map enqueue name qq value 5 => 
$S map peek name qq => 5
$S map dequeue name qq => 5
$S map dequeue name qq =~ exit 3 skep: map qq is empty
$S prog loadall tests/objects/user_ring.o $B/ur pinmaps $B/urm => 
$S map push pinned $B/urm/orders value 5 0 0 0 => 
$S map push pinned $B/urm/orders value hex 2c 01 00 00 ff => 
bash -c 'head -c 64 /dev/zero | $S prog run pinned $B/ur/drain data_in -' =~ Return value: 2
bash -c 'head -c 64 /dev/zero | $S prog run pinned $B/ur/drain data_in -' =~ Return value: 0
$S map dump pinned $B/urm/bss =~ .sum = 305
$S map push pinned $B/urm/orders value 256 =~ exit 2 skep: value: a record is given byte by byte
bash -c 'R=$(yes 7 | head -n 1020); for i in 1 2 3 4; do $S map push pinned $B/urm/orders value $R || exit; done' =~ exit 1 skep: map orders: no room for a record of 1020 bytes
$S map freeze name hh => 
$S map update pinned $B/h key 7 value 9 =~ frozen
$S map create $B/pa type prog_array key 4 value 4 entries 2 name pa => 
$S map update name pa key 1 value pinned $B/fw/firewall => 
$S prog show id 4000000000 =~ exit 3 skep: the kernel has no prog with id 4000000000
$S prog show pinned $B/h =~ a map is pinned there, no prog
$S prog show pinned $B/none =~ exit 3 skep: $B/none: nothing is pinned there
$S prog load examples/pktsize/pktsize.bpf.o $B/ps autoattach =~ name the network device
$S link show =>
bash -c '$S prog profile pinned $B/fw/firewall duration 1 cycles & sleep 0.4; head -c 64 /dev/zero | $S prog run pinned $B/fw/firewall data_in - repeat 1000 >$B.out; wait; rm $B.out' =~ 1000 run_cnt
$S prog profile pinned $B/fw/firewall duration 0 instructions -j =~ "run_cnt":0,"value":0
$S prog profile pinned $B/fw/firewall duration 1 bogomips =~ exit 2 skep: no metric "bogomips"; there are cycles, instructions
$S prog profile pinned $B/fw/firewall =~ exit 2 skep: name at least one metric
$S struct_ops register tests/objects/congestion.o $B/cc --set first.name='"skep_one"' --set second.name='"skep_two"' --set future.name='"skep_three"' --set second.release=0 =~ Registered tcp_congestion_ops first map id
$S struct_ops register tests/objects/congestion.o $B/cc2 --set first.name='"skep_one"' =~ exit 1 skep: tests/objects/congestion.o: cannot register first: the kernel has one of this name
$S struct_ops register examples/firewall/firewall.bpf.o =~ exit 3 skep: examples/firewall/firewall.bpf.o: has no struct_ops variables
$S struct_ops show name future =~ : future          tcp_congestion_ops
$S struct_ops list -j =~ "name":"second","kernel_struct_ops":"tcp_congestion_ops"
$S struct_ops dump name second =~ "init": "void (struct sock *) second_init/prog_id:
$S struct_ops dump name second -j =~ "release":"void (struct sock *) 0"
$S link show pinned $B/cc/first =~ struct_ops
$S struct_ops unregister name first =~ Unregistered tcp_congestion_ops first id
$S struct_ops unregister name nobody =~ exit 3 skep: the kernel has no struct_ops map with name nobody
$S prog load examples/none.bpf.o $B/x =~ exit 3 skep: cannot read examples/none.bpf.o
"#;

#[test]
fn bpftools_words() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut script = String::from(
        // Names of congestion control are the whole machine's: one test at a time uses them.
        "set -u\nexec 9>${TMPDIR:-/tmp}/skep-struct-ops.lock; flock 9\nmkdir -p $B && mount -t bpf bpf $B || { echo no bpf file system; exit 77; }\n\
         ip link add va type veth peer name vb || { echo no devices; umount $B; rmdir $B; exit 77; }\n\
         run() { out=$(\"$@\" 2>&1); code=$?; if [ $code != 0 ]; then echo \"exit $code $out\"; else echo \"$out\"; fi; echo; echo ----; }\n",
    );
    let steps: Vec<&str> = STEPS.lines().filter(|l| !l.is_empty()).collect();
    for step in &steps {
        let command = step.split(" =~ ").next().unwrap().split(" =>").next().unwrap();
        script.push_str(&format!("run {command}\n"));
    }
    script.push_str(
        "if command -v bpftool >/dev/null; then echo both; same=same; for p in $B/fw/*; do diff <($S prog show pinned $p) \
         <(bpftool prog show pinned $p) || same=; done; for m in $B/maps/* $B/h $B/q; do diff <($S map show pinned $m) <(bpftool map show \
         pinned $m) || same=; done; diff <($S struct_ops show name future) <(bpftool struct_ops show name future) \
         || same=; echo $same; fi\n$S struct_ops unregister name future\numount $B; rmdir $B\n",
    );
    let folder = std::env::temp_dir().join(format!("skep-kernel-objects-{}", std::process::id()));
    let out = Command::new("unshare")
        .args(["-n", "-m", "bash", "-c", &script])
        .current_dir(&root)
        .env("S", SKEP)
        .env("B", &folder)
        .output();
    let Ok(out) = out.inspect_err(|e| println!("skipped: unshare: {e}")) else { return };
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.code() == Some(77) || said.contains("unshare failed") {
        println!("skipped: {text}{said}");
        return;
    }
    if text.contains("CAP_BPF") {
        println!("skipped: {text}");
        return;
    }
    let answers: Vec<&str> = text.split("\n----\n").collect();
    assert!(answers.len() > steps.len(), "{text}{said}");
    for (step, answer) in steps.iter().zip(&answers) {
        let answer = answer.trim();
        let folder = folder.display().to_string();
        if let Some((_, wanted)) = step.split_once(" =~ ") {
            // `;;` divides lines.
            let wanted = wanted.replace("$B", &folder).replace(";;", "\n\t");
            assert!(answer.contains(wanted.trim()), "{step}\n{answer}");
        } else if let Some((_, wanted)) = step.split_once(" =>") {
            assert_eq!(answer, wanted.trim(), "{step}");
        } else {
            assert!(!answer.starts_with("exit"), "{step}\n{answer}");
        }
    }
    let last = answers.last().unwrap();
    assert!(!last.contains("both") || last.contains("same"), "{last}{said}");
    assert!(!folder.exists(), "{said}");
}
