// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The judge of `cargo xtask suites kernel-load`: which programs of objects load through libbpf. Each program is loaded alone,
// with the autoload of all others off. One line a program on standard output: object, program, `loads` or the error number.
// Linked against the system's libbpf; nothing is attached or pinned.

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int silent(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level, (void)format, (void)args;
	return 0;
}

// Loads program `n` alone. 1: there is no such program; else 0, and its name and the outcome are printed.
static int one(const char *path, int n)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program, *wanted = NULL;
	const char *file = strrchr(path, '/');
	int at = 0;

	file = file ? file + 1 : path;
	if (!object) {
		if (n == 0)
			printf("%s\t-\tnot opened: %s\n", file, strerror(errno));
		return 1;
	}
	bpf_object__for_each_program(program, object) {
		bpf_program__set_autoload(program, at == n);
		if (at++ == n)
			wanted = program;
	}
	if (!wanted) {
		bpf_object__close(object);
		return 1;
	}
	// Program arrays are filled behind the programs, and their slots name programs that are off: then it was loaded.
	int error = bpf_object__load(object);
	int loads = error == 0 || error == -EBADF;
	printf("%s\t%s\t%s\n", file, bpf_program__name(wanted), loads ? "loads" : strerror(-error));
	bpf_object__close(object);
	return 0;
}

int main(int argc, char **argv)
{
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	libbpf_set_print(silent);
	for (int i = 1; i < argc; i++)
		for (int n = 0; one(argv[i], n) == 0; n++)
			;
	return 0;
}
