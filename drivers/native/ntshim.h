/*
 * The few kernel services that the drivers of this project use, on POSIX threads.
 *
 * With it the stand-in provider and the client driver compile and run as ordinary Linux programs, under the address, undefined-behaviour
 * and thread sanitizers. It is no emulation: there is one IRQL (PASSIVE_LEVEL), spin locks are mutexes, and a structure has only
 * the members that are used. Build with -DWSKLAB_NATIVE -fshort-wchar -pthread.
 */
#ifndef WSKLAB_NTSHIM_H
#define WSKLAB_NTSHIM_H

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- Basic types: ULONG is 32 bits, as on 64-bit Windows --------------------------------------------------------------- */

#define NTAPI
#define VOID void
#define CONST const
#define FALSE 0
#define TRUE 1
#define IN
#define OUT
#define OPTIONAL
#define FORCEINLINE static inline __attribute__((always_inline, unused))
#define UNREFERENCED_PARAMETER(x) ((void)(x))

typedef void *PVOID, *HANDLE, *PSECURITY_DESCRIPTOR;
typedef HANDLE *PHANDLE;
typedef char CHAR, CCHAR, *PCHAR, *PSTR;
typedef const char *PCSTR;
typedef signed char SCHAR;
typedef unsigned char UCHAR, BOOLEAN, KIRQL, *PUCHAR, *PBOOLEAN, *PKIRQL;
typedef int16_t SHORT, CSHORT;
typedef uint16_t USHORT, *PUSHORT;
typedef int32_t LONG, NTSTATUS, KPRIORITY, *PLONG, *PNTSTATUS;
typedef int INT;
typedef unsigned int UINT;
typedef uint32_t ULONG, ACCESS_MASK, *PULONG;
typedef int64_t LONGLONG, LONG64, *PLONGLONG;
typedef uint64_t ULONGLONG, ULONG64, *PULONGLONG;
typedef intptr_t LONG_PTR;
typedef uintptr_t ULONG_PTR, KSPIN_LOCK_STORAGE;
typedef size_t SIZE_T, *PSIZE_T;
typedef wchar_t WCHAR, *PWSTR;
typedef const wchar_t *PCWSTR;

typedef union _LARGE_INTEGER {
    struct {
        ULONG LowPart;
        LONG HighPart;
    };
    LONGLONG QuadPart;
} LARGE_INTEGER, *PLARGE_INTEGER;

typedef struct _GUID {
    ULONG Data1;
    USHORT Data2;
    USHORT Data3;
    UCHAR Data4[8];
} GUID;

typedef struct _UNICODE_STRING {
    USHORT Length; /* bytes */
    USHORT MaximumLength;
    PWSTR Buffer;
} UNICODE_STRING, *PUNICODE_STRING;

typedef struct _LIST_ENTRY {
    struct _LIST_ENTRY *Flink, *Blink;
} LIST_ENTRY, *PLIST_ENTRY;

typedef struct _EPROCESS *PEPROCESS;
typedef struct _ETHREAD *PETHREAD;
typedef struct _KTHREAD *PKTHREAD;
typedef struct _FILE_OBJECT *PFILE_OBJECT;
typedef struct _DEVICE_OBJECT *PDEVICE_OBJECT;
typedef struct _OBJECT_TYPE *POBJECT_TYPE;
typedef struct _OBJECT_ATTRIBUTES *POBJECT_ATTRIBUTES;
typedef struct _CLIENT_ID *PCLIENT_ID;

#define CONTAINING_RECORD(address, type, field) ((type *)((char *)(address) - offsetof(type, field)))
#define RTL_NUMBER_OF(array) (sizeof(array) / sizeof((array)[0]))
#define RtlZeroMemory(to, length) memset((to), 0, (length))
#define RtlFillMemory(to, length, byte) memset((to), (byte), (length))
#define RtlCopyMemory(to, from, length) memcpy((to), (from), (length))
#define RtlMoveMemory(to, from, length) memmove((to), (from), (length))

/* ---- Status codes -------------------------------------------------------------------------------------------------------- */

#define NT_SUCCESS(status) ((NTSTATUS)(status) >= 0)
#define STATUS_SUCCESS ((NTSTATUS)0x00000000)
#define STATUS_TIMEOUT ((NTSTATUS)0x00000102)
#define STATUS_PENDING ((NTSTATUS)0x00000103)
#define STATUS_UNSUCCESSFUL ((NTSTATUS)0xC0000001)
#define STATUS_NOT_IMPLEMENTED ((NTSTATUS)0xC0000002)
#define STATUS_INVALID_HANDLE ((NTSTATUS)0xC0000008)
#define STATUS_INVALID_PARAMETER ((NTSTATUS)0xC000000D)
#define STATUS_INVALID_DEVICE_REQUEST ((NTSTATUS)0xC0000010)
#define STATUS_MORE_PROCESSING_REQUIRED ((NTSTATUS)0xC0000016)
#define STATUS_ACCESS_DENIED ((NTSTATUS)0xC0000022)
#define STATUS_BUFFER_TOO_SMALL ((NTSTATUS)0xC0000023)
#define STATUS_OBJECT_NAME_NOT_FOUND ((NTSTATUS)0xC0000034)
#define STATUS_INSUFFICIENT_RESOURCES ((NTSTATUS)0xC000009A)
#define STATUS_NOT_SUPPORTED ((NTSTATUS)0xC00000BB)
#define STATUS_NOT_FOUND ((NTSTATUS)0xC0000225)
#define STATUS_DEVICE_BUSY ((NTSTATUS)0x80000011)

/* ---- Doubly linked lists -------------------------------------------------------------------------------------------------- */

FORCEINLINE void InitializeListHead(LIST_ENTRY *head)
{
    head->Flink = head->Blink = head;
}

FORCEINLINE BOOLEAN IsListEmpty(const LIST_ENTRY *head)
{
    return head->Flink == head;
}

FORCEINLINE BOOLEAN RemoveEntryList(LIST_ENTRY *entry)
{
    entry->Blink->Flink = entry->Flink;
    entry->Flink->Blink = entry->Blink;
    return entry->Flink == entry->Blink;
}

FORCEINLINE PLIST_ENTRY RemoveHeadList(LIST_ENTRY *head)
{
    LIST_ENTRY *entry = head->Flink;

    RemoveEntryList(entry);
    return entry;
}

FORCEINLINE void InsertTailList(LIST_ENTRY *head, LIST_ENTRY *entry)
{
    entry->Flink = head;
    entry->Blink = head->Blink;
    head->Blink->Flink = entry;
    head->Blink = entry;
}

FORCEINLINE void InsertHeadList(LIST_ENTRY *head, LIST_ENTRY *entry)
{
    InsertTailList(head->Flink, entry);
}

/* ---- Interlocked operations ------------------------------------------------------------------------------------------------ */

#define InterlockedIncrement(p) __atomic_add_fetch((p), 1, __ATOMIC_SEQ_CST)
#define InterlockedDecrement(p) __atomic_sub_fetch((p), 1, __ATOMIC_SEQ_CST)
#define InterlockedExchangeAdd(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define InterlockedExchange(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define InterlockedOr(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define InterlockedAnd(p, v) __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
#define InterlockedIncrement64 InterlockedIncrement
#define InterlockedDecrement64 InterlockedDecrement
#define InterlockedExchangeAdd64 InterlockedExchangeAdd
#define InterlockedExchange64 InterlockedExchange
#define InterlockedExchangePointer(p, v) __atomic_exchange_n((p), (PVOID)(v), __ATOMIC_SEQ_CST)
#define InterlockedCompareExchange(p, v, old) __sync_val_compare_and_swap((p), (old), (v))
#define InterlockedCompareExchange64 InterlockedCompareExchange
#define InterlockedCompareExchangePointer InterlockedCompareExchange

#define KeMemoryBarrier() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define RtlUshortByteSwap(value) __builtin_bswap16(value)
#define RtlUlongByteSwap(value) __builtin_bswap32(value)

/* ---- IRQL and spin locks ------------------------------------------------------------------------------------------------- */

#define PASSIVE_LEVEL 0
#define APC_LEVEL 1
#define DISPATCH_LEVEL 2

/* A pointer-sized word, zero when free, as in the kernel: structures that hold one keep their size. */
typedef ULONG_PTR KSPIN_LOCK, *PKSPIN_LOCK;

typedef struct _KLOCK_QUEUE_HANDLE {
    PKSPIN_LOCK Lock;
} KLOCK_QUEUE_HANDLE, *PKLOCK_QUEUE_HANDLE;

#define KeGetCurrentIrql() ((KIRQL)PASSIVE_LEVEL)

void KeInitializeSpinLock(PKSPIN_LOCK lock);
void KeAcquireSpinLock(PKSPIN_LOCK lock, PKIRQL irql);
void KeReleaseSpinLock(PKSPIN_LOCK lock, KIRQL irql);
void KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK lock, PKLOCK_QUEUE_HANDLE handle);
void KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE handle);

/* ---- Events, threads, waiting, time ------------------------------------------------------------------------------------------ */

typedef enum _EVENT_TYPE { NotificationEvent, SynchronizationEvent } EVENT_TYPE;
typedef enum _MODE { KernelMode, UserMode } KPROCESSOR_MODE, MODE;
typedef enum _KWAIT_REASON { Executive } KWAIT_REASON;

#define IO_NO_INCREMENT 0
#define SYNCHRONIZE 0x00100000
#define THREAD_ALL_ACCESS 0x001FFFFF
#define OBJ_KERNEL_HANDLE 0x200

/* All waiting is on one mutex and one condition variable of the shim: plain, and fast enough for tests. */
typedef struct _KEVENT {
    EVENT_TYPE Type;
    LONG State;
} KEVENT, *PKEVENT, *PRKEVENT;

typedef VOID(NTAPI *PKSTART_ROUTINE)(PVOID context);

/* For the strict mode, which supplies mutexes and DPCs itself. */
typedef struct _DISPATCHER_HEADER {
    UCHAR Type;
    LONG SignalState;
} DISPATCHER_HEADER;

typedef struct _KMUTANT {
    DISPATCHER_HEADER Header;
    LIST_ENTRY MutantListEntry;
} KMUTEX, *PKMUTEX, *PRKMUTEX;

struct _KDPC;
typedef VOID(NTAPI *PKDEFERRED_ROUTINE)(struct _KDPC *dpc, PVOID context, PVOID first, PVOID second);

typedef struct _KDPC {
    UCHAR Type;
    LIST_ENTRY DpcListEntry;
    PKDEFERRED_ROUTINE DeferredRoutine;
    PVOID DeferredContext, SystemArgument1, SystemArgument2;
    volatile PVOID DpcData;
} KDPC, *PKDPC, *PRKDPC;

void KeInitializeEvent(PKEVENT event, EVENT_TYPE type, BOOLEAN state);
LONG KeSetEvent(PKEVENT event, KPRIORITY increment, BOOLEAN wait);
LONG KeResetEvent(PKEVENT event);
void KeClearEvent(PKEVENT event);
LONG KeReadStateEvent(PKEVENT event);

/* `object` is a KEVENT, or a thread from ObReferenceObjectByHandle. `timeout`: units of 100 ns, negative = relative, NULL = for ever. */
NTSTATUS KeWaitForSingleObject(PVOID object, KWAIT_REASON reason, KPROCESSOR_MODE mode, BOOLEAN alertable,
                               PLARGE_INTEGER timeout);
NTSTATUS KeDelayExecutionThread(KPROCESSOR_MODE mode, BOOLEAN alertable, PLARGE_INTEGER interval);
void KeStallExecutionProcessor(ULONG microseconds);
LARGE_INTEGER KeQueryPerformanceCounter(PLARGE_INTEGER frequency);
void KeQuerySystemTime(PLARGE_INTEGER time);
ULONGLONG KeQueryInterruptTime(void);
ULONG KeGetCurrentProcessorNumberEx(PVOID number);
HANDLE PsGetCurrentThreadId(void);
HANDLE PsGetCurrentProcessId(void);

NTSTATUS PsCreateSystemThread(PHANDLE handle, ULONG access, POBJECT_ATTRIBUTES attributes, HANDLE process,
                              PCLIENT_ID id, PKSTART_ROUTINE routine, PVOID context);
NTSTATUS PsTerminateSystemThread(NTSTATUS status);
NTSTATUS ObReferenceObjectByHandle(HANDLE handle, ACCESS_MASK access, POBJECT_TYPE type, KPROCESSOR_MODE mode,
                                   PVOID *object, PVOID information);
void ObDereferenceObject(PVOID object);
NTSTATUS ZwClose(HANDLE handle);
NTSTATUS ZwWaitForSingleObject(HANDLE handle, BOOLEAN alertable, PLARGE_INTEGER timeout);

/* ---- Pool --------------------------------------------------------------------------------------------------------------------- */

typedef enum _POOL_TYPE { NonPagedPool = 0, PagedPool = 1, NonPagedPoolNx = 512 } POOL_TYPE;

PVOID ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T size, ULONG tag);
void ExFreePoolWithTag(PVOID block, ULONG tag);

/* ---- MDLs of nonpaged pool ------------------------------------------------------------------------------------------------------ */

typedef struct _MDL {
    struct _MDL *Next;
    CSHORT Size;
    CSHORT MdlFlags;
    PEPROCESS Process;
    PVOID MappedSystemVa;
    PVOID StartVa;
    ULONG ByteCount;
    ULONG ByteOffset;
} MDL, *PMDL;

#define MDL_MAPPED_TO_SYSTEM_VA 0x0001
#define MDL_PAGES_LOCKED 0x0002
#define MDL_SOURCE_IS_NONPAGED_POOL 0x0004

#define NormalPagePriority 16
#define MdlMappingNoExecute 0x40000000
#define MmGetMdlByteCount(mdl) ((mdl)->ByteCount)
#define MmGetMdlVirtualAddress(mdl) ((PVOID)((PCHAR)(mdl)->StartVa + (mdl)->ByteOffset))
#define MmGetSystemAddressForMdlSafe(mdl, priority) ((void)(priority), (mdl)->MappedSystemVa)

struct _IRP;
PMDL IoAllocateMdl(PVOID address, ULONG length, BOOLEAN secondary, BOOLEAN charge, struct _IRP *irp);
void MmBuildMdlForNonPagedPool(PMDL mdl);
void IoFreeMdl(PMDL mdl);

/* ---- IRPs ------------------------------------------------------------------------------------------------------------------------- */

typedef struct _IO_STATUS_BLOCK {
    union {
        NTSTATUS Status;
        PVOID Pointer;
    };
    ULONG_PTR Information;
} IO_STATUS_BLOCK, *PIO_STATUS_BLOCK;

struct _IRP;
typedef NTSTATUS(NTAPI *PIO_COMPLETION_ROUTINE)(PDEVICE_OBJECT device, struct _IRP *irp, PVOID context);
typedef VOID(NTAPI *PDRIVER_CANCEL)(PDEVICE_OBJECT device, struct _IRP *irp);

#define SL_PENDING_RETURNED 0x01
#define SL_INVOKE_ON_CANCEL 0x20
#define SL_INVOKE_ON_SUCCESS 0x40
#define SL_INVOKE_ON_ERROR 0x80

typedef struct _IO_STACK_LOCATION {
    UCHAR MajorFunction;
    UCHAR MinorFunction;
    UCHAR Flags;
    UCHAR Control;
    PDEVICE_OBJECT DeviceObject;
    PFILE_OBJECT FileObject;
    PIO_COMPLETION_ROUTINE CompletionRoutine;
    PVOID Context;
} IO_STACK_LOCATION, *PIO_STACK_LOCATION;

typedef struct _IRP {
    PMDL MdlAddress;
    IO_STATUS_BLOCK IoStatus;
    BOOLEAN PendingReturned;
    CHAR StackCount;
    CHAR CurrentLocation;
    BOOLEAN Cancel;
    KIRQL CancelIrql;
    PIO_STATUS_BLOCK UserIosb;
    PKEVENT UserEvent;
    PDRIVER_CANCEL CancelRoutine;
    union {
        struct {
            PVOID DriverContext[4];
            LIST_ENTRY ListEntry;
            PIO_STACK_LOCATION CurrentStackLocation;
        } Overlay;
    } Tail;
    IO_STACK_LOCATION Stack[];
} IRP, *PIRP;

PIRP IoAllocateIrp(CCHAR stack_size, BOOLEAN charge_quota);
void IoReuseIrp(PIRP irp, NTSTATUS status);
void IoFreeIrp(PIRP irp);
BOOLEAN IoCancelIrp(PIRP irp);
void IoCompleteRequest(PIRP irp, CCHAR boost);
void IoAcquireCancelSpinLock(PKIRQL irql);
void IoReleaseCancelSpinLock(KIRQL irql);

#define IoGetCurrentIrpStackLocation(irp) ((irp)->Tail.Overlay.CurrentStackLocation)
#define IoGetNextIrpStackLocation(irp) ((irp)->Tail.Overlay.CurrentStackLocation - 1)

FORCEINLINE PDRIVER_CANCEL IoSetCancelRoutine(PIRP irp, PDRIVER_CANCEL routine)
{
    return __atomic_exchange_n(&irp->CancelRoutine, routine, __ATOMIC_SEQ_CST);
}

FORCEINLINE void IoSetNextIrpStackLocation(PIRP irp)
{
    irp->CurrentLocation--;
    irp->Tail.Overlay.CurrentStackLocation--;
}

FORCEINLINE void IoMarkIrpPending(PIRP irp)
{
    IoGetCurrentIrpStackLocation(irp)->Control |= SL_PENDING_RETURNED;
}

FORCEINLINE void IoSetCompletionRoutine(PIRP irp, PIO_COMPLETION_ROUTINE routine, PVOID context, BOOLEAN success,
                                        BOOLEAN error, BOOLEAN cancel)
{
    PIO_STACK_LOCATION next = IoGetNextIrpStackLocation(irp);

    next->CompletionRoutine = routine;
    next->Context = context;
    next->Control = (UCHAR)((success ? SL_INVOKE_ON_SUCCESS : 0) | (error ? SL_INVOKE_ON_ERROR : 0) |
                            (cancel ? SL_INVOKE_ON_CANCEL : 0));
}

/* ---- Debug output -------------------------------------------------------------------------------------------------------------------- */

#define DPFLTR_IHVDRIVER_ID 77
#define DPFLTR_ERROR_LEVEL 0
#define DPFLTR_INFO_LEVEL 3

/* The kernel's format language: %I64x is understood as well as %llx. */
ULONG DbgPrintEx(ULONG component, ULONG level, PCSTR format, ...);
ULONG DbgPrint(PCSTR format, ...);
int shim_snprintf(char *buffer, size_t size, const char *format, ...);
int shim_vsnprintf(char *buffer, size_t size, const char *format, va_list arguments);
#define _snprintf shim_snprintf
#define _vsnprintf shim_vsnprintf

/* ---- For the tests --------------------------------------------------------------------------------------------------------------------- */

/* Called with each debug text instead of writing it to stderr; from any thread. NULL restores stderr. */
void shim_on_debug(void (*sink)(const char *text));

/* What is allocated and not yet freed. */
typedef struct shim_counts {
    LONG pool, irps, mdls, threads;
} shim_counts;

shim_counts shim_count(void);
extern shim_counts shim_alive; /* the same, as the shim's own files count it */

#endif
