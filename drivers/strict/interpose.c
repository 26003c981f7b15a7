/*
 * The import tables of drivers: where an entry led to a routine of the kernel, it leads to that routine's rules.
 *
 * Imports are bound when an image is announced, and none of its code has run. A routine with an IRQL rule alone gets a thunk of a few
 * instructions, which tells strict_thunk_common the rule and the routine; others get a function of their own. MmGetSystemRoutineAddress
 * is not covered, nor are calls inside Wine's kernel.
 */
#include "strict.h"

#if !defined(WSKLAB_NATIVE)

NTSYSAPI NTSTATUS NTAPI NtProtectVirtualMemory(HANDLE process, PVOID *base, SIZE_T *size, ULONG protection,
                                               ULONG *before);

#define THIS_PROCESS ((HANDLE)(LONG_PTR) - 1)

/* The parts of a PE image that are read here; Microsoft, "PE Format". */
struct import_descriptor {
    ULONG names, stamp, forwarder, dll, addresses; /* relative to the image's base */
};

enum {
    PE_OFFSET = 0x3c,
    OPTIONAL_HEADER = 24,
    IMPORT_DIRECTORY = 120,
    DLL_FLAG = 0x2000,
    CHARACTERISTICS = 22,
    SIZE_OF_IMAGE = 56
};

struct thunk {
    UCHAR load_rule[2]; /* mov r11, rule */
    const struct irql_rule *rule;
    UCHAR load_routine[2]; /* mov r10, routine */
    const void *routine;
    UCHAR load_common[2]; /* mov rax, strict_thunk_common */
    const void *common;
    UCHAR jump[2]; /* jmp rax */
} __attribute__((packed));

enum { THUNKS = 256 };

static struct thunk *thunks;
static ULONG thunks_used;

/* Called by the thunks: r11 is the rule, r10 the routine; the arguments are in place. Unwinds as any function does. */
void strict_thunk_common(void);
__asm__(".text\n"
        ".globl strict_thunk_common\n"
        ".seh_proc strict_thunk_common\n"
        "strict_thunk_common:\n"
        "subq $0xa8, %rsp\n"
        ".seh_stackalloc 0xa8\n"
        ".seh_endprologue\n"
        "movq %rcx, 0x20(%rsp)\n"
        "movq %rdx, 0x28(%rsp)\n"
        "movq %r8, 0x30(%rsp)\n"
        "movq %r9, 0x38(%rsp)\n"
        "movups %xmm0, 0x40(%rsp)\n"
        "movups %xmm1, 0x50(%rsp)\n"
        "movups %xmm2, 0x60(%rsp)\n"
        "movups %xmm3, 0x70(%rsp)\n"
        "movq %r10, 0x80(%rsp)\n"
        "movq %r11, %rcx\n"
        "movq 0xa8(%rsp), %rdx\n"
        "call irql_rule_check\n"
        "movq 0x20(%rsp), %rcx\n"
        "movq 0x28(%rsp), %rdx\n"
        "movq 0x30(%rsp), %r8\n"
        "movq 0x38(%rsp), %r9\n"
        "movups 0x40(%rsp), %xmm0\n"
        "movups 0x50(%rsp), %xmm1\n"
        "movups 0x60(%rsp), %xmm2\n"
        "movups 0x70(%rsp), %xmm3\n"
        "movq 0x80(%rsp), %rax\n"
        "addq $0xa8, %rsp\n"
        "jmpq *%rax\n"
        ".seh_endproc\n");

static const void *thunk_for(const struct irql_rule *rule, const void *routine)
{
    SIZE_T size = THUNKS * sizeof *thunks;
    struct thunk *thunk;
    ULONG before;

    if (!thunks) {
        PVOID page = os_pages_reserve(size);

        if (!page || !os_pages_commit(page, size))
            return NULL;
        thunks = page;
        (void)NtProtectVirtualMemory(THIS_PROCESS, &page, &size, 0x40 /* execute, read, write */, &before);
    }
    if (thunks_used == THUNKS)
        return NULL;
    thunk = &thunks[thunks_used++];
    *thunk = (struct thunk){{0x49, 0xbb}, rule, {0x49, 0xba}, routine, {0x48, 0xb8}, strict_thunk_common, {0xff, 0xe0}};
    return thunk;
}

const void *strict_replacement(const char *name)
{
    static const struct replacement *const tables[] = {
        spin_replacements,     wait_replacements,  pool_replacements, mdl_replacements,       irp_replacements,
        scarcity_replacements, mutex_replacements, dpc_replacements,  lookaside_replacements, handle_replacements};

    for (ULONG i = 0; i < RTL_NUMBER_OF(tables); i++)
        for (const struct replacement *entry = tables[i]; entry->name; entry++)
            if (strcmp(entry->name, name) == 0)
                return entry->function;
    return NULL;
}

/* What an import should lead to; NULL: what it leads to now. */
static const void *better(const char *name, const void *routine)
{
    const void *replacement = strict_replacement(name);
    const struct irql_rule *rule = replacement ? NULL : irql_rule_find(name);

    return rule ? thunk_for(rule, routine) : replacement;
}

static bool same_name(const char *left, const char *right)
{
    for (; *left && *right; left++, right++)
        if ((*left | 0x20) != (*right | 0x20))
            return false;
    return *left == *right;
}

static const struct import_descriptor *imports_of(UCHAR *base)
{
    UCHAR *header = base + *(ULONG *)(base + PE_OFFSET);
    ULONG offset = *(ULONG *)(header + OPTIONAL_HEADER + IMPORT_DIRECTORY);

    return offset ? (const void *)(base + offset) : NULL;
}

static bool imports_wsk(UCHAR *base, const struct import_descriptor *imports)
{
    for (; imports && imports->dll; imports++)
        if (same_name((const char *)base + imports->dll, "netio.sys"))
            return true;
    return false;
}

static void set_entry(const void **entry, const void *value)
{
    PVOID page = entry;
    SIZE_T size = sizeof *entry;
    ULONG before;

    if (NtProtectVirtualMemory(THIS_PROCESS, &page, &size, 0x04 /* read, write */, &before))
        return;
    *entry = value;
    (void)NtProtectVirtualMemory(THIS_PROCESS, &page, &size, before, &before);
}

void image_set_cookie(void *image)
{
    enum { LOAD_CONFIGURATION = 192 /* in the optional header */, COOKIE = 0x58 };
    static const ULONGLONG given = 0x00002B992DDFA232ull; /* by the compiler, until a loader sets it */
    UCHAR *base = image, *header = base + *(ULONG *)(base + PE_OFFSET);
    ULONG offset = *(ULONG *)(header + OPTIONAL_HEADER + LOAD_CONFIGURATION);
    ULONG size = *(ULONG *)(header + OPTIONAL_HEADER + SIZE_OF_IMAGE);
    ULONGLONG *cookie;

    if (!offset || *(ULONG *)(base + offset) < COOKIE + sizeof cookie)
        return;
    cookie = *(ULONGLONG **)(base + offset + COOKIE);
    if ((ULONG_PTR)cookie - (ULONG_PTR)base < size && *cookie == given)
        set_entry((const void **)cookie,
                  (const void *)(ULONG_PTR)((os_milliseconds() * 0x9E3779B97F4A7C15ull ^ (ULONG_PTR)base) >> 16 | 1));
}

void strict_interpose(void *image)
{
    UCHAR *base = image;
    const struct import_descriptor *imports = imports_of(base);

    if (!imports_wsk(base, imports))
        return;
    for (; imports->dll; imports++) {
        const ULONGLONG *names = (const void *)(base + (imports->names ? imports->names : imports->addresses));
        const void **addresses = (const void **)(base + imports->addresses);

        for (; imports->names && *names; names++, addresses++) {
            const char *name = (const char *)base + *names + 2; /* behind the hint */
            const void *to = *names >> 63 ? NULL : better(name, *addresses);

            if (to)
                set_entry(addresses, to);
        }
    }
}

#endif
