/* Memory from the system, page by page; through ntdll, so that Wine knows of it. */
#include "strict.h"

#if defined(WSKLAB_NATIVE)

#include <sys/mman.h>

void *os_pages_reserve(SIZE_T size)
{
    void *from = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return from == MAP_FAILED ? NULL : from;
}

bool os_pages_commit(void *from, SIZE_T size)
{
    return mprotect(from, size, PROT_READ | PROT_WRITE) == 0;
}

void os_pages_decommit(void *from, SIZE_T size)
{
    (void)mmap(from, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

#else

NTSYSAPI NTSTATUS NTAPI NtAllocateVirtualMemory(HANDLE process, PVOID *base, ULONG_PTR zero_bits, SIZE_T *size,
                                                ULONG type, ULONG protection);
NTSYSAPI NTSTATUS NTAPI NtFreeVirtualMemory(HANDLE process, PVOID *base, SIZE_T *size, ULONG type);

#define THIS_PROCESS ((HANDLE)(LONG_PTR) - 1)

enum { COMMIT = 0x1000, RESERVE = 0x2000, DECOMMIT = 0x4000, NO_ACCESS = 0x01, READ_WRITE = 0x04 };

void *os_pages_reserve(SIZE_T size)
{
    PVOID from = NULL;

    return NtAllocateVirtualMemory(THIS_PROCESS, &from, 0, &size, RESERVE, NO_ACCESS) ? NULL : from;
}

bool os_pages_commit(void *from, SIZE_T size)
{
    return !NtAllocateVirtualMemory(THIS_PROCESS, &from, 0, &size, COMMIT, READ_WRITE);
}

void os_pages_decommit(void *from, SIZE_T size)
{
    (void)NtFreeVirtualMemory(THIS_PROCESS, &from, &size, DECOMMIT);
}

#endif
