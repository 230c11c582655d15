/* error.c - the calling thread's last error. */
#include "nnp_internal.h"
#include <stdarg.h>
#include <stdio.h>

#if defined(_MSC_VER)
static __declspec(thread) char text[1024] = "no error";
#else
static _Thread_local char text[1024] = "no error";
#endif

int nnp_fail(int code, const char* format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return code;
}

const char* nnp_last_error(void) { return text; }
