/* Debug output, and text as Windows formats it; see ntshim.h. */
#define _GNU_SOURCE
#include "ntshim.h"

#include <stdio.h>

static void (*debug_sink)(const char *text);

void shim_on_debug(void (*sink)(const char *text))
{
    __atomic_store_n(&debug_sink, sink, __ATOMIC_RELEASE);
}

int shim_vsnprintf(char *buffer, size_t size, const char *format, va_list arguments)
{
    char translated[512];
    size_t used = 0;

    while (*format && used + 3 < sizeof translated) {
        if (!strncmp(format, "I64", 3) && used &&
            (translated[used - 1] == '%' || (translated[used - 1] >= '0' && translated[used - 1] <= '9'))) {
            translated[used++] = 'l';
            translated[used++] = 'l';
            format += 3;
        } else
            translated[used++] = *format++;
    }
    translated[used] = 0;
    return vsnprintf(buffer, size, translated, arguments);
}

int shim_snprintf(char *buffer, size_t size, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = shim_vsnprintf(buffer, size, format, arguments);
    va_end(arguments);
    return length;
}

static void debug_write(const char *format, va_list arguments)
{
    void (*sink)(const char *) = __atomic_load_n(&debug_sink, __ATOMIC_ACQUIRE);
    char text[512];

    shim_vsnprintf(text, sizeof text, format, arguments);
    if (sink)
        sink(text);
    else
        fputs(text, stderr);
}

ULONG DbgPrintEx(ULONG component, ULONG level, PCSTR format, ...)
{
    va_list arguments;

    (void)component, (void)level;
    va_start(arguments, format);
    debug_write(format, arguments);
    va_end(arguments);
    return 0;
}

ULONG DbgPrint(PCSTR format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    debug_write(format, arguments);
    va_end(arguments);
    return 0;
}
