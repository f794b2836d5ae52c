// An object for big-endian machines: to be refused by name.
// build: big_endian.o --target=bpfeb -O2 -g -mcpu=v3
__attribute__((section("socket"), used)) int filter(void *ctx) { return 1; }

char _license[] __attribute__((section("license"), used)) = "GPL";
