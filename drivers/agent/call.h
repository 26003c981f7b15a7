/* call.h - a request being carried out, and what all operations share. */
#ifndef WSKAGENT_CALL_H
#define WSKAGENT_CALL_H

#include "windows_only.h"
#include "reply.h"

#define DATA_BYTES (256 * 1024) /* the most bytes in one answer or one block of a file */

typedef struct CALL {
    const JSON_OBJECT *request;
    JSON_WRITER *reply;
    const char *error; /* NULL: the system's own text for the code */
} CALL;

/* Returns a Win32 error code, 0 for success, and may give the sentence for a failure itself. */
typedef DWORD OPERATION_FUNCTION(CALL *call);

/* A failure with a sentence of ours. */
DWORD refuse(CALL *call, DWORD code, const char *error);

/* Requests with a bounded wait: `timeout_ms`, or `usual`. */
DWORD timeout_of(const CALL *call, DWORD usual);

#endif
