/*
 * What a driver gets from Microsoft's kernel libraries when Microsoft's compiler makes it: the cookie of /GS and its check, the pointers
 * of Control Flow Guard, the load configuration that names both, and the entry point that comes before DriverEntry.
 *
 * Written anew from the published layouts (Microsoft, "PE Format", "Load Configuration Structure"; "/GS"; "/guard:cf"). With it clang and
 * lld-link make binaries like those that the field has, so that the lab is tried on such ones.
 */
#include <wdm.h>

#define DEFAULT_COOKIE 0x00002B992DDFA232ull

/* The loader puts a random number here, as the load configuration says where. */
ULONG_PTR __security_cookie = DEFAULT_COOKIE;

/* Called at the end of each function with a buffer, with its cookie in rcx; every other register is the caller's. */
void __security_check_cookie(ULONG_PTR cookie);
__asm__(".text\n"
        ".globl __security_check_cookie\n"
        "__security_check_cookie:\n"
        "cmpq __security_cookie(%rip), %rcx\n"
        "jne 1f\n"
        "ret\n"
        "1: movl $2, %ecx\n" /* FAST_FAIL_STACK_COOKIE_CHECK_FAILURE */
        "int $0x29\n");

/* Where the loader knows Control Flow Guard, it lets these pointers lead to itself. */
void guard_check_nothing(void);
void guard_dispatch_nothing(void);
__asm__(".text\n"
        ".globl guard_check_nothing\n"
        "guard_check_nothing: ret\n"
        ".globl guard_dispatch_nothing\n"
        "guard_dispatch_nothing: jmpq *%rax\n");

void *__guard_check_icall_fptr = (void *)guard_check_nothing;
void *__guard_dispatch_icall_fptr = (void *)guard_dispatch_nothing;

/* Of the linker: the functions whose addresses are taken. */
extern char __guard_fids_table[], __guard_fids_count[], __guard_flags[];

struct load_configuration {
    ULONG size, stamp, version, flags_clear, flags_set, timeout;
    ULONGLONG unused[8]; /* 0x18 to 0x57 */
    const void *cookie; /* 0x58 */
    ULONGLONG handlers[2];
    const void *guard_check, *guard_dispatch, *guard_table, *guard_count; /* 0x70 */
    ULONG guard_flags; /* 0x90 */
    ULONG rest[3];
};

_Static_assert(__builtin_offsetof(struct load_configuration, cookie) == 0x58, "as published");
_Static_assert(__builtin_offsetof(struct load_configuration, guard_flags) == 0x90, "as published");

const struct load_configuration _load_config_used = {
    .size = sizeof(struct load_configuration),
    .cookie = &__security_cookie,
    .guard_check = &__guard_check_icall_fptr,
    .guard_dispatch = &__guard_dispatch_icall_fptr,
    .guard_table = __guard_fids_table,
    .guard_count = __guard_fids_count,
    .guard_flags = 0x500, /* instrumented, with a table */
};

DRIVER_INITIALIZE DriverEntry;

/* As the WDK's: a driver whose loader has not set the cookie does not start. */
NTSTATUS NTAPI GsDriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path);

NTSTATUS NTAPI GsDriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    if (__security_cookie == 0 || __security_cookie == DEFAULT_COOKIE)
        __asm__ volatile("movl $6, %%ecx\n\tint $0x29" ::: "ecx"); /* FAST_FAIL_GS_COOKIE_INIT */
    return DriverEntry(driver, path);
}
