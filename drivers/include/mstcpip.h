/* Keep-alive in one I/O control, as drivers use it beside or instead of TCP_KEEPIDLE; with the WDK this file steps aside. */
#ifndef WSKLAB_MSTCPIP_H
#define WSKLAB_MSTCPIP_H

#include "ws2ipdef.h"

#if !defined(WSKLAB_OWN_WSK_H)

#include <../shared/mstcpip.h>

#else

#define _MSTCPIP_

#define SIO_KEEPALIVE_VALS _WSAIOW(IOC_VENDOR, 4)
#define SIO_LOOPBACK_FAST_PATH _WSAIOW(IOC_VENDOR, 16)

struct tcp_keepalive {
    ULONG onoff;
    ULONG keepalivetime;     /* milliseconds */
    ULONG keepaliveinterval; /* milliseconds */
};

#endif
#endif
