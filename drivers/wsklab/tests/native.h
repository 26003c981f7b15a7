/* native.h - what the driver uses of mingw's kernel headers and drivers/native/ntshim.h does not have. Linux only. */
#ifndef WSKLAB_TEST_NATIVE_H
#define WSKLAB_TEST_NATIVE_H

#include "ntshim.h"

#ifndef min
#define min(a, b) ((a) < (b) ? (a) : (b))
#endif
#ifndef YieldProcessor
#define YieldProcessor() ((void)0)
#endif
#ifndef STATUS_REVISION_MISMATCH
#define STATUS_REVISION_MISMATCH ((NTSTATUS)0xC0000059L)
#endif
#ifndef STATUS_OBJECT_NAME_COLLISION
#define STATUS_OBJECT_NAME_COLLISION ((NTSTATUS)0xC0000035L)
#endif

#endif
