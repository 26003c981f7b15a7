/*
 * frame.h - the lines in which requests come. A byte of them may be lost: what receives has a buffer with an end.
 *
 *   #1a2b3c4d {"id":7,...}    a request, or its last piece, after the CRC-32 (IEEE 802.3) of the whole request
 *   +2000 ,"data":"ab         a piece of a long request from this offset on; the next one comes when this one was
 *                             confirmed, so that no buffer runs over
 *   {"id":7,...}              a request without a check; damage, as soon as one with a check has come
 *
 * No Windows header is used here: the unit tests compile this file on Linux, with the address sanitizer, and fuzz it.
 */
#ifndef WSKAGENT_FRAME_H
#define WSKAGENT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum FRAME_KIND {
    FRAME_NOTHING, /* an empty line */
    FRAME_PIECE,   /* more follows */
    FRAME_REQUEST, /* `text` is a request */
    FRAME_DAMAGED, /* something was lost: it must be sent again, from its beginning */
} FRAME_KIND;

typedef struct FRAME {
    char *text; /* `size` bytes for the longest request and its zero */
    size_t size;
    size_t used;    /* bytes of the pieces so far */
    uint32_t check; /* the CRC of a request that had one, else 0 */
    bool checks;    /* who asks sends a check with each: a request without one has lost it */
} FRAME;

/* Takes one line without its end; `cut`: the line was longer than its buffer. */
FRAME_KIND frame_take(FRAME *frame, const char *line, bool cut);

#endif
