/*
 * reply.h - the agent's answers, one flat JSON object per line, and the bytes that requests and answers carry in strings.
 * No Windows header is used here: the unit tests compile it on Linux, with the sanitizers, and fuzz it.
 */
#ifndef WSKAGENT_REPLY_H
#define WSKAGENT_REPLY_H

#include "json.h"

/* A reply being written; what does not fit sets `cut`, and the reply must not be sent. */
typedef struct JSON_WRITER {
    char *text;
    size_t used;
    size_t size;
    bool cut;
} JSON_WRITER;

void json_start(JSON_WRITER *writer, char *text, size_t size);
void json_put_text(JSON_WRITER *writer, const char *name, const char *text);
void json_put_number(JSON_WRITER *writer, const char *name, int64_t number);
void json_put_bool(JSON_WRITER *writer, const char *name, bool value);
void json_put_data(JSON_WRITER *writer, const char *name, const uint8_t *bytes, size_t count);
void json_end(JSON_WRITER *writer); /* closes the object and the line */

/*
 * Data in a string: a printable character stands for itself, ~NN for NN (hex, not 00) zero bytes, %NN for any one
 * byte. The UART takes its time for each character, and most of our bytes are zeros or ASCII.
 * Returns how many bytes; -1 when it is no such string, or more than `size` bytes.
 */
ptrdiff_t data_read(const char *text, uint8_t *bytes, size_t size);

#endif
