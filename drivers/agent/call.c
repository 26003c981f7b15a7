/*
 * call.c - see call.h.
 */
#include "call.h"

DWORD refuse(CALL *call, DWORD code, const char *error)
{
    call->error = error;
    return code;
}

DWORD timeout_of(const CALL *call, DWORD usual)
{
    int64_t wanted;
    if (!json_number(call->request, "timeout_ms", &wanted) || wanted < 0)
        return usual;
    return wanted < 24 * 3600 * 1000 ? (DWORD)wanted : 24 * 3600 * 1000;
}
