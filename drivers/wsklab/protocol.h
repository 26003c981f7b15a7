/*
 * protocol.h - what the lab says to wsklab.sys, and what wsklab.sys says to the lab.
 *
 * The driver is an interpreter. A COMMAND ioctl carries one or more commands; each is started at once and
 * the ioctl returns. Everything that then happens is one debug line, printed and kept in the ring.
 * drivers/protocol.py mirrors these structures; a unit test compares sizes and offsets.
 *
 * Device: \\.\wsklab, METHOD_BUFFERED, FILE_ANY_ACCESS.
 *
 *   COMMAND 0x222000  in: WSKLAB_COMMAND[1..WSKLAB_BATCH]   out: uint32_t NTSTATUS for each (may be cut short)
 *   RING    0x222004  in: WSKLAB_RING_REQUEST               out: WSKLAB_RING_REPLY, then lines ended by '\n'
 *   STATE   0x222008  in: nothing                           out: WSKLAB_STATE
 *
 * ---- Lines ------------------------------------------------------------------------------------------
 *
 *   WSKLAB1 seq=%08x t=%016x conn=%u ev=<word> key=value ...
 *
 * One line is one fact: ASCII, at most WSKLAB_LINE - 1 characters. seq starts at 1 when the driver loads and
 * has no gaps; t is the performance counter in units of 100 ns. Words are lower-case; flags, masks, status,
 * sums, cookies and tokens are 8 hex digits, base (where the image is loaded) 16, the rest decimal; addresses are hex
 * bytes in network order.
 * On the debug port lines of different threads may overtake each other by a few places; the ring is in order.
 *
 *   ev=load   ver=1 build=<correct|twin>         ev=unload sockets= irps= indications= allocs=
 *   ev=canary token= base=                       ev=waiting sockets= irps= indications=   (unload, every 10 s)
 *   ev=call   op= id= ret= [flags= len= seed=] [mask=] [target=]     a WSK function, or a command, returned
 *   ev=done   op= id= st= len= [sum=] [lport= rport=] [out=]   the IRP of that call completed; len = Information
 *                                                (0 where it is a pointer); sum = FNV-1a of the bytes received
 *   ev=refused op= id= st=                       the driver made no call: the socket is closed, memory is short, ...
 *   ev=again  op= id=                            an IRP completed a second time
 *   ev=addr   id= local= lport= lst= remote= rport= rst=
 *   ev=disc   flags= ab= disp= irql= cpu= n= depth= rdepth= cookie=    WskDisconnectEvent; n = nth call on this
 *                                                socket, depth = calls running at once, rdepth = of WskReceiveEvent
 *   ev=recv   flags= len= took= null= irql= depth= ddepth= cookie= sum=  WskReceiveEvent; took = accepted,
 *                                                sum over the bytes indicated; keep=1 when the list was retained
 *   ev=accept flags= new= null= took= irql= lport= rport= cookie=      WskAcceptEvent; took=0: refused
 *   ev=backlog size= irql= cookie=               WskSendBacklogEvent
 *   ev=cbout  cb=<disc|recv|accept>              the callback returns; only where hold_us or an action is set
 *   ev=late   cb= magic=                         a callback on a context whose close had completed (R73)
 *   ev=unheld refs=                              a reference to a connection was dropped that nobody held
 *   ev=clean  sockets=0 irps=0 indications=0 allocs=   a CLOSE_ALL has come to its end; allocs is 0 without leaks
 *
 * op= is the verb of the list below in lower case; OPEN appears as its parts (socket, bind, local, connect,
 * enable, receive), all with the id of the command.
 */
#ifndef WSKLAB_PROTOCOL_H
#define WSKLAB_PROTOCOL_H

#include <stdint.h>

#define WSKLAB_PROTOCOL 1u /* version of everything in this file */
#define WSKLAB_BATCH 256u  /* commands in one ioctl */
#define WSKLAB_LINE 256u   /* bytes of a line, with the final zero */

#define WSKLAB_IOCTL_COMMAND 0x222000u /* CTL_CODE(0x22, 0x800, METHOD_BUFFERED, FILE_ANY_ACCESS) */
#define WSKLAB_IOCTL_RING 0x222004u
#define WSKLAB_IOCTL_STATE 0x222008u

/* Commands. "conn" is a number chosen by the caller; it lives from the command that makes it until CLOSE is done. */
/* clang-format off: the comments are a table */
enum wsklab_op {
    WSKLAB_OP_CANARY = 1,         /* token */
    WSKLAB_OP_SOCKET = 2,         /* conn kind local.family cookie options */
    WSKLAB_OP_BIND = 3,           /* conn local */
    WSKLAB_OP_CONNECT = 4,        /* conn remote mask count length flags: see OPEN for what follows the connect */
    WSKLAB_OP_SOCKET_CONNECT = 5, /* conn local remote cookie options, mask count length flags as in OPEN */
    WSKLAB_OP_OPEN = 6,           /* SOCKET + BIND + local address, then
                                     connection: CONNECT, when connected: enable mask (0 = none), count receives of length, flags,
                                     whose ids are id + 1, ...
                                     listener: enable mask */
    WSKLAB_OP_ACCEPT = 7, /* conn = listener, target = new conn, cookie options, mask count length flags as in OPEN */
    WSKLAB_OP_ACCEPT_EVENTS = 8, /* conn = listener: what WskAcceptEvent gives out. target = first new conn,
                                     cookie = first cookie, count = refuse every nth (0 = none), options, hold_us */
    WSKLAB_OP_ENABLE = 9, /* conn mask options */
    WSKLAB_OP_DISABLE = 10, /* conn mask options */
    WSKLAB_OP_STATIC_EVENTS = 11, /* mask options */
    WSKLAB_OP_RECEIVE = 12, /* conn length count flags: count receives outstanding, ids id, id+1, ... */
    WSKLAB_OP_SEND = 13, /* conn length count flags seed: byte i of the stream is (seed + i) & 0xff; ids as above */
    WSKLAB_OP_DISCONNECT = 14, /* conn flags length seed: length > 0 sends that many bytes before the FIN */
    WSKLAB_OP_CLOSE = 15, /* conn */
    WSKLAB_OP_CLOSE_ALL = 16, /* everything; ends with ev=clean */
    WSKLAB_OP_CANCEL = 17, /* conn target = id of the operation: IoCancelIrp */
    WSKLAB_OP_RELEASE = 18, /* conn: give retained indications back */
    WSKLAB_OP_CONTROL = 19, /* conn kind = 0 set option, 1 get option, 2 ioctl; code level length data;
                                     count = bytes wanted */
    WSKLAB_OP_ADDRESSES = 20, /* conn */
    WSKLAB_OP_CALLBACK = 21, /* conn mask = which events; hold_us, then action with its flags length count seed;
                                     take = what WskReceiveEvent does, take_length */
};
/* clang-format on */

enum wsklab_kind { WSKLAB_KIND_CONNECTION = 0, WSKLAB_KIND_LISTEN = 1 };

enum wsklab_option {
    WSKLAB_OPT_NO_DISPATCH = 0x1, /* no callback table and a NULL context: events are not wanted (R42) */
    WSKLAB_OPT_IRP = 0x2, /* give an IRP to a call that needs none (ENABLE, R24) or may have one (DISABLE, R30) */
    WSKLAB_OPT_WRONG_NPI = 0x4, /* ENABLE/DISABLE with a GUID that is not WSK's (R34) */
    WSKLAB_OPT_BRIEF = 0x8, /* for many connections: no ev=call for what returned success or pending, and
                                     no ev=done for the socket, bind and local that succeed */
};

enum wsklab_action { /* started inside the callback, never waited for there (R15, R16) */
                     WSKLAB_ACT_NONE = 0,
                     WSKLAB_ACT_RECEIVE = 1,
                     WSKLAB_ACT_SEND = 2,
                     WSKLAB_ACT_DISCONNECT = 3,
                     WSKLAB_ACT_CLOSE = 4,
};

enum wsklab_take { /* what WskReceiveEvent does with an indication */
                   WSKLAB_TAKE_ALL = 0,
                   WSKLAB_TAKE_PART = 1, /* STATUS_SUCCESS with at most take_length bytes accepted (R53) */
                   WSKLAB_TAKE_REFUSE = 2, /* STATUS_DATA_NOT_ACCEPTED (R52) */
                   WSKLAB_TAKE_RETAIN = 3, /* STATUS_PENDING: kept until RELEASE or CLOSE (R54) */
};

#define WSKLAB_ADDRESS 28u /* bytes of a SOCKADDR_IN6; a SOCKADDR_IN uses the first 16 */
#define WSKLAB_DATA 32u

typedef struct WSKLAB_COMMAND {
    uint32_t size; /* of this structure */
    uint16_t version; /* WSKLAB_PROTOCOL */
    uint16_t op;
    uint32_t id; /* repeated in the lines of this command */
    uint32_t conn;
    uint32_t target;
    uint32_t kind;
    uint32_t options;
    uint32_t flags; /* WSK flags, handed on as they are */
    uint32_t mask; /* WSK_EVENT_... bits, handed on as they are */
    uint32_t length;
    uint32_t count;
    uint32_t seed;
    uint32_t hold_us; /* busy time inside a callback, at most 10 s */
    uint32_t action;
    uint32_t take;
    uint32_t take_length;
    uint32_t cookie;
    uint32_t token;
    uint32_t code;
    uint32_t level;
    uint8_t local[WSKLAB_ADDRESS];
    uint8_t remote[WSKLAB_ADDRESS];
    uint8_t data[WSKLAB_DATA];
} WSKLAB_COMMAND;

typedef struct WSKLAB_RING_REQUEST {
    uint64_t first_seq; /* first line wanted */
    uint32_t max; /* most lines wanted; 0 = as many as fit */
    uint32_t reserved;
} WSKLAB_RING_REQUEST;

typedef struct WSKLAB_RING_REPLY {
    uint64_t first_seq; /* of the first line that follows */
    uint64_t next_seq; /* ask for this one next */
    uint32_t lines;
    uint32_t lost; /* lines between the one asked for and first_seq that the ring no longer has */
    /* text follows */
} WSKLAB_RING_REPLY;

typedef struct WSKLAB_STATE {
    uint32_t size;
    uint32_t version;
    uint64_t next_seq; /* of the line to be printed next */
    uint32_t sockets;
    uint32_t irps; /* given to WSK and not completed yet */
    uint32_t indications; /* retained */
    uint32_t callbacks; /* running now */
    uint32_t connections; /* conn numbers in use */
    uint32_t allocations; /* pool blocks, IRPs and MDLs in use; 0 when nothing is open */
    uint32_t cleaning; /* 1 while a CLOSE_ALL has not come to its end */
    uint32_t ring; /* lines the ring can keep */
    char build[32]; /* "correct", or the twin's name */
} WSKLAB_STATE;

#endif
