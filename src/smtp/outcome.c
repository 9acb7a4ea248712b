/* SPDX-License-Identifier: ISC */
#include "smtp/outcome.h"

#include <stdarg.h>
#include <stdio.h>

void outcome_set(struct outcome *o, enum outcome_result result, const char *dsn, const char *reason,
                 ...)
{
    va_list ap;

    o->result = result;
    snprintf(o->dsn, sizeof o->dsn, "%s", dsn);
    va_start(ap, reason);
    vsnprintf(o->reason, sizeof o->reason, reason, ap);
    va_end(ap);
}
