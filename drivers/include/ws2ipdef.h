/*
 * IPv6 addresses, and options at the level of IP, as far as a kernel driver uses them; mingw-w64's ws2ipdef.h needs winsock2.h, which
 * cannot be included in a driver. The names and values are those of Microsoft's pages on ws2ipdef.h; with the WDK this file steps aside.
 */
#ifndef WSKLAB_WS2IPDEF_H
#define WSKLAB_WS2IPDEF_H

#include "ws2def.h"

#if !defined(WSKLAB_OWN_WSK_H)

#include <../shared/ws2ipdef.h>

#else

#define _WS2IPDEF_ /* mingw-w64's stays out */

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Addresses ----------------------------------------------------------------------------------------------------------- */

#ifndef s6_addr /* mingw-w64's in6addr.h has the same structure and the same guard */
typedef struct in6_addr {
    union {
        UCHAR Byte[16];
        USHORT Word[8];
    } u;
} IN6_ADDR, *PIN6_ADDR, *LPIN6_ADDR;
#define s6_addr u.Byte
#define s6_bytes u.Byte
#define s6_words u.Word
#endif

typedef struct sockaddr_in6 {
    ADDRESS_FAMILY sin6_family;
    USHORT sin6_port; /* network byte order */
    ULONG sin6_flowinfo;
    IN6_ADDR sin6_addr;
    __extension__ union {
        ULONG sin6_scope_id;
        SCOPE_ID sin6_scope_struct;
    };
} SOCKADDR_IN6_LH, *PSOCKADDR_IN6_LH, SOCKADDR_IN6, *PSOCKADDR_IN6;

typedef union _SOCKADDR_INET {
    SOCKADDR_IN Ipv4;
    SOCKADDR_IN6 Ipv6;
    ADDRESS_FAMILY si_family;
} SOCKADDR_INET, *PSOCKADDR_INET;

#define INET_ADDRSTRLEN 22
#define INET6_ADDRSTRLEN 65

#define IN4ADDR_ANY INADDR_ANY
#define IN4ADDR_LOOPBACK 0x0100007f /* network byte order on this processor */
#define IN4ADDR_BROADCAST INADDR_BROADCAST
#define IN4ADDR_NONE INADDR_NONE

#define IN4ADDR_ANY_INIT                                                                                               \
    {                                                                                                                  \
        {{0, 0, 0, 0}}                                                                                                 \
    }
#define IN4ADDR_LOOPBACK_INIT                                                                                          \
    {                                                                                                                  \
        {{0x7f, 0, 0, 1}}                                                                                              \
    }
#define IN4ADDR_BROADCAST_INIT                                                                                         \
    {                                                                                                                  \
        {{0xff, 0xff, 0xff, 0xff}}                                                                                     \
    }
#define IN6ADDR_ANY_INIT                                                                                               \
    {                                                                                                                  \
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}                                                             \
    }
#define IN6ADDR_LOOPBACK_INIT                                                                                          \
    {                                                                                                                  \
        {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}                                                             \
    }

/* In the WDK these are data inside a library that mingw-w64 has not. */
static const IN_ADDR in4addr_any __attribute__((unused)) = IN4ADDR_ANY_INIT;
static const IN_ADDR in4addr_loopback __attribute__((unused)) = IN4ADDR_LOOPBACK_INIT;
static const IN6_ADDR in6addr_any __attribute__((unused)) = IN6ADDR_ANY_INIT;
static const IN6_ADDR in6addr_loopback __attribute__((unused)) = IN6ADDR_LOOPBACK_INIT;

static inline BOOLEAN IN6_ADDR_EQUAL(const IN6_ADDR *x, const IN6_ADDR *y)
{
    const USHORT *a = x->u.Word, *b = y->u.Word;
    USHORT differs = 0;
    int i;

    for (i = 0; i < 8; i++)
        differs |= a[i] ^ b[i];
    return (BOOLEAN)(differs == 0);
}

static inline BOOLEAN IN6_IS_ADDR_UNSPECIFIED(const IN6_ADDR *a)
{
    return IN6_ADDR_EQUAL(a, &in6addr_any);
}

static inline BOOLEAN IN6_IS_ADDR_LOOPBACK(const IN6_ADDR *a)
{
    return IN6_ADDR_EQUAL(a, &in6addr_loopback);
}

static inline BOOLEAN IN6_IS_ADDR_MULTICAST(const IN6_ADDR *a)
{
    return (BOOLEAN)(a->u.Byte[0] == 0xff);
}

static inline BOOLEAN IN6_IS_ADDR_LINKLOCAL(const IN6_ADDR *a)
{
    return (BOOLEAN)(a->u.Byte[0] == 0xfe && (a->u.Byte[1] & 0xc0) == 0x80);
}

static inline BOOLEAN IN6_IS_ADDR_V4MAPPED(const IN6_ADDR *a)
{
    const USHORT *word = a->u.Word;

    return (BOOLEAN)(!(word[0] | word[1] | word[2] | word[3] | word[4]) && word[5] == 0xffff);
}

static inline BOOLEAN IN4_ADDR_EQUAL(const IN_ADDR *a, const IN_ADDR *b)
{
    return (BOOLEAN)(a->s_addr == b->s_addr);
}

static inline BOOLEAN IN4_IS_ADDR_UNSPECIFIED(const IN_ADDR *a)
{
    return (BOOLEAN)(a->s_addr == IN4ADDR_ANY);
}

static inline BOOLEAN IN4_IS_ADDR_LOOPBACK(const IN_ADDR *a)
{
    return (BOOLEAN)((a->s_addr & 0xff) == 0x7f);
}

/* ---- Options ------------------------------------------------------------------------------------------------------------- */

/* Level IPPROTO_IP. */
#define IP_OPTIONS 1
#define IP_HDRINCL 2
#define IP_TOS 3
#define IP_TTL 4
#define IP_MULTICAST_IF 9
#define IP_MULTICAST_TTL 10
#define IP_MULTICAST_LOOP 11
#define IP_ADD_MEMBERSHIP 12
#define IP_DROP_MEMBERSHIP 13
#define IP_DONTFRAGMENT 14
#define IP_PKTINFO 19
#define IP_HOPLIMIT 21
#define IP_RECEIVE_BROADCAST 22
#define IP_RECVIF 24
#define IP_RECVDSTADDR 25
#define IP_UNICAST_IF 31
#define IP_ECN 50
#define IP_MTU_DISCOVER 71
#define IP_MTU 73

/* Level IPPROTO_IPV6. */
#define IPV6_HOPOPTS 1
#define IPV6_HDRINCL 2
#define IPV6_UNICAST_HOPS 4
#define IPV6_MULTICAST_IF 9
#define IPV6_MULTICAST_HOPS 10
#define IPV6_MULTICAST_LOOP 11
#define IPV6_ADD_MEMBERSHIP 12
#define IPV6_JOIN_GROUP IPV6_ADD_MEMBERSHIP
#define IPV6_DROP_MEMBERSHIP 13
#define IPV6_LEAVE_GROUP IPV6_DROP_MEMBERSHIP
#define IPV6_DONTFRAG 14
#define IPV6_PKTINFO 19
#define IPV6_HOPLIMIT 21
#define IPV6_PROTECTION_LEVEL 23
#define IPV6_RECVIF 24
#define IPV6_RECVDSTADDR 25
#define IPV6_V6ONLY 27
#define IPV6_UNICAST_IF 31
#define IPV6_RTHDR 32
#define IPV6_ECN 50
#define IPV6_MTU_DISCOVER 71
#define IPV6_MTU 72

#define PROTECTION_LEVEL_UNRESTRICTED 10
#define PROTECTION_LEVEL_EDGERESTRICTED 20
#define PROTECTION_LEVEL_RESTRICTED 30

/* The data of a control message of type IP_PKTINFO or IPV6_PKTINFO. */
typedef struct in_pktinfo {
    IN_ADDR ipi_addr;
    ULONG ipi_ifindex;
} IN_PKTINFO, *PIN_PKTINFO;

typedef struct in6_pktinfo {
    IN6_ADDR ipi6_addr;
    ULONG ipi6_ifindex;
} IN6_PKTINFO, *PIN6_PKTINFO;

typedef struct ip_mreq {
    IN_ADDR imr_multiaddr;
    IN_ADDR imr_interface;
} IP_MREQ, *PIP_MREQ;

typedef struct ipv6_mreq {
    IN6_ADDR ipv6mr_multiaddr;
    ULONG ipv6mr_interface;
} IPV6_MREQ, *PIPV6_MREQ;

#ifdef __cplusplus
}
#endif

#endif
#endif
