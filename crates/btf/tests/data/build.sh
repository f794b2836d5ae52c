#!/bin/sh
# Rebuilds the .btf and .ext files here from the .c files beside them. Needs clang-19 and llvm-objcopy-19.
set -eu
cd "$(dirname "$0")"
for c in *.c; do
	n=${c%.c}
	clang-19 -g -O2 -Wall -Wno-unused -Wno-visibility -Wno-int-to-pointer-cast --target=bpf -mcpu=v3 -ffile-prefix-map="$PWD"=. -fdebug-compilation-dir=. -c "$c" -o "$n.tmp.o"
	llvm-objcopy-19 --dump-section=.BTF="$n.btf" --dump-section=.BTF.ext="$n.ext" "$n.tmp.o" 2>/dev/null ||
		llvm-objcopy-19 --dump-section=.BTF="$n.btf" "$n.tmp.o"
	rm "$n.tmp.o"
done
