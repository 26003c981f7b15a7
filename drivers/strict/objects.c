/* Objects of the kernel that live in a driver's memory: while one is in use, neither its memory nor the driver may go. */
#include "strict.h"

enum { OBJECTS = 512 };

static const struct {
    const char *name;
    ULONG code;
    ULONG_PTR detail;
} kinds[OBJECT_KINDS] = {
    [OBJECT_TIMER] = {"a timer that is set", 0xC7, 0},
    [OBJECT_DPC] = {"a DPC that is queued", 0xC7, 1},
    [OBJECT_LOOKASIDE] = {"a lookaside list that is not deleted", CHECK_VERIFIER, 0xCC},
};

static struct {
    struct lock lock;
    struct {
        const void *at;
        enum object_kind kind;
        const void *image; /* the code that is to be called, or that has made it */
        const void *until; /* the DPC after whose call it is in use no more */
    } used[OBJECTS];
    ULONG count;
} objects;

void object_used(enum object_kind kind, const void *at, const void *image, const void *until)
{
    lock_acquire(&objects.lock);
    for (ULONG i = 0; i <= objects.count && i < OBJECTS; i++)
        if (i == objects.count || (objects.used[i].at == at && objects.used[i].kind == kind)) {
            objects.count += i == objects.count;
            objects.used[i].at = at;
            objects.used[i].kind = kind;
            objects.used[i].image = image;
            objects.used[i].until = until;
            break;
        }
    lock_release(&objects.lock);
}

bool object_unused(enum object_kind kind, const void *at)
{
    bool found = false;

    lock_acquire(&objects.lock);
    for (ULONG i = 0; i < objects.count && !found; i++)
        if (objects.used[i].at == at && objects.used[i].kind == kind) {
            objects.used[i] = objects.used[--objects.count];
            found = true;
        }
    lock_release(&objects.lock);
    return found;
}

void objects_fired(const void *dpc)
{
    lock_acquire(&objects.lock);
    for (ULONG i = 0; i < objects.count; i++)
        if (objects.used[i].until == dpc) {
            objects.used[i] = objects.used[--objects.count];
            break;
        }
    lock_release(&objects.lock);
}

void objects_check_block(const struct site *site, const void *from, SIZE_T size)
{
    enum object_kind kind = OBJECT_KINDS;
    const void *at = NULL;

    lock_acquire(&objects.lock);
    for (ULONG i = 0; i < objects.count; i++)
        if ((ULONG_PTR)objects.used[i].at - (ULONG_PTR)from < size) {
            kind = objects.used[i].kind;
            at = objects.used[i].at;
        }
    lock_release(&objects.lock);
    if (kind != OBJECT_KINDS)
        STOP(site, kinds[kind].code, kinds[kind].detail, at, from, size, "frees a block in which is %s",
             kinds[kind].name);
}

void objects_check_image(const void *base, ULONG size)
{
    enum object_kind kind = OBJECT_KINDS;
    const void *at = NULL, *code = NULL;

    lock_acquire(&objects.lock);
    for (ULONG i = 0; i < objects.count; i++)
        if ((ULONG_PTR)objects.used[i].image - (ULONG_PTR)base < size ||
            (ULONG_PTR)objects.used[i].at - (ULONG_PTR)base < size) {
            kind = objects.used[i].kind;
            at = objects.used[i].at;
            code = objects.used[i].image;
        }
    lock_release(&objects.lock);
    if (kind != OBJECT_KINDS)
        STOP(&((const struct site){"DriverUnload", code}), 0xCE, code, at, 0, 0, "leaves %s", kinds[kind].name);
}
