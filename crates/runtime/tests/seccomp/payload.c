/*
 * Makes system calls, given as arguments of the form abi:number:first:second:third, and prints what each returns:
 * 0 or more as "ok", else the errno. The ABI is "64", "32" (int 0x80) or "x32".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long call(const char *abi, long number, long first, long second, long third)
{
	long result;

	if (!strcmp(abi, "32")) {
		__asm__ volatile("int $0x80"
				 : "=a"(result)
				 : "a"(number), "b"(first), "c"(second), "d"(third), "S"(0L), "D"(0L)
				 : "memory", "r8", "r9", "r10", "r11");
		return (int)result;
	}
	if (!strcmp(abi, "x32"))
		number |= 0x40000000;
	register long fourth __asm__("r10") = 0;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third), "r"(fourth)
			 : "memory", "rcx", "r11");
	return result;
}

int main(int count, char **arguments)
{
	for (int i = 1; i < count; i++) {
		char abi[8] = "";
		unsigned long number = 0, first = 0, second = 0, third = 0;
		long result;

		sscanf(arguments[i], "%7[^:]:%lu:%lx:%lx:%lx", abi, &number, &first, &second, &third);
		result = call(abi, number, first, second, third);
		if (result < 0)
			printf("call %ld\n", -result);
		else
			printf("call ok\n");
		fflush(stdout);
	}
	return 0;
}
