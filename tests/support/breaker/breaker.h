/*
 * breaker: a WSK client of the tests that breaks the rule it is told to. It shares no code with the lab's own driver.
 *
 * It connects to 10.77.0.20:7007, CONNECTIONS times at once. The number of bytes that first come on a connection says what it does wrong there:
 * the number of an entry in `breaches`, counted from 1; a byte of its own answers. Until then, and with a number that is none, it is a correct driver.
 *
 * With FORGETS_WHEN_SHORT its load is wrong where it fails.
 *
 * BREACH(name, says) begins each, and BREACHES has them in their order: `says` is a regular expression, what a reason of the verdict must match (tests/support/breaker.py).
 */
#ifndef BREAKER_H
#define BREAKER_H

#include <wsk.h>

#ifndef CONNECTIONS
#define CONNECTIONS 1
#endif
#define TAG 0x6b617242u /* 'Brak' */
#define POOL ((POOL_TYPE)512) /* NonPagedPoolNx */
#define SECOND (-10000000LL)

/* What mingw-w64's header makes instructions of, and the WDK imports. */
NTSYSAPI KIRQL NTAPI ImportedRaiseToDpc(void) __asm__("KeRaiseIrqlToDpcLevel");
NTSYSAPI VOID NTAPI ImportedLower(KIRQL) __asm__("KeLowerIrql");

typedef struct LINK LINK;

/* What WSK gets as a socket's context: a block of its own, so that it can be wrong without the rest. */
typedef struct {
    LINK *link;
} TICKET;

/* One connection. */
struct LINK {
    PWSK_SOCKET socket;
    TICKET *ticket;
    volatile LONG breach; /* a flag of BREAK_..., for what is wrong later */
    KEVENT done, left;
    PIRP irp;
    UCHAR *data;
    PMDL mdl;
    KSPIN_LOCK lock;
};

enum { IN_EVENT_FAIL = 1, IN_EVENT_IRQL, IN_EVENT_LOCK, NO_CLOSE, SEND_AFTER_CLOSE, DISCONNECT_SECOND };
enum { UNLOAD_RIGHT, UNLOAD_AT_DISPATCH, UNLOAD_REGISTERED, UNLOAD_TWICE };

typedef struct {
    WSK_REGISTRATION registration;
    WSK_PROVIDER_NPI npi;
    KEVENT stop;
    PVOID threads[CONNECTIONS];
    int unload;
    TICKET *freed_ticket;
    LINK *freed_of;
    PIRP kept;
} STATE;

extern STATE Us;

/* What a breach leaves for others: of the image, so that it outlives the block in question. */
typedef struct {
    KSPIN_LOCK lock, other;
    KMUTEX mutex;
    FAST_MUTEX fast;
    KEVENT go, gone;
    KTIMER timer;
    KDPC dpc;
    NPAGED_LOOKASIDE_LIST list;
    volatile LONG taken, finished;
} THINGS;

extern THINGS Things;

/* ---- What a correct client does (client.c) ---- */

PIRP Ready(LINK *link);
NTSTATUS NTAPI Completed(PDEVICE_OBJECT device, PIRP irp, PVOID done);
NTSTATUS Wait(LINK *link);
NTSTATUS WaitOrStop(LINK *link); /* cancelled when the driver is to stop */
const WSK_PROVIDER_CONNECTION_DISPATCH *Of(const LINK *link);
SIZE_T Receive(LINK *link);
void SocketWith(LINK *link, PVOID context);
PVOID Block(POOL_TYPE type, SIZE_T size);
void Free(PVOID block);
KIRQL Dispatch(void);
KIRQL High(void);
void Start(PKSTART_ROUTINE routine); /* a thread that nobody waits for */

extern const WSK_CLIENT_CONNECTION_DISPATCH Events;
extern const WSK_CLIENT_DISPATCH Table;

/* ---- What is done wrong, in the order of its numbers ---- */

#define BREACH(name, says) void name(LINK *link)
#define UNUSED UNREFERENCED_PARAMETER(link)

/* clang-format off */
#define BREACHES(X) \
    X(event_fails) X(event_keeps_irql) X(event_keeps_lock) X(never_closes) X(sends_when_closed) \
    X(context_on_stack) X(context_that_is_freed) X(context_in_paged_pool) X(context_freed_too_soon) \
    X(uses_irp_twice) X(irp_without_routine) X(releases_uncaptured) X(captures_at_dispatch) \
    X(registers_on_stack) X(deregisters_at_dispatch) X(stays_registered) X(registers_at_dispatch) X(frees_table) \
    X(deregisters_twice) X(calls_uncaptured) X(receives_without_irp) X(aborts_with_buffer) X(static_events_late) \
    X(disconnects_unconnected) X(takes_lock_twice) X(releases_free_lock) X(releases_lock_of_another) \
    X(takes_lock_too_high) X(takes_lock_too_low) X(releases_lock_too_high) X(releases_lock_to_irql) \
    X(releases_queued_as_ordinary) X(takes_ordinary_as_queued) X(raises_downwards) X(lowers_upwards) \
    X(lowers_with_lock) X(takes_locks_both_ways) X(releases_free_mutex) X(releases_mutex_of_another) \
    X(releases_fast_mutex_too_low) X(ends_with_mutex) X(dpc_keeps_irql) X(dpc_keeps_lock) X(dpc_waits) \
    X(frees_timer) X(frees_dpc) X(frees_lookaside) X(reads_freed_entry) X(leaves_timer) X(leaves_lookaside) \
    X(event_in_paged_pool) X(digs_deep) X(waits_for_ever) X(waits_a_second) X(waits_too_high) \
    X(sets_event_too_high) X(sets_event_with_wait) X(zw_close) X(create_thread) X(reference_handle) \
    X(delete_link) X(delete_value) X(routine_address) X(compare_string) X(flush_dpcs) X(delete_device) \
    X(delay_thread) X(critical_region) X(fast_mutex) X(probe) X(resource) X(raise_status) X(rundown) \
    X(cancel_timer) X(allocate_irp) X(wsk_receive) X(reads_freed) X(hands_on_freed) X(writes_beyond) \
    X(hands_on_too_short) X(writes_into_slack) X(writes_before) X(frees_twice) X(frees_inside) \
    X(frees_by_other_tag) X(frees_held_lock) X(paged_at_dispatch) X(frees_paged_at_dispatch) \
    X(nonpaged_too_high) X(frees_nonpaged_too_high) X(allocates_nothing) X(allocates_untagged) X(leaks_pool) \
    X(maps_unbuilt) X(sends_unbuilt) X(builds_twice) X(builds_paged) X(builds_stack) X(locks_built) \
    X(unlocks_built) X(unlocks_partial) X(unlocks_unlocked) X(frees_locked_mdl) X(frees_mdl_twice) \
    X(frees_buffer_in_use) X(frees_pending_irp) X(reuses_pending_irp) X(frees_irp_as_pool) X(lets_irp_go) \
    X(waits_not_at_once) X(leaves_handle)
/* clang-format on */

#define DECLARE(name) void name(LINK *link);
BREACHES(DECLARE)
#undef DECLARE

VOID NTAPI HoldMutex(PVOID unused);

#endif
