/* log.h - see log.c. */
#ifndef WSKLAB_LOG_H
#define WSKLAB_LOG_H

#include "wsklab.h"

NTSTATUS log_start(void);
void log_stop(void);
void log_line(uint32_t connection, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint32_t log_read(const WSKLAB_RING_REQUEST *request, WSKLAB_RING_REPLY *reply, uint32_t size);
uint64_t log_next(void);
uint32_t log_capacity(void);
const char *log_build(void);
void hex_text(char *text, const UCHAR *bytes, uint32_t count);
uint32_t port_of(const ADDRESS *address);
uint32_t fnv1a(uint32_t sum, const UCHAR *bytes, SIZE_T count);
#define FNV1A_START 0x811c9dc5u

#endif
