/*
 * Compiles profiles with libseccomp, in the way of runc, for comparison.
 *
 * Reads commands from standard input, one per line, numbers in hexadecimal:
 *
 *   resolve ARCH NAME               answers the number on ARCH (decimal, negative if there is none)
 *   profile ACTION OPTIMIZE         starts a profile with its default action
 *   arch ARCH                       adds an architecture
 *   rule ACTION NAME COUNT {INDEX OP VALUE VALUE2}...
 *   end                             answers "ok LENGTH" and the program, or "error ERRNO NAME"
 */
#define _GNU_SOURCE
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_ARGS 64

static int add_rule(scmp_filter_ctx context, uint32_t action, const char *name)
{
	unsigned int count, i, seen[6] = { 0 }, repeated = 0;
	struct scmp_arg_cmp args[MAX_ARGS];
	int number, result = 0;

	if (scanf("%x", &count) != 1 || count > MAX_ARGS)
		exit(2);
	for (i = 0; i < count; i++) {
		unsigned int index, op;
		unsigned long long value, value2;

		if (scanf("%x %x %llx %llx", &index, &op, &value, &value2) != 4 || index > 5)
			exit(2);
		args[i] = (struct scmp_arg_cmp){ index, (enum scmp_compare)op, value, value2 };
		repeated |= seen[index]++;
	}
	number = seccomp_syscall_resolve_name(name);
	if (number == __NR_SCMP_ERROR)
		return 0;
	if (!repeated)
		return seccomp_rule_add_array(context, action, number, count, args);
	for (i = 0; i < count && result == 0; i++)
		result = seccomp_rule_add_array(context, action, number, 1, &args[i]);
	return result;
}

static void answer(scmp_filter_ctx context, int error, const char *culprit)
{
	struct stat status;
	char *program;
	int file;

	if (error) {
		printf("error %d %s\n", -error, culprit);
		return;
	}
	file = memfd_create("program", 0);
	error = seccomp_export_bpf(context, file);
	if (file < 0 || fstat(file, &status) != 0)
		exit(2);
	if (error) {
		printf("error %d export\n", -error);
	} else {
		program = malloc(status.st_size);
		if (pread(file, program, status.st_size, 0) != status.st_size)
			exit(2);
		printf("ok %ld\n", (long)status.st_size);
		fwrite(program, 1, status.st_size, stdout);
		free(program);
	}
	close(file);
}

int main(void)
{
	char command[16], name[128], culprit[128] = "";
	scmp_filter_ctx context = NULL;
	uint32_t action, optimize;
	int error = 0;

	while (scanf("%15s", command) == 1) {
		if (!strcmp(command, "resolve") && scanf("%127s", name) == 1) {
			uint32_t arch = seccomp_arch_resolve_name(name);

			if (scanf("%127s", name) != 1)
				return 2;
			printf("%d\n", arch ? seccomp_syscall_resolve_name_arch(arch, name) : __NR_SCMP_ERROR);
		} else if (!strcmp(command, "profile") && scanf("%x %x", &action, &optimize) == 2) {
			context = seccomp_init(action);
			error = context ? 0 : -EINVAL;
			if (context && optimize)
				error = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
		} else if (!strcmp(command, "arch") && scanf("%127s", name) == 1) {
			int result = seccomp_arch_add(context, seccomp_arch_resolve_name(name));

			if (!error && result && result != -EEXIST) {
				error = result;
				strcpy(culprit, name);
			}
		} else if (!strcmp(command, "rule") && scanf("%x %127s", &action, name) == 2) {
			int result = add_rule(context, action, name);

			if (!error && result) {
				error = result;
				strcpy(culprit, name);
			}
		} else if (!strcmp(command, "end")) {
			answer(context, error, culprit);
			seccomp_release(context);
			context = NULL;
		} else {
			return 2;
		}
		fflush(stdout);
	}
	return 0;
}
