/*
 * The strict mode of the stand-in: the kernel routines that a driver imports, with the rules that Windows has for them.
 *
 * Wine knows no IRQL, no pageable memory, and forgives wrong use of its kernel routines. With `wsklab.strict` on the guest's kernel
 * command line, the entries of a driver's import table lead here (interpose.c), before the driver's first instruction. What breaks a
 * rule is a stop: a line with the code that Windows or Driver Verifier would stop with, and the end of the process that hosts the
 * driver. All of it is simulated: docs/strict.md says what only Windows can tell.
 *
 *   config.c     which checks are on, and what the scenario has asked for
 *   stop.c       the line of a stop: code, caller as module+offset, backtrace
 *   thread.c     where a thread's IRQL is kept
 *   irql.c       each thread's IRQL, raised and lowered
 *   spin.c       spin locks
 *   order.c      the order in which locks are taken
 *   mutex.c      mutexes
 *   dpc.c        DPCs, and timers
 *   stack.c      how deep a kernel stack is
 *   routines.c   routines with nothing but an IRQL: rules.yaml, by way of rules.h
 *   waits.c      waits and events
 *   pages.c      memory from the system, page by page
 *   pool.c       special pool
 *   mdl.c        MDLs: built, locked, freed
 *   irp.c        IRPs: allocated, completed, freed
 *   handles.c    handles, and the threads that one gets with them
 *   lookaside.c  lookaside lists
 *   objects.c    timers, DPCs and lookaside lists in a driver's memory
 *   scarcity.c   the one allocation that fails
 *   faults.c     access violations in it, and CR8
 *   interpose.c  the import tables
 *
 * Nothing in here calls the WSK provider; the provider calls irql.c and config.c for its callbacks.
 */
#ifndef STRICT_H
#define STRICT_H

#include <stdbool.h>

#include "lock.h"
#include "wsk_kernel.h"

#define HIGHEST_LEVEL 15

/* Bugchecks that a rule ends in. Codes and parameters: Microsoft, "Bug check code reference". */
enum {
    CHECK_SPIN_LOCK_ALREADY_OWNED = 0x0F,
    CHECK_SPIN_LOCK_NOT_OWNED = 0x10,
    CHECK_SPECIAL_POOL = 0xC1,    /* SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION */
    CHECK_BAD_POOL_CALLER = 0xC2,
    CHECK_VERIFIER = 0xC4,      /* DRIVER_VERIFIER_DETECTED_VIOLATION */
    CHECK_IRQL_UNEXPECTED = 0xC8, /* IRQL_UNEXPECTED_VALUE */
};

/* Which routine was called, and the instruction behind the call: whom a stop names. */
struct site {
    const char *routine;
    const void *caller;
};

#define SITE(name) ((const struct site){(name), __builtin_return_address(0)})

/* ---- thread.c -------------------------------------------------------------------------------------------------------------------- */

/* What is known of the thread that asks; zeroed when it begins. */
struct thread_word {
    KIRQL irql;
    UCHAR mutexes : 6; /* that it holds, fast ones too */
    UCHAR promised : 2; /* it must wait now, and goes back to this IRQL, less 1 (waits.c); 0: it need not */
    USHORT locks; /* spin locks that it holds */
    ULONG stack; /* where the driver's part of it begins: the low bits of the address; 0: not known */
};

struct thread_word *os_thread_word(void);
bool os_on_stack(const void *address); /* of the thread that asks */

/* ---- config.c --------------------------------------------------------------------------------------------------------------------- */

enum strict_check { STRICT_IRQL = 1, STRICT_MEMORY = 2, STRICT_WITNESS = 4 };
enum irql_mode { IRQL_PASSIVE, IRQL_DISPATCH, IRQL_MIXED };
/* What WskCaptureProviderNPI finds: WSK, WSK after a while, none, one without the version asked for, or WSK once and never again. */
enum provider_mode { PROVIDER_READY, PROVIDER_LATE, PROVIDER_ABSENT, PROVIDER_REFUSES, PROVIDER_LEAVES };

struct strict_settings {
    enum irql_mode irql; /* of callbacks and completion routines */
    ULONG seed; /* what IRQL_MIXED draws from */
    bool quiet; /* too many connections for a line of the witness each */
    ULONG fail; /* the allocation that fails, counted from these settings on; 0: none */
    char of[32]; /* the image whose allocations count; empty: any driver's */
    enum provider_mode provider;
    bool rare; /* WSK does what it may do, but hardly ever does: calls without data, or without a socket */
    bool concurrent; /* completions and WskDisconnectEvent from other threads, late, or in the thread of the call */
    ULONG pend; /* ms for which a WskSend that is done stays pending; 0: not at all */
};

/* The checks named by "wsklab.strict=irql,memory,witness" in a kernel command line; "wsklab.strict" alone names all. */
ULONG strict_parse_checks(const char *command_line);
/* "irql=mixed seed=7 witness=off fail=3 of=my.sys provider=late": mode and seed stay as they are when they are not named. */
void strict_parse_settings(const char *text, struct strict_settings *settings);
/* Whether the `count`th callback of kind `event` on the socket with this number is made at DISPATCH_LEVEL: the same for a seed. */
bool strict_draw(const struct strict_settings *settings, ULONG socket, ULONG event, ULONG count);
/* A number below `below`, drawn from the seed in the same way, and whatever the IRQLs are. */
ULONG strict_pick(const struct strict_settings *settings, ULONG socket, ULONG event, ULONG count, ULONG below);

void strict_start(void); /* reads the kernel's command line */
bool strict_on(ULONG checks); /* any of them */
#if defined(WSKLAB_NATIVE)
void strict_turn_on(ULONG checks); /* instead of those of a kernel's command line */
void strict_settings_from(const char *path); /* instead of the lab's file */
#endif
struct strict_settings strict_settings(void); /* of the scenario that runs now */

/* ---- stop.c ------------------------------------------------------------------------------------------------------------------------- */

_Noreturn void strict_stop(const struct site *site, ULONG code, const ULONG_PTR parameters[4], const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define STOP(site, code, p1, p2, p3, p4, ...)                                                                          \
    strict_stop((site), (code),                                                                                        \
                (const ULONG_PTR[4]){(ULONG_PTR)(p1), (ULONG_PTR)(p2), (ULONG_PTR)(p3), (ULONG_PTR)(p4)}, __VA_ARGS__)
/* An image whose addresses are named; the driver's own. */
void strict_image_loaded(const WCHAR *name, ULONG bytes, const void *base, ULONG size);
void strict_image_gone(const void *base);
bool strict_is_driver(const void *address); /* code of an image that was loaded since */
const char *strict_image_name(const void *address); /* of the image that it lies in; empty: of none */
/* "my.sys+0x12" into `text`; empty when it is no driver's. */
void strict_place(const void *address, char *text, ULONG size);

/* ---- irql.c --------------------------------------------------------------------------------------------------------------------------- */

KIRQL irql_now(void);
const char *irql_name(KIRQL irql);
void irql_set(KIRQL irql); /* no rule is applied */
KIRQL irql_raise(const struct site *site, KIRQL to); /* returns what it was */
void irql_lower(const struct site *site, KIRQL to);

/* ---- spin.c ------------------------------------------------------------------------------------------------------------------------- */

enum spin_kind { SPIN_ORDINARY, SPIN_QUEUED };

/* `raise`: to DISPATCH_LEVEL, from what is returned; otherwise the thread is there already. */
KIRQL spin_acquire(const struct site *site, PKSPIN_LOCK lock, enum spin_kind kind, bool raise);
/* `lower`: to `irql`. */
void spin_release(const struct site *site, PKSPIN_LOCK lock, enum spin_kind kind, bool lower, KIRQL irql);
ULONG spin_held(void); /* by this thread */
bool spin_held_in(const void *from, SIZE_T size); /* whether a lock in this memory is held, by anybody */

/* ---- order.c ------------------------------------------------------------------------------------------------------------------- */

/* Before a wait for the lock: stops if elsewhere it was taken in the other order with one that this thread holds. */
void order_before(const struct site *site, const void *lock);
void order_taken(const void *lock);
void order_released(const void *lock);
void order_forget(const void *from, SIZE_T size); /* what was here are locks no more, or others */

/* ---- mutex.c ------------------------------------------------------------------------------------------------------------------- */

bool mutex_is(const void *object);
void mutex_initialize(PKMUTEX mutex);
NTSTATUS mutex_wait(const struct site *site, PKMUTEX mutex, const LARGE_INTEGER *timeout);
LONG mutex_release(const struct site *site, PKMUTEX mutex); /* by its owner; returns the state before */
void mutex_check_none(const struct site *site);

/* ---- objects.c ----------------------------------------------------------------------------------------------------------------- */

enum object_kind { OBJECT_TIMER, OBJECT_DPC, OBJECT_LOOKASIDE, OBJECT_KINDS };

/* `image`: code of the driver whose it is; `until`: the DPC whose call is its end, or NULL. */
void object_used(enum object_kind kind, const void *at, const void *image, const void *until);
bool object_unused(enum object_kind kind, const void *at); /* false: it was not in use */
void objects_fired(const void *dpc);
void objects_check_block(const struct site *site, const void *from, SIZE_T size);
void objects_check_image(const void *base, ULONG size);

/* ---- dpc.c --------------------------------------------------------------------------------------------------------------------- */

void dpc_initialize(PKDPC dpc, PKDEFERRED_ROUTINE routine, PVOID context);
BOOLEAN dpc_insert(PKDPC dpc, PVOID first, PVOID second); /* FALSE: it is queued already */
BOOLEAN dpc_remove(PKDPC dpc);
void dpc_flush(void);
bool os_post(VOID(NTAPI *routine)(PVOID context), PVOID context); /* to another thread; false: there is none */

/* ---- stack.c ------------------------------------------------------------------------------------------------------------------- */

/* Code of the driver is about to be called; returns whether that is where its part of the stack begins. */
bool stack_begin(void);
void stack_end(bool begun);
void stack_check(const struct site *site);

/* ---- routines.c --------------------------------------------------------------------------------------------------------------------- */

/* A routine whose only rule is the IRQL at which it may be called; see rules.yaml. */
struct irql_rule {
    const char *name;
    KIRQL most;
    ULONG code;
    ULONG_PTR detail; /* the bugcheck's first parameter */
};

const struct irql_rule *irql_rule_find(const char *name);
void irql_rule_check(const struct irql_rule *rule, const void *caller);
void irql_rule_of(const struct site *site); /* the rule of a routine that is replaced for another reason, too */

/* ---- waits.c -------------------------------------------------------------------------------------------------------------------- */

/* An object of the kernel's that the driver initializes must not be pageable. */
void resident_check(const struct site *site, const void *object);
void wait_check(const struct site *site, const void *object, const LARGE_INTEGER *timeout);
void set_event_check(const struct site *site, const void *event, BOOLEAN wait);
void promise_check(const struct site *site); /* that the thread need not wait before it calls this */

/* ---- pages.c -------------------------------------------------------------------------------------------------------------------- */

void *os_pages_reserve(SIZE_T size); /* addresses without access; NULL: none left */
bool os_pages_commit(void *from, SIZE_T size);
void os_pages_decommit(void *from, SIZE_T size);

/* ---- pool.c --------------------------------------------------------------------------------------------------------------------- */

/* NULL with *exhausted: the pool is used up, and the block must come from elsewhere. */
void *pool_allocate(const struct site *site, bool paged, SIZE_T size, ULONG tag, bool *exhausted);
bool pool_free(const struct site *site, void *address, ULONG tag); /* false: it is not of this pool */
bool pool_owns(const void *address);
/* An access violation at `address` by the instruction `at`, of a driver or of the lab's own code. Returns if it is not the pool's. */
void pool_fault(const void *address, const void *at, bool write, bool drivers);
void pool_check_leaks(const void *base, ULONG size, const char *name);

bool pool_is_live(const void *address);
bool pool_is_paged(const void *address);
ULONG pool_tag_of(const void *address); /* 0: not of this pool */
#if !defined(WSKLAB_NATIVE)
PVOID NTAPI pool_routine_allocate(POOL_TYPE type, SIZE_T size, ULONG tag); /* for a lookaside list */
VOID NTAPI pool_routine_free(PVOID block);
#endif

/* ---- scarcity.c ---------------------------------------------------------------------------------------------------------------- */

/* Whether this allocation, of the image in which `place` is, is the one that the scenario wants to fail; it is told then. */
bool scarce_fails(const struct site *site, const void *place);

/* ---- mdl.c ---------------------------------------------------------------------------------------------------------------------- */

PMDL mdl_allocate(const struct site *site, void *address, ULONG length);
void mdl_free(const struct site *site, PMDL mdl);
void mdl_build(const struct site *site, PMDL mdl);
void mdl_lock(const struct site *site, PMDL mdl);
void mdl_unlock(const struct site *site, PMDL mdl);
void *mdl_map(const struct site *site, PMDL mdl);
/* What WSK is given must be built or locked. */
void mdl_check_chain(const struct site *site, PMDL mdl);

/* ---- irp.c ---------------------------------------------------------------------------------------------------------------------- */

PIRP irp_allocate(const struct site *site, CCHAR locations); /* NULL: the pool is used up, or there is to be none */
bool irp_free(const struct site *site, PIRP irp); /* false: it is not of this pool */
void irp_reuse_check(const struct site *site, const IRP *irp);
bool irp_is_ours(const IRP *irp);
/* WSK has it, from the call to the completion: until then it is neither freed nor used again. */
void irp_with_wsk(PIRP irp, bool with);
/* As IoCompleteRequest, for an IRP of this pool: its routines must stop the completion, as there is nobody above the driver. */
void irp_complete(const struct site *site, PIRP irp);

/* ---- handles.c ------------------------------------------------------------------------------------------------------------------ */

void handle_opened(const struct site *site, HANDLE handle);
void handle_closed(HANDLE handle);
/* How many the code of this image has opened and not closed; they are forgotten. `opened`: the call that opened one of them. */
ULONG handles_left(const void *base, ULONG size, struct site *opened);

/* ---- faults.c ------------------------------------------------------------------------------------------------------------------- */

void faults_start(void);
void faults_stop(void);
/* The length of `mov reg, cr8` or `mov cr8, reg` at this place, and which of the 16 registers; 0: another instruction. */
ULONG faults_decode_cr8(const UCHAR *code, ULONG *reg, bool *write);

/* ---- waits.c, spin.c, pool.c: what replaces a routine ------------------------------------------------------------------------------------- */

struct replacement {
    const char *name;
    const void *function;
};

/* NULL when the routine is the kernel's own. */
const void *strict_replacement(const char *name);

extern const struct replacement mdl_replacements[], irp_replacements[], scarcity_replacements[], mutex_replacements[],
    dpc_replacements[], lookaside_replacements[], handle_replacements[];
extern const struct replacement wait_replacements[], spin_replacements[],
    pool_replacements[]; /* each ends with a NULL name */

/* ---- interpose.c ---------------------------------------------------------------------------------------------------------------------- */

/* Gives a driver built with /GS its cookie, whatever checks are on: Wine looks for it before it has relocated the image. */
void image_set_cookie(void *base);
/* An image was loaded: if it is a driver that uses WSK, its imports lead here from now on. */
void strict_interpose(void *base);

#endif
