/* The rules of the strict mode as a Linux program: `strict_test CASE` runs one, `list` names them. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include "strict.h"

#undef NDEBUG
#include <assert.h>

static jmp_buf stopped;
static ULONG code;
static ULONG_PTR detail;
static char said[1024];

_Noreturn void strict_stopped(ULONG bugcheck, const ULONG_PTR parameters[4], const char *line)
{
    code = bugcheck;
    detail = parameters[0];
    snprintf(said, sizeof said, "%s", line);
    longjmp(stopped, 1);
}

static void silent(const char *text)
{
    (void)text;
}

/* Whether `call` is a stop with this code, first parameter and words; the thread's IRQL is PASSIVE_LEVEL again then. */
#define STOPS(call, bugcheck, first, words)                                                                            \
    do {                                                                                                               \
        code = 0;                                                                                                      \
        if (!setjmp(stopped)) {                                                                                        \
            call;                                                                                                      \
        }                                                                                                              \
        if (code != (bugcheck) || detail != (first) || !strstr(said, words)) {                                         \
            fprintf(stderr, "%s:%d: %s: got %x, %zx: %s\n", __FILE__, __LINE__, #call, (unsigned)code, (size_t)detail, \
                    said);                                                                                             \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static KSPIN_LOCK first, second, third; /* not on a stack */
static const struct site here = {"TheRoutine", NULL};

static void irql_moves_in_the_right_direction(void)
{
    assert(irql_now() == PASSIVE_LEVEL);
    assert(irql_raise(&here, DISPATCH_LEVEL) == PASSIVE_LEVEL);
    assert(irql_raise(&here, DISPATCH_LEVEL) == DISPATCH_LEVEL);
    irql_lower(&here, PASSIVE_LEVEL);
    STOPS(irql_lower(&here, APC_LEVEL), 0xC4, 0x31, "lowers the IRQL from 0 to 1");
    irql_set(DISPATCH_LEVEL);
    STOPS(irql_raise(&here, APC_LEVEL), 0xC4, 0x30, "raises the IRQL from 2 to 1");
}

static void spin_lock_raises_and_lowers(void)
{
    KSPIN_LOCK lock = 0;
    KIRQL before = spin_acquire(&here, &lock, SPIN_ORDINARY, true);

    assert(before == PASSIVE_LEVEL && irql_now() == DISPATCH_LEVEL && spin_held() == 1);
    assert(spin_held_in(&lock, sizeof lock) && !spin_held_in(&lock + 1, sizeof lock));
    spin_release(&here, &lock, SPIN_ORDINARY, true, before);
    assert(irql_now() == PASSIVE_LEVEL && !spin_held() && !lock);
}

static void spin_lock_taken_twice(void)
{
    KSPIN_LOCK lock = 0;

    (void)spin_acquire(&here, &lock, SPIN_ORDINARY, true);
    STOPS((void)spin_acquire(&here, &lock, SPIN_ORDINARY, true), 0x0F, (ULONG_PTR)&lock, "holds already");
}

static void spin_lock_not_held(void)
{
    KSPIN_LOCK lock = 0;

    STOPS(spin_release(&here, &lock, SPIN_ORDINARY, true, 0), 0x10, (ULONG_PTR)&lock, "that is not held");
}

static void spin_lock_below_dispatch(void)
{
    KSPIN_LOCK lock = 0;

    STOPS((void)spin_acquire(&here, &lock, SPIN_ORDINARY, false), 0xC4, 0x40, "takes a spin lock at PASSIVE_LEVEL");
    (void)spin_acquire(&here, &lock, SPIN_ORDINARY, true);
    irql_set(PASSIVE_LEVEL);
    STOPS(spin_release(&here, &lock, SPIN_ORDINARY, true, 0), 0xC4, 0x32, "releases a spin lock at PASSIVE_LEVEL");
}

static void spin_lock_of_two_kinds(void)
{
    KSPIN_LOCK lock = 0;

    (void)spin_acquire(&here, &lock, SPIN_QUEUED, true);
    STOPS(spin_release(&here, &lock, SPIN_ORDINARY, true, 0), 0xC4, 0x1009, "releases as ordinary");
}

static void irql_lowered_under_a_lock(void)
{
    KSPIN_LOCK lock = 0;

    (void)spin_acquire(&here, &lock, SPIN_ORDINARY, true);
    STOPS(irql_lower(&here, PASSIVE_LEVEL), 0xC4, 0x31, "with a spin lock held");
}

static void waits(void)
{
    LARGE_INTEGER none = {.QuadPart = 0}, some = {.QuadPart = -1};

    wait_check(&here, &none, NULL);
    irql_set(DISPATCH_LEVEL);
    wait_check(&here, &none, &none);
    STOPS(wait_check(&here, &none, NULL), 0xC4, 0x121, "without a limit");
    STOPS(wait_check(&here, &none, &some), 0xC4, 0x122, "not zero");
    irql_set(DISPATCH_LEVEL + 1);
    STOPS(wait_check(&here, &none, &none), 0xC4, 0x120, "waits at IRQL 3");
}

static void object_in_paged_pool(void)
{
    bool exhausted;
    void *paged = pool_allocate(&here, true, 64, 'abcd', &exhausted), *other;

    STOPS(resident_check(&here, paged), 0xC4, 0xE1, "in paged pool");
    other = pool_allocate(&here, false, 64, 'abcd', &exhausted);
    resident_check(&here, other);
    resident_check(&here, &first);
}

static void event_set_with_wait(void)
{
    irql_set(DISPATCH_LEVEL);
    set_event_check(&here, &here, FALSE);
    STOPS(set_event_check(&here, &here, TRUE), 0xC4, 0x80, "with Wait");
}

static void event_set_with_wait_and_a_wait(void)
{
    const LARGE_INTEGER second = {.QuadPart = -10000000};

    strict_turn_on(STRICT_IRQL);
    set_event_check(&here, &here, TRUE);
    wait_check(&here, &here, &second);
    assert(irql_now() == PASSIVE_LEVEL);
    irql_set(APC_LEVEL);
    set_event_check(&here, &here, TRUE);
    assert(irql_now() == DISPATCH_LEVEL); /* where a callback must not return */
    wait_check(&here, &here, NULL);
    assert(irql_now() == APC_LEVEL);
    irql_rule_check(irql_rule_find("KeSetTimer"), NULL);
}

static void event_set_with_wait_and_no_wait(void)
{
    strict_turn_on(STRICT_IRQL);
    set_event_check(&here, &here, TRUE);
    STOPS(irql_rule_check(irql_rule_find("KeSetTimer"), NULL), 0xC8, (ULONG_PTR)DISPATCH_LEVEL << 16,
          "call=KeSetTimer");
    STOPS(set_event_check(&here, &here, FALSE), 0xC8, (ULONG_PTR)DISPATCH_LEVEL << 16, "only a wait may come next");
    STOPS(spin_acquire(&here, &first, SPIN_ORDINARY, true), 0xC8, (ULONG_PTR)DISPATCH_LEVEL << 16, "only a wait");
}

static void handles_of_a_driver(void)
{
    const struct site mine = {"ZwOpenKey", (const void *)0x1010}, others = {"ZwOpenKey", (const void *)0x3010};
    struct site opened;

    handle_opened(&mine, (HANDLE)4);
    assert(!handles_left((const void *)0x1000, 0x100, &opened)); /* not looked at: memory is not checked */
    strict_turn_on(STRICT_MEMORY);
    handle_opened(&mine, (HANDLE)4);
    handle_opened(&mine, (HANDLE)8);
    handle_opened(&others, (HANDLE)12);
    handle_closed((HANDLE)4);
    handle_closed((HANDLE)16);
    assert(handles_left((const void *)0x1000, 0x100, &opened) == 1 && opened.caller == mine.caller);
    assert(handles_left((const void *)0x1000, 0x100, &opened) == 0);
    assert(handles_left((const void *)0x3000, 0x100, &opened) == 1 && opened.caller == others.caller);
}

static void routines_by_irql(void)
{
    const struct irql_rule *rule = irql_rule_find("ZwClose");

    assert(rule && !irql_rule_find("NoSuchRoutine"));
    irql_rule_check(rule, NULL);
    irql_set(APC_LEVEL);
    STOPS(irql_rule_check(rule, NULL), 0xC4, 0x2001F, "call=ZwClose");
    irql_rule_check(irql_rule_find("IoCreateDevice"), NULL);
    irql_set(DISPATCH_LEVEL);
    irql_rule_check(irql_rule_find("KeSetTimer"), NULL);
    STOPS(irql_rule_check(irql_rule_find("IoCreateDevice"), NULL), 0xC4, 0x20009, "at most at APC_LEVEL");
}

static UCHAR *block_of(SIZE_T size)
{
    bool exhausted;
    UCHAR *block = pool_allocate(&here, false, size, 'abcd', &exhausted);

    assert(block && !exhausted && (ULONG_PTR)block % 16 == 0);
    return block;
}

static void pool_is_filled_and_ends_at_its_page(void)
{
    for (SIZE_T size = 1; size < 10000; size += 977) {
        UCHAR *block = block_of(size);

        for (SIZE_T at = 0; at < size; at++)
            assert(block[at] == 0xCD);
        assert(((ULONG_PTR)block + (size + 15) / 16 * 16) % 4096 == 0);
        assert(pool_owns(block) && pool_owns(block + size - 1));
        memset(block, 0, size);
        assert(pool_free(&here, block, 'abcd'));
    }
    assert(!pool_owns(&here) && !pool_free(&here, said, 'abcd'));
}

static void pool_written_beyond_its_end(void)
{
    UCHAR *block = block_of(100);

    block[100] = 0;
    STOPS((void)pool_free(&here, block, 'abcd'), 0xC1, (ULONG_PTR)block, "written beyond its end");
}

static void pool_written_before_its_start(void)
{
    UCHAR *block = block_of(100);

    block[-1] = 0;
    STOPS((void)pool_free(&here, block, 'abcd'), 0xC1, (ULONG_PTR)block, "written before its start");
}

static void pool_freed_wrongly(void)
{
    UCHAR *block = block_of(100);

    STOPS((void)pool_free(&here, block + 16, 'abcd'), 0xC4, 0x16, "inside a block");
    STOPS((void)pool_free(&here, block, 'dcba'), 0xC2, 0x0A, "another tag");
    assert(pool_free(&here, block, 'abcd'));
    STOPS((void)pool_free(&here, block, 'abcd'), 0xC4, 0x13, "twice");
}

static void pool_with_a_held_lock(void)
{
    UCHAR *block = block_of(64);
    PKSPIN_LOCK lock = (PKSPIN_LOCK)(block + 8);

    *lock = 0;
    (void)spin_acquire(&here, lock, SPIN_ORDINARY, true);
    STOPS((void)pool_free(&here, block, 'abcd'), 0xC4, 0x100B, "spin lock in it that is held");
}

static void pool_asked_wrongly(void)
{
    bool exhausted;

    STOPS((void)pool_allocate(&here, false, 0, 'abcd', &exhausted), 0xC4, 0, "no bytes");
    STOPS((void)pool_allocate(&here, false, 1, 0, &exhausted), 0xC2, 0x9B, "without a tag");
    irql_set(DISPATCH_LEVEL);
    assert(pool_allocate(&here, false, 1, 'abcd', &exhausted));
    STOPS((void)pool_allocate(&here, true, 1, 'abcd', &exhausted), 0xC4, 1, "allocates paged pool at DISPATCH_LEVEL");
}

static void pool_faults(void)
{
    UCHAR *block = block_of(16);

    pool_fault(said, NULL, true, true); /* none of the pool's: whatever Wine says of it */
    STOPS(pool_fault(block + 16, NULL, true, true), 0xD6, (ULONG_PTR)block + 16,
          "beyond the end of a block of 16 bytes");
    STOPS(pool_fault(block + 16, NULL, false, false), 0xCD, (ULONG_PTR)block + 16, "beyond the end");
    assert(pool_free(&here, block, 'abcd'));
    STOPS(pool_fault(block + 3, NULL, false, true), 0xD5, (ULONG_PTR)block + 3, "was freed");
}

static void pool_leaks(void)
{
    static const char image[64];
    const struct site inside = {"ExAllocatePoolWithTag", image + 5};
    bool exhausted;
    void *block = pool_allocate(&inside, false, 24, 'kaeL', &exhausted);

    STOPS(pool_check_leaks(image, sizeof image, "driver"), 0xC4, 0x62, "1 blocks, 24 bytes");
    assert(pool_free(&here, block, 'kaeL'));
    pool_check_leaks(image, sizeof image, "driver");
}

static void mdl_life(void)
{
    UCHAR *block = block_of(5000);
    PMDL mdl = mdl_allocate(&here, block + 3, 4000);

    assert(mdl && MmGetMdlVirtualAddress(mdl) == (PVOID)(block + 3) && MmGetMdlByteCount(mdl) == 4000);
    STOPS((void)mdl_map(&here, mdl), 0xC4, 0x140, "neither built nor locked");
    STOPS(mdl_check_chain(&here, mdl), 0xC4, 0x140, "is given an MDL");
    STOPS(mdl_unlock(&here, mdl), 0xC4, 0x7C, "not locked");
    mdl_build(&here, mdl);
    mdl_check_chain(&here, mdl);
    assert(mdl_map(&here, mdl) == block + 3);
    STOPS(mdl_build(&here, mdl), 0xC4, 0x140, "already");
    STOPS(mdl_unlock(&here, mdl), 0xC4, 0x7D, "nonpaged");
    mdl_free(&here, mdl);
    STOPS(mdl_free(&here, mdl), 0xC4, 0x13, "twice");
}

static void mdl_locked(void)
{
    UCHAR *block = block_of(100);
    PMDL mdl = mdl_allocate(&here, block, 100);

    mdl_lock(&here, mdl);
    STOPS(mdl_lock(&here, mdl), 0xC4, 0xB0, "twice");
    STOPS(mdl_free(&here, mdl), 0xCB, 0, "whose pages are locked");
    mdl_unlock(&here, mdl);
    mdl_free(&here, mdl);
}

static void mdl_of_wrong_memory(void)
{
    UCHAR stack[16];
    bool exhausted;

    STOPS(mdl_build(&here, mdl_allocate(&here, stack, sizeof stack)), 0xC4, 0x140, "of the thread's stack");
    STOPS(mdl_build(&here, mdl_allocate(&here, pool_allocate(&here, true, 64, 'abcd', &exhausted), 64)), 0xC4, 0x7F,
          "of paged pool");
}

static void command_line(void)
{
    assert(strict_parse_checks("quiet console=ttyS2") == 0);
    assert(strict_parse_checks("quiet wsklab.strictly=irql") == 0);
    assert(strict_parse_checks("wsklab.strict") == (STRICT_IRQL | STRICT_MEMORY | STRICT_WITNESS));
    assert(strict_parse_checks("quiet wsklab.strict=irql,memory panic=-1\n") == (STRICT_IRQL | STRICT_MEMORY));
    assert(strict_parse_checks("wsklab.strict=memory") == STRICT_MEMORY);
    assert(strict_parse_checks("wsklab.strict=irql,witness") == (STRICT_IRQL | STRICT_WITNESS));
    assert(strict_parse_checks("wsklab.strict=memories,irq") == 0);
}

static void settings_and_draws(void)
{
    struct strict_settings settings = {.irql = IRQL_PASSIVE, .seed = 5};
    ULONG drawn = 0;

    strict_parse_settings("", &settings);
    assert(settings.irql == IRQL_PASSIVE && settings.seed == 5 && !strict_draw(&settings, 1, 2, 3));
    strict_parse_settings("irql=dispatch\n", &settings);
    assert(settings.irql == IRQL_DISPATCH && strict_draw(&settings, 1, 2, 3));
    strict_parse_settings("irql=mixed seed=77\n", &settings);
    assert(settings.irql == IRQL_MIXED && settings.seed == 77 && !settings.quiet);
    strict_parse_settings("irql=mixed seed=77 witness=off\n", &settings);
    assert(settings.quiet && settings.seed == 77);
    strict_parse_settings("irql=mixed seed=77\n", &settings);
    assert(!settings.quiet);
    for (ULONG count = 0; count < 1000; count++) {
        assert(strict_draw(&settings, 1, 2, count) == strict_draw(&settings, 1, 2, count));
        drawn += strict_draw(&settings, 1, 2, count);
    }
    assert(drawn > 400 && drawn < 600);
}

static void scarcity_settings(void)
{
    struct strict_settings settings = {.irql = IRQL_PASSIVE};

    strict_parse_settings("irql=mixed seed=7 fail=12 of=my.sys provider=late\n", &settings);
    assert(settings.fail == 12 && strcmp(settings.of, "my.sys") == 0 && settings.provider == PROVIDER_LATE);
    strict_parse_settings("irql=mixed seed=7\n", &settings);
    assert(!settings.fail && !settings.of[0] && settings.provider == PROVIDER_READY);
}

static NTSTATUS NTAPI keep(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
    (void)device, (void)irp;
    ++*(int *)context;
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static NTSTATUS NTAPI let_go(PDEVICE_OBJECT device, PIRP irp, PVOID context)
{
    (void)device, (void)irp, (void)context;
    return STATUS_SUCCESS;
}

static void irp_life(void)
{
    PIRP irp = irp_allocate(&here, 1);
    MDL mdl = {.ByteCount = 4};
    int called = 0;

    strict_turn_on(STRICT_MEMORY);
    assert(irp && irp_is_ours(irp) && irp->CurrentLocation == 2 && irp->StackCount == 1);
    irp->MdlAddress = &mdl; /* which is the driver's, and stays */
    IoSetCompletionRoutine(irp, keep, &called, TRUE, TRUE, TRUE);
    irp_with_wsk(irp, true);
    STOPS((void)irp_free(&here, irp), 0xC9, 0x20A, "WSK has not completed");
    STOPS(irp_reuse_check(&here, irp), 0xC9, 0x310, "for another use");
    irp_with_wsk(irp, false);
    IoSetNextIrpStackLocation(irp);
    irp_complete(&here, irp);
    assert(called == 1);
    irp_reuse_check(&here, irp);
    assert(irp_free(&here, irp) && mdl.ByteCount == 4);
    STOPS((void)irp_free(&here, irp), 0xC4, 0x13, "twice");
    assert(!irp_free(&here, (PIRP)(void *)&mdl));
}

static void irp_not_kept_by_its_routine(void)
{
    PIRP irp = irp_allocate(&here, 1);

    IoSetCompletionRoutine(irp, let_go, NULL, TRUE, TRUE, TRUE);
    IoSetNextIrpStackLocation(irp);
    STOPS(irp_complete(&here, irp), 0xC9, 0x02, "of the driver's own");
}

/* Returns what `run` returned, in another thread. */
static void *elsewhere(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    void *result;

    assert(!pthread_create(&thread, NULL, run, argument));
    assert(!pthread_join(thread, &result));
    return result;
}

static void take_both(PKSPIN_LOCK one, PKSPIN_LOCK other)
{
    (void)spin_acquire(&here, one, SPIN_ORDINARY, true);
    (void)spin_acquire(&here, other, SPIN_ORDINARY, true);
    spin_release(&here, other, SPIN_ORDINARY, true, DISPATCH_LEVEL);
    spin_release(&here, one, SPIN_ORDINARY, true, PASSIVE_LEVEL);
}

static void *take_first_and_second(void *unused)
{
    take_both(&first, &second);
    return unused;
}

static void locks_in_two_orders(void)
{
    (void)elsewhere(take_first_and_second, NULL);
    take_both(&first, &second);
    (void)spin_acquire(&here, &second, SPIN_ORDINARY, true);
    STOPS((void)spin_acquire(&here, &first, SPIN_ORDINARY, true), 0xC4, 0x1001, "two threads would wait");
}

static void locks_in_a_circle_of_three(void)
{
    take_both(&first, &second);
    take_both(&second, &third);
    take_both(&first, &third);
    (void)spin_acquire(&here, &third, SPIN_ORDINARY, true);
    STOPS((void)spin_acquire(&here, &first, SPIN_ORDINARY, true), 0xC4, 0x1001, "behind it");
}

static void locks_that_are_others_by_now(void)
{
    UCHAR *block = block_of(64);
    PKSPIN_LOCK one = (PKSPIN_LOCK)block, other = one + 1;

    RtlZeroMemory(block, 64);
    take_both(one, other);
    order_forget(block, 64);
    take_both(other, one);
    assert(pool_free(&here, block, 'abcd'));
}

static KMUTEX mutex;

static void *take_mutex(void *unused)
{
    LARGE_INTEGER soon = {.QuadPart = -10000};

    (void)unused;
    return (void *)(LONG_PTR)mutex_wait(&here, &mutex, &soon);
}

static void *release_mutex(void *unused)
{
    STOPS((void)mutex_release(&here, &mutex), 0xC4, 0x1004, "of another thread");
    return unused;
}

static void *take_and_end(void *unused)
{
    assert(mutex_wait(&here, &mutex, NULL) == STATUS_SUCCESS);
    STOPS(mutex_check_none(&here), 0xC4, 0x100A, "holds a mutex");
    (void)mutex_release(&here, &mutex);
    mutex_check_none(&here);
    return unused;
}

static void *take_and_release(void *unused)
{
    assert(mutex_wait(&here, &mutex, NULL) == STATUS_SUCCESS && mutex_release(&here, &mutex) == 0);
    return unused;
}

static void mutex_contended(void)
{
    pthread_t thread;

    mutex_initialize(&mutex);
    assert(mutex_is(&mutex) && mutex.Header.SignalState == 1);
    assert(mutex_wait(&here, &mutex, NULL) == STATUS_SUCCESS && mutex.Header.SignalState == 0);
    assert(mutex_wait(&here, &mutex, NULL) == STATUS_SUCCESS); /* its owner may */
    assert((LONG_PTR)elsewhere(take_mutex, NULL) == STATUS_TIMEOUT);
    assert(!pthread_create(&thread, NULL, take_and_release, NULL));
    assert(mutex_release(&here, &mutex) == -1 && mutex_release(&here, &mutex) == 0);
    assert(!pthread_join(thread, NULL) && mutex.Header.SignalState == 1);
}

static void mutex_released_wrongly(void)
{
    mutex_initialize(&mutex);
    STOPS((void)mutex_release(&here, &mutex), 0xC4, 0x1007, "that is not held");
    assert(mutex_wait(&here, &mutex, NULL) == STATUS_SUCCESS);
    (void)elsewhere(release_mutex, NULL);
    (void)mutex_release(&here, &mutex);
    (void)elsewhere(take_and_end, NULL);
}

static void mutexes_in_two_orders(void)
{
    static KMUTEX other;

    mutex_initialize(&mutex);
    mutex_initialize(&other);
    assert(mutex_wait(&here, &mutex, NULL) == STATUS_SUCCESS && mutex_wait(&here, &other, NULL) == STATUS_SUCCESS);
    (void)mutex_release(&here, &other);
    (void)mutex_release(&here, &mutex);
    assert(mutex_wait(&here, &other, NULL) == STATUS_SUCCESS);
    STOPS((void)mutex_wait(&here, &mutex, NULL), 0xC4, 0x1001, "elsewhere is taken behind it");
}

static void NTAPI at_dispatch(PKDPC dpc, PVOID context, PVOID one, PVOID two)
{
    (void)dpc;
    if (irql_now() == DISPATCH_LEVEL && one == &first && two == &second)
        __atomic_add_fetch((int *)context, 1, __ATOMIC_SEQ_CST);
}

static void dpcs_run_at_dispatch_level(void)
{
    static KDPC dpc;
    int ran = 0;

    dpc_initialize(&dpc, at_dispatch, &ran);
    for (int i = 1; i <= 20; i++) {
        assert(dpc_insert(&dpc, &first, &second));
        dpc_flush();
        assert(__atomic_load_n(&ran, __ATOMIC_SEQ_CST) == i);
    }
    assert(!dpc_remove(&dpc) && irql_now() == PASSIVE_LEVEL);
}

static void NTAPI keeps_irql(PKDPC dpc, PVOID context, PVOID one, PVOID two)
{
    (void)dpc, (void)context, (void)one, (void)two;
    irql_set(PASSIVE_LEVEL);
}

static void dpc_returns_at_another_level(void)
{
    KDPC dpc;

    dpc_initialize(&dpc, keeps_irql, NULL);
    STOPS(dpc.DeferredRoutine(&dpc, NULL, NULL, NULL), 0xC8, DISPATCH_LEVEL << 8, "returns at IRQL 0");
}

static void objects_in_a_block_that_goes(void)
{
    static const char image[64];
    UCHAR *block = block_of(64);

    object_used(OBJECT_TIMER, block + 8, image + 3, &first);
    STOPS((void)pool_free(&here, block, 'abcd'), 0xC7, 0, "a timer that is set");
    STOPS(objects_check_image(image, sizeof image), 0xCE, (ULONG_PTR)image + 3, "leaves a timer");
    objects_fired(&first);
    object_used(OBJECT_DPC, block + 8, image, NULL);
    STOPS((void)pool_free(&here, block, 'abcd'), 0xC7, 1, "a DPC that is queued");
    assert(object_unused(OBJECT_DPC, block + 8) && !object_unused(OBJECT_DPC, block + 8));
    object_used(OBJECT_LOOKASIDE, block, image, NULL);
    STOPS((void)pool_free(&here, block, 'abcd'), 0xC4, 0xCC, "a lookaside list");
    assert(object_unused(OBJECT_LOOKASIDE, block));
    assert(pool_free(&here, block, 'abcd'));
    objects_check_image(image, sizeof image);
}

__attribute__((noinline)) static void go_deep(ULONG bytes)
{
    volatile UCHAR frame[2048];

    frame[0] = (UCHAR)bytes;
    stack_check(&here);
    if (bytes > sizeof frame)
        go_deep(bytes - (ULONG)sizeof frame);
    frame[1] = frame[0];
}

static void stack_of_24_kilobytes(void)
{
    bool begun;

    strict_turn_on(STRICT_MEMORY);
    go_deep(60000); /* nobody knows where it began */
    begun = stack_begin();
    assert(begun && !stack_begin());
    go_deep(4096);
    STOPS(go_deep(60000), 0x7F, 8, "a kernel stack has 24 KB");
    stack_end(begun);
    go_deep(60000);
}

static void cr8_instructions(void)
{
    static const UCHAR read_rax[] = {0x44, 0x0f, 0x20, 0xc0}, write_rax[] = {0x44, 0x0f, 0x22, 0xc0};
    static const UCHAR read_r9[] = {0x45, 0x0f, 0x20, 0xc1}, read_cr0[] = {0x40, 0x0f, 0x20, 0xc0};
    static const UCHAR move[] = {0x48, 0x89, 0xc8, 0x90};
    ULONG reg;
    bool write;

    assert(faults_decode_cr8(read_rax, &reg, &write) == 4 && reg == 0 && !write);
    assert(faults_decode_cr8(write_rax, &reg, &write) == 4 && reg == 0 && write);
    assert(faults_decode_cr8(read_r9, &reg, &write) == 4 && reg == 9 && !write);
    assert(!faults_decode_cr8(read_cr0, &reg, &write) && !faults_decode_cr8(move, &reg, &write));
}

static void a_stop_names_the_caller(void)
{
    static const WCHAR name[] = L"my.sys";
    static const char image[64];
    const struct site inside = {"ZwClose", image + 0x21};

    strict_image_loaded(name, sizeof name - sizeof *name, image, sizeof image);
    STOPS(STOP(&inside, 0xC4, 0x2001F, 0, 0, 0, "because"), 0xC4, 0x2001F, "at=my.sys+0x21 stack= why=because");
    strict_image_gone(image);
    STOPS(STOP(&inside, 0xC4, 1, 2, 3, 4, "because"), 0xC4, 1,
          "p=000000001,000000002,000000003,000000004 irql=0 call=ZwClose at= stack=");
}

#define CASE(name) {#name, name}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    CASE(irql_moves_in_the_right_direction),
    CASE(spin_lock_raises_and_lowers),
    CASE(spin_lock_taken_twice),
    CASE(spin_lock_not_held),
    CASE(spin_lock_below_dispatch),
    CASE(spin_lock_of_two_kinds),
    CASE(irql_lowered_under_a_lock),
    CASE(waits),
    CASE(object_in_paged_pool),
    CASE(event_set_with_wait),
    CASE(event_set_with_wait_and_a_wait),
    CASE(event_set_with_wait_and_no_wait),
    CASE(handles_of_a_driver),
    CASE(routines_by_irql),
    CASE(pool_is_filled_and_ends_at_its_page),
    CASE(pool_written_beyond_its_end),
    CASE(pool_written_before_its_start),
    CASE(pool_freed_wrongly),
    CASE(pool_with_a_held_lock),
    CASE(pool_asked_wrongly),
    CASE(pool_faults),
    CASE(pool_leaks),
    CASE(mdl_life),
    CASE(mdl_locked),
    CASE(mdl_of_wrong_memory),
    CASE(command_line),
    CASE(settings_and_draws),
    CASE(scarcity_settings),
    CASE(irp_life),
    CASE(irp_not_kept_by_its_routine),
    CASE(locks_in_two_orders),
    CASE(locks_in_a_circle_of_three),
    CASE(locks_that_are_others_by_now),
    CASE(mutex_contended),
    CASE(mutex_released_wrongly),
    CASE(mutexes_in_two_orders),
    CASE(dpcs_run_at_dispatch_level),
    CASE(dpc_returns_at_another_level),
    CASE(objects_in_a_block_that_goes),
    CASE(stack_of_24_kilobytes),
    CASE(cr8_instructions),
    CASE(a_stop_names_the_caller),
};

int main(int count, char **arguments)
{
    shim_on_debug(silent);
    for (ULONG i = 0; i < RTL_NUMBER_OF(cases); i++) {
        if (count == 2 && strcmp(arguments[1], "list") == 0)
            puts(cases[i].name);
        else if (count == 2 && strcmp(arguments[1], cases[i].name) == 0) {
            cases[i].run();
            return 0;
        }
    }
    return count == 2 && strcmp(arguments[1], "list") == 0 ? 0 : 2;
}
