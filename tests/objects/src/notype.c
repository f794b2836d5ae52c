// A program whose symbol has neither type nor size, as assemblers write it: it reaches to the end of its section.
// build: notype.o -O2 -mcpu=v1
asm(".section socket,\"ax\",@progbits\n"
    ".globl untyped\n"
    "untyped:\n"
    "r0 = *(u32 *)(r1 + 0)\n"
    "exit\n");

char _license[] __attribute__((section("license"), used)) = "GPL";
