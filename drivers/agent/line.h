/* line.h - the serial line. */
#ifndef WSKAGENT_LINE_H
#define WSKAGENT_LINE_H

#include "windows_only.h"

/* `port` like "COM2". False with the reason in GetLastError. */
bool line_open(const char *port);
bool line_read(char *line, size_t size, bool *too_long); /* false: the line is gone */
bool line_write(const char *text, size_t length);

#endif
