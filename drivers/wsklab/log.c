/*
 * log.c - debug lines, numbered without gaps, and the ring that keeps them.
 *
 * A line is printed with DbgPrintEx, which may be slow or lossy, and kept in a ring that the lab reads with an
 * ioctl: comparing both finds what the debug line lost. Writers take a number with one interlocked increment
 * and then own the slot of that number, so nothing is locked and any IRQL up to DISPATCH_LEVEL will do.
 */
#include "log.h"

#define RING 16384u   /* slots, a power of two: 4 MiB, minutes of a busy lab */
#define IHVDRIVER 77u /* DPFLTR_IHVDRIVER_ID; at level 0 (error) Windows prints it without any filter setting */
#define TICKS 10000000ull /* per second: units of 100 ns */

typedef struct SLOT {
    volatile LONG seq; /* of the line it holds; 0 while a line is being written */
    USHORT length;
    char text[WSKLAB_LINE - sizeof(LONG) - sizeof(USHORT)];
} SLOT;

static SLOT *ring;
static volatile LONG last_seq;

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

/* The twin's name as the build knows it ("IGNORES_FLAG"); the correct build says "correct". */
const char *log_build(void)
{
    return TWIN(CORRECT) ? "correct" : TEXT(WSKLAB_TWIN);
}

NTSTATUS log_start(void)
{
    ring =
        ExAllocatePoolWithTag(NONPAGED_NX, RING * sizeof(SLOT), WSKLAB_TAG); /* not counted: it is there to the end */
    if (!ring)
        return STATUS_INSUFFICIENT_RESOURCES;
    RtlZeroMemory(ring, RING * sizeof(SLOT));
    return STATUS_SUCCESS;
}

void log_stop(void)
{
    ExFreePoolWithTag(ring, WSKLAB_TAG);
    ring = NULL;
}

static uint64_t now(void)
{
    LARGE_INTEGER frequency;
    uint64_t count = (uint64_t)KeQueryPerformanceCounter(&frequency).QuadPart;
    uint64_t hertz = (uint64_t)frequency.QuadPart;
    return hertz == TICKS ? count : count / hertz * TICKS + count % hertz * TICKS / hertz;
}

static uint32_t append(char *text, uint32_t used, const char *format, va_list arguments)
{
    uint32_t room = sizeof(((SLOT *)0)->text) - 1 - used;
    int written = _vsnprintf(text + used, room, format, arguments);
    used += written < 0 || (uint32_t)written > room ? room : (uint32_t)written; /* cut, never overrun */
    text[used] = 0;
    return used;
}

static uint32_t append_text(char *text, uint32_t used, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    used = append(text, used, format, arguments);
    va_end(arguments);
    return used;
}

void log_line(uint32_t connection, const char *format, ...)
{
    if (TWIN(SILENT))
        return;
    LONG seq = InterlockedIncrement(&last_seq);
    if (TWIN(GAPS) && seq % 7 == 0)
        return;
    SLOT *slot = &ring[(uint32_t)seq % RING];
    InterlockedExchange(&slot->seq, 0);
    uint64_t time = now();
    uint32_t used = append_text(slot->text, 0, "WSKLAB1 seq=%08x t=%08x%08x conn=%u ", (uint32_t)seq,
                                (uint32_t)(time >> 32), (uint32_t)time, connection);
    va_list arguments;
    va_start(arguments, format);
    used = append(slot->text, used, format, arguments);
    va_end(arguments);
    slot->length = (USHORT)used;
    InterlockedExchange(&slot->seq, seq);
    DbgPrintEx(IHVDRIVER, 0, "%s\n", slot->text);
}

uint64_t log_next(void)
{
    return (uint64_t)(uint32_t)last_seq + 1;
}

uint32_t log_capacity(void)
{
    return RING;
}

/*
 * Copies whole lines from `first_seq` on behind the reply's header, as many as fit into `size` bytes.
 * Stops at a line that is still being written; skips and counts those that the ring has lost.
 */
uint32_t log_read(const WSKLAB_RING_REQUEST *request, WSKLAB_RING_REPLY *reply, uint32_t size)
{
    uint64_t end = log_next();
    uint64_t first = request->first_seq ? request->first_seq : 1;
    uint64_t oldest = end > RING ? end - RING : 1;
    uint32_t most = request->max ? request->max : RING;
    char *text = (char *)(reply + 1);
    uint32_t used = sizeof *reply;

    RtlZeroMemory(reply, sizeof *reply);
    if (first < oldest) {
        reply->lost = (uint32_t)(oldest - first);
        first = oldest;
    }
    reply->first_seq = first;
    uint64_t next = first;
    for (; next < end && reply->lines < most; next++) {
        SLOT *slot = &ring[next % RING];
        LONG seq = slot->seq;
        uint32_t length = slot->length;
        if (seq != (LONG)next) {
            if (TWIN(GAPS))
                continue;
            break;
        }
        if (used + length + 1 > size)
            break;
        RtlCopyMemory(text, slot->text, length);
        if (InterlockedCompareExchange(&slot->seq, 0, 0) != seq)
            break; /* overtaken by a writer one round ahead: the next call reports the loss */
        text[length] = '\n';
        text += length + 1;
        used += length + 1;
        reply->lines++;
    }
    reply->next_seq = next;
    return used;
}

void hex_text(char *text, const UCHAR *bytes, uint32_t count)
{
    static const char digits[] = "0123456789abcdef";
    for (uint32_t i = 0; i < count; i++) {
        *text++ = digits[bytes[i] >> 4];
        *text++ = digits[bytes[i] & 15];
    }
    *text = 0;
}

/* At the same place in both families, in network order. */
uint32_t port_of(const ADDRESS *address)
{
    return (uint32_t)address->bytes[2] << 8 | address->bytes[3];
}

/* FNV-1a, 32 bit: start with FNV1A_START, go on with the last result. */
uint32_t fnv1a(uint32_t sum, const UCHAR *bytes, SIZE_T count)
{
    for (SIZE_T i = 0; i < count; i++)
        sum = (sum ^ bytes[i]) * 0x01000193u;
    return sum;
}
