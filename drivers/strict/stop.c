/* A broken rule: one line for the lab, and the end of the process, as Windows would end. */
#include "strict.h"

#include <stdarg.h>

enum { IMAGES = 16, NAME = 32, FRAMES = 12, LINE = 700 };

static struct image {
    char name[NAME];
    const void *base;
    ULONG size;
} images[IMAGES];

void strict_image_loaded(const WCHAR *name, ULONG bytes, const void *base, ULONG size)
{
    for (ULONG i = 0; i < IMAGES; i++) {
        struct image *image = &images[i];
        ULONG length = bytes / sizeof *name;

        if (image->base)
            continue;
        for (ULONG at = 0; at < NAME; at++)
            image->name[at] = at < length && at < NAME - 1 ? (char)name[at] : 0;
        image->size = size;
        image->base = base;
        return;
    }
}

void strict_image_gone(const void *base)
{
    for (ULONG i = 0; i < IMAGES; i++)
        if (images[i].base == base)
            images[i].base = NULL;
}

static const struct image *image_of(const void *address)
{
    for (ULONG i = 0; i < IMAGES; i++)
        if (images[i].base && (ULONG_PTR)address - (ULONG_PTR)images[i].base < images[i].size)
            return &images[i];
    return NULL;
}

const char *strict_image_name(const void *address)
{
    const struct image *image = image_of(address);

    return image ? image->name : "";
}

bool strict_is_driver(const void *address)
{
    return image_of(address) != NULL;
}

#if defined(WSKLAB_NATIVE)

#include <stdio.h>
#include <stdlib.h>

#define print_list shim_vsnprintf

/* The tests of the rules have their own, which goes back to the test. */
__attribute__((weak)) _Noreturn void strict_stopped(ULONG code, const ULONG_PTR parameters[4], const char *line);

void strict_stopped(ULONG code, const ULONG_PTR parameters[4], const char *line)
{
    (void)code, (void)parameters, (void)line;
    abort();
}

static USHORT backtrace_of(void **frames)
{
    (void)frames;
    return 0;
}

#else

int __cdecl _vsnprintf(char *text, size_t size, const char *format, va_list arguments);
NTSYSAPI USHORT NTAPI RtlCaptureStackBackTrace(ULONG skip, ULONG count, PVOID *frames, PULONG hash);
NTSYSAPI NTSTATUS NTAPI NtTerminateProcess(HANDLE process, NTSTATUS status);

#define print_list _vsnprintf

/* The process that runs the driver is gone then, as Windows would be. */
static _Noreturn void strict_stopped(ULONG code, const ULONG_PTR parameters[4], const char *line)
{
    (void)parameters, (void)line;
    for (;;)
        (void)NtTerminateProcess((HANDLE)(LONG_PTR)-1, (NTSTATUS)code);
}

static USHORT backtrace_of(void **frames)
{
    return RtlCaptureStackBackTrace(2, FRAMES, frames, NULL);
}

#endif

static ULONG append_list(char *line, ULONG used, const char *format, va_list arguments)
{
    int written = print_list(line + used, LINE - 1 - used, format, arguments);

    used = written < 0 || used + (ULONG)written > LINE - 1 ? LINE - 1 : used + (ULONG)written;
    line[used] = 0;
    return used;
}

static ULONG append(char *line, ULONG used, const char *format, ...) __attribute__((format(printf, 3, 4)));

static ULONG append(char *line, ULONG used, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    used = append_list(line, used, format, arguments);
    va_end(arguments);
    return used;
}

static ULONG append_place(char *line, ULONG used, const void *address)
{
    const struct image *image = image_of(address);

    if (!image)
        return used;
    return append(line, used, "%s%s+0x%x", line[used - 1] == '=' ? "" : ",", image->name,
                  (unsigned)((ULONG_PTR)address - (ULONG_PTR)image->base));
}

void strict_place(const void *address, char *text, ULONG size)
{
    char line[LINE] = "=";
    ULONG used = append_place(line, 1, address);

    for (ULONG i = 0; i < size; i++)
        text[i] = i + 1 < used && i + 1 < size ? line[i + 1] : 0;
}

void strict_stop(const struct site *site, ULONG code, const ULONG_PTR parameters[4], const char *format, ...)
{
    char line[LINE];
    void *frames[FRAMES];
    ULONG used = 0;
    va_list arguments;

    used = append(line, used, "WSKSTOP code=%08x p=%x%08x,%x%08x,%x%08x,%x%08x irql=%u call=%s at=", (unsigned)code,
                  (unsigned)((ULONGLONG)parameters[0] >> 32), (unsigned)parameters[0],
                  (unsigned)((ULONGLONG)parameters[1] >> 32), (unsigned)parameters[1],
                  (unsigned)((ULONGLONG)parameters[2] >> 32), (unsigned)parameters[2],
                  (unsigned)((ULONGLONG)parameters[3] >> 32), (unsigned)parameters[3], irql_now(), site->routine);
    used = append_place(line, used, site->caller);
    used = append(line, used, " stack=");
    for (USHORT i = 0, count = backtrace_of(frames); i < count; i++)
        used = append_place(line, used, frames[i]);
    used = append(line, used, " why=");
    va_start(arguments, format);
    (void)append_list(line, used, format, arguments);
    va_end(arguments);
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "%s\n", line);
    strict_stopped(code, parameters, line);
}
