/* Linux error numbers as NTSTATUS. */
#include "standin.h"

NTSTATUS status_of(long error)
{
    switch (error < 0 ? -error : error) {
    case 0:
        return STATUS_SUCCESS;
    case OS_ECONNREFUSED:
        return STATUS_CONNECTION_REFUSED;
    case OS_ECONNRESET:
    case OS_EPIPE:
        return STATUS_CONNECTION_RESET; /* the first candidate of R45 */
    case OS_ECONNABORTED:
        return STATUS_CONNECTION_ABORTED;
    case OS_ETIMEDOUT:
        return STATUS_IO_TIMEOUT;
    case OS_EHOSTUNREACH:
        return STATUS_HOST_UNREACHABLE;
    case OS_ENETUNREACH:
    case OS_ENETDOWN:
        return STATUS_NETWORK_UNREACHABLE;
    case OS_EADDRINUSE:
        return STATUS_ADDRESS_ALREADY_EXISTS;
    case OS_EADDRNOTAVAIL:
        return STATUS_INVALID_ADDRESS_COMPONENT;
    case OS_ENOBUFS:
    case OS_EMFILE:
        return STATUS_INSUFFICIENT_RESOURCES;
    default:
        return STATUS_UNSUCCESSFUL;
    }
}
