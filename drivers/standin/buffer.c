/* WSK_BUF: a chain of MDLs, with an offset into the first. */
#include "standin.h"

/* Kernel and user addresses are the same in a Wine process, so an MDL that Wine has not mapped can still be used. */
static PCHAR mdl_address(PMDL mdl)
{
    if (mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL))
        return mdl->MappedSystemVa;
    return MmGetMdlVirtualAddress(mdl);
}

unsigned buffer_vectors(const WSK_BUF *buffer, SIZE_T done, os_vector *vectors, unsigned most)
{
    SIZE_T skip = buffer->Offset + done;
    SIZE_T left = buffer->Length - done;
    unsigned count = 0;

    for (PMDL mdl = buffer->Mdl; mdl && left && count < most; mdl = mdl->Next) {
        SIZE_T here = MmGetMdlByteCount(mdl);

        if (skip >= here) {
            skip -= here;
            continue;
        }
        here -= skip;
        if (here > left)
            here = left;
        vectors[count].base = mdl_address(mdl) + skip;
        vectors[count].length = here;
        count++;
        left -= here;
        skip = 0;
    }
    return count;
}

void buffer_gone(const struct request *request)
{
    const struct site site = {request->function, NULL};
    os_vector vector;

    if (strict_on(STRICT_MEMORY) && buffer_vectors(&request->buffer, request->done, &vector, 1))
        STOP(&site, 0x4E, 0x99, vector.base, 0, 0, "finds the memory of its buffer freed before the IRP was completed");
}

bool buffer_valid(const WSK_BUF *buffer)
{
    SIZE_T room = 0;

    if (buffer->Length == 0)
        return true;
    if (!buffer->Mdl || buffer->Offset >= MmGetMdlByteCount(buffer->Mdl))
        return false;
    for (PMDL mdl = buffer->Mdl; mdl; mdl = mdl->Next)
        room += MmGetMdlByteCount(mdl);
    return buffer->Length <= room - buffer->Offset;
}
