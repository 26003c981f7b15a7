/*
 * Exceptions, before Wine sees them: CR8, which holds the IRQL on x64 and is read and written inline by drivers, and access violations
 * in special pool.
 *
 * Wine's own handler answers 0 for CR8 and ignores what is written. No driver's __except may catch an access violation in special pool:
 * on Windows such a fault is a bugcheck and no exception.
 */
#include "strict.h"

enum { REX = 0x40, REX_R = 0x4, REX_B = 0x1 };

/* 44 0f 20 c0 is mov rax, cr8; 0f 22 instead writes. REX.R makes control register 0 the eighth, REX.B is the register's fourth bit. */
ULONG faults_decode_cr8(const UCHAR *code, ULONG *reg, bool *write)
{
    // cppcheck-suppress ctuArrayIndex
    if ((code[0] & 0xf0) != REX || !(code[0] & REX_R) || code[1] != 0x0f || (code[2] != 0x20 && code[2] != 0x22) ||
        (code[3] & 0xf8) != 0xc0)
        return 0;
    *reg = (ULONG)(code[3] & 7) | ((code[0] & REX_B) ? 8u : 0u);
    *write = code[2] == 0x22;
    return 4;
}

#if defined(WSKLAB_NATIVE)

void faults_start(void)
{
}

void faults_stop(void)
{
}

#else

NTSYSAPI PVOID NTAPI RtlAddVectoredExceptionHandler(ULONG first, LONG(NTAPI *handler)(EXCEPTION_POINTERS *));
NTSYSAPI ULONG NTAPI RtlRemoveVectoredExceptionHandler(PVOID handle);

enum { CONTINUE_EXECUTION = -1, CONTINUE_SEARCH = 0 };

#define ACCESS_VIOLATION 0xC0000005u
#define PRIVILEGED_INSTRUCTION 0xC0000096u

static PVOID handle;

/* The register with this number in an instruction's encoding. */
static ULONGLONG *register_of(CONTEXT *context, ULONG number)
{
    ULONGLONG *const registers[16] = {
        &context->Rax, &context->Rcx, &context->Rdx, &context->Rbx, &context->Rsp, &context->Rbp,
        &context->Rsi, &context->Rdi, &context->R8,  &context->R9,  &context->R10, &context->R11,
        &context->R12, &context->R13, &context->R14, &context->R15,
    };

    return registers[number];
}

static bool emulate(CONTEXT *context)
{
    const struct site site = {"mov cr8", (const void *)context->Rip};
    ULONG number, length;
    bool write;

    length = faults_decode_cr8((const UCHAR *)context->Rip, &number, &write);
    if (!length)
        return false;
    if (!write)
        *register_of(context, number) = irql_now();
    else if (*register_of(context, number) >= irql_now())
        (void)irql_raise(&site, (KIRQL)*register_of(context, number));
    else
        irql_lower(&site, (KIRQL)*register_of(context, number));
    context->Rip += length;
    return true;
}

static LONG NTAPI on_exception(EXCEPTION_POINTERS *exception)
{
    const EXCEPTION_RECORD *record = exception->ExceptionRecord;
    CONTEXT *context = exception->ContextRecord;

    if ((ULONG)record->ExceptionCode == PRIVILEGED_INSTRUCTION && strict_on(STRICT_IRQL) && emulate(context))
        return CONTINUE_EXECUTION;
    if ((ULONG)record->ExceptionCode == ACCESS_VIOLATION && strict_on(STRICT_MEMORY))
        pool_fault((const void *)record->ExceptionInformation[1], (const void *)context->Rip,
                   record->ExceptionInformation[0] == 1, strict_is_driver((const void *)context->Rip));
    return CONTINUE_SEARCH;
}

void faults_start(void)
{
    if (strict_on(STRICT_IRQL | STRICT_MEMORY))
        handle = RtlAddVectoredExceptionHandler(1, on_exception);
}

void faults_stop(void)
{
    if (handle)
        (void)RtlRemoveVectoredExceptionHandler(handle);
}

#endif
