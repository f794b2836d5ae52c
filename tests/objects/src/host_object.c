// Not BPF at all: an object for x86-64. To be refused by name.
// build: host_object.o --target=x86_64-linux-gnu -O2
int filter(void *ctx) { return 1; }
