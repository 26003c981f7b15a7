/*
 * Handles that a driver opens. The system process has them: they stay open when the driver has gone, until the machine restarts, and what
 * they lead to stays with them. Driver Verifier says nothing of it.
 */
#include "strict.h"

enum { HANDLES = 256 };

static struct {
    struct lock lock;
    struct {
        HANDLE handle;
        struct site site;
    } open[HANDLES];
    ULONG count;
} handles;

void handle_opened(const struct site *site, HANDLE handle)
{
    if (!strict_on(STRICT_MEMORY))
        return;
    lock_acquire(&handles.lock);
    if (handles.count < HANDLES) {
        handles.open[handles.count].handle = handle;
        handles.open[handles.count++].site = *site;
    }
    lock_release(&handles.lock);
}

void handle_closed(HANDLE handle)
{
    lock_acquire(&handles.lock);
    for (ULONG i = 0; i < handles.count; i++)
        if (handles.open[i].handle == handle) {
            handles.open[i] = handles.open[--handles.count];
            break;
        }
    lock_release(&handles.lock);
}

ULONG handles_left(const void *base, ULONG size, struct site *opened)
{
    ULONG left = 0;

    lock_acquire(&handles.lock);
    for (ULONG i = 0; i < handles.count;)
        if ((ULONG_PTR)handles.open[i].site.caller - (ULONG_PTR)base < size) {
            if (!left++)
                *opened = handles.open[i].site;
            handles.open[i] = handles.open[--handles.count];
        } else {
            i++;
        }
    lock_release(&handles.lock);
    return left;
}

#if !defined(WSKLAB_NATIVE)

static NTSTATUS kept(const struct site *site, const HANDLE *handle, NTSTATUS status)
{
    if (NT_SUCCESS(status))
        handle_opened(site, *handle);
    return status;
}

struct start {
    PKSTART_ROUTINE routine;
    PVOID context;
};

/* Returns into Wine's kernel, as the driver's routine would, when that does not end its thread itself. */
static VOID NTAPI begin_thread(PVOID context)
{
    struct start start = *(struct start *)context;

    ExFreePoolWithTag(context, 0);
    (void)stack_begin();
    start.routine(start.context);
}

static NTSTATUS NTAPI create_thread(PHANDLE handle, ULONG access, POBJECT_ATTRIBUTES attributes, HANDLE process,
                                    PCLIENT_ID id, PKSTART_ROUTINE routine, PVOID context)
{
    const struct site site = SITE("PsCreateSystemThread");
    struct start *start;
    NTSTATUS status;

    irql_rule_of(&site);
    if (scarce_fails(&site, site.caller))
        return STATUS_INSUFFICIENT_RESOURCES;
    start = ExAllocatePoolWithTag(NonPagedPool, sizeof *start, 0x74726153 /* 'Sart' */);
    if (!start)
        return STATUS_INSUFFICIENT_RESOURCES;
    *start = (struct start){routine, context};
    status = PsCreateSystemThread(handle, access, attributes, process, id, begin_thread, start);
    if (!NT_SUCCESS(status))
        ExFreePoolWithTag(start, 0);
    return kept(&site, handle, status);
}

static NTSTATUS NTAPI create_file(PHANDLE handle, ACCESS_MASK access, POBJECT_ATTRIBUTES attributes,
                                  PIO_STATUS_BLOCK result, PLARGE_INTEGER size, ULONG kind, ULONG sharing,
                                  ULONG disposition, ULONG options, PVOID ea, ULONG ea_size)
{
    const struct site site = SITE("ZwCreateFile");

    irql_rule_of(&site);
    return kept(
        &site, handle,
        ZwCreateFile(handle, access, attributes, result, size, kind, sharing, disposition, options, ea, ea_size));
}

static NTSTATUS NTAPI open_key(PHANDLE handle, ACCESS_MASK access, POBJECT_ATTRIBUTES attributes)
{
    const struct site site = SITE("ZwOpenKey");

    irql_rule_of(&site);
    return kept(&site, handle, ZwOpenKey(handle, access, attributes));
}

static NTSTATUS NTAPI create_key(PHANDLE handle, ACCESS_MASK access, POBJECT_ATTRIBUTES attributes, ULONG index,
                                 PUNICODE_STRING kind, ULONG options, PULONG disposition)
{
    const struct site site = SITE("ZwCreateKey");

    irql_rule_of(&site);
    return kept(&site, handle, ZwCreateKey(handle, access, attributes, index, kind, options, disposition));
}

static NTSTATUS NTAPI close_handle(HANDLE handle)
{
    const struct site site = SITE("ZwClose");

    irql_rule_of(&site);
    handle_closed(handle);
    return ZwClose(handle);
}

const struct replacement handle_replacements[] = {
    {"PsCreateSystemThread", create_thread},
    {"ZwClose", close_handle},
    {"ZwCreateFile", create_file},
    {"ZwCreateKey", create_key},
    {"ZwOpenKey", open_key},
    {NULL, NULL},
};

#endif
