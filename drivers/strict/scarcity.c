/*
 * Scarcity: one allocation of the driver under test fails, the n-th since the scenario began, and no other.
 *
 * It counts what Driver Verifier's low resources simulation has fail (pool, IRPs, MDLs, their mappings, work items) and, which that
 * has not, system threads and WSK's own functions. Which one it is stands in the settings of the scenario, which are read each time:
 * the driver may allocate before it makes a socket.
 */
#include "strict.h"

static struct {
    struct lock lock;
    ULONG fail, seed; /* the settings that are counted under */
    ULONG count;
} scarcity;

static bool named(const char *image, const char *wanted)
{
    for (; *image && *wanted; image++, wanted++)
        if ((*image | 0x20) != (*wanted | 0x20))
            return false;
    return *image == *wanted;
}

bool scarce_fails(const struct site *site, const void *place)
{
    struct strict_settings now = strict_on(STRICT_MEMORY) ? strict_settings() : (struct strict_settings){.fail = 0};
    char at[64];
    ULONG count;

    if (!now.fail || (now.of[0] && !named(strict_image_name(place), now.of)))
        return false;
    lock_acquire(&scarcity.lock);
    if (now.fail != scarcity.fail || now.seed != scarcity.seed) {
        scarcity.fail = now.fail;
        scarcity.seed = now.seed;
        scarcity.count = 0;
    }
    count = ++scarcity.count;
    lock_release(&scarcity.lock);
    if (count != now.fail)
        return false;
    strict_place(site->caller, at, sizeof at);
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "WSKSCARCE n=%08x call=%s at=%s\n", (unsigned)count,
               site->routine, at);
    return true;
}

#if !defined(WSKLAB_NATIVE)

static PIO_WORKITEM NTAPI allocate_work_item(PDEVICE_OBJECT device)
{
    const struct site site = SITE("IoAllocateWorkItem");

    irql_rule_of(&site);
    return scarce_fails(&site, site.caller) ? NULL : IoAllocateWorkItem(device);
}

const struct replacement scarcity_replacements[] = {
    {"IoAllocateWorkItem", allocate_work_item},
    {NULL, NULL},
};

#endif
